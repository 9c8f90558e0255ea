"""Schedules whose next firing was computed from another version of the time zone data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ava.domain.schedules.schedule_record import Schedule
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.schedules import rows
from ava.store.schedules.rows import SCHEDULE_COLUMNS, schedule_uuid

# Two ranges of the index `schedules_timezone_data`; `<>` would read all schedules.
_CLAIM_OUTDATED = Statement(f"""
SELECT {SCHEDULE_COLUMNS} FROM schedules AS s
WHERE s.next_run_at IS NOT NULL AND (s.timezone_data < %(version)s OR s.timezone_data > %(version)s)
LIMIT %(limit)s FOR UPDATE SKIP LOCKED
""")


def claim_outdated(connection: Connection, *, version: str, limit: int) -> list[Schedule]:
    """Lock schedules whose next firing was computed from another version of the time zone data."""
    found = connection.exec_driver_sql(_CLAIM_OUTDATED, {"version": version, "limit": limit})
    return [rows.schedule(row) for row in found]


_WRITE_NEXT_RUNS = Statement("""
UPDATE schedules AS s SET next_run_at = g.next_run_at, timezone_data = %(version)s
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(next_runs)s::timestamptz[]) AS g (tenant_id, id, next_run_at)
WHERE s.tenant_id = g.tenant_id AND s.id = g.id
""")


def write_next_runs(
    connection: Connection, next_runs: Sequence[tuple[Schedule, datetime | None]], *, version: str
) -> None:
    """Write the next firings of schedules, in the transaction that locked them."""
    parameters = {
        "tenants": [schedule.tenant_id for schedule, _ in next_runs],
        "ids": [schedule_uuid(schedule.id) for schedule, _ in next_runs],
        "next_runs": [next_run for _, next_run in next_runs],
        "version": version,
    }
    connection.exec_driver_sql(_WRITE_NEXT_RUNS, parameters)
