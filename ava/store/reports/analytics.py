"""Count ended jobs by tenant, worker, trigger and hour or day, and read the counts.

Rows with worker '' cover all workers of the tenant; rows with trigger '' cover all triggers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime

from ava.domain.analytics import MAX_DAYS, EndedCounts, GroupBy
from ava.domain.jobs.job import Trigger
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Deletion, Statement

#: Adds the jobs of `ended` to the hours and days.
STORE = """
counts AS (
    INSERT INTO job_counts AS t
        (tenant_id, span, trigger, worker_id, starts_at, completed, failed, cancelled, expired, ran, ran_ms, cpu_ms,
         wait_ms)
    SELECT tenant_id, span, coalesce(trigger, ''), coalesce(worker_id, ''), starts_at,
        count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'),
        count(*) FILTER (WHERE status = 'cancelled'), count(*) FILTER (WHERE is_expired),
        count(run_us), coalesce(sum(floor(round(run_us) / 1000)), 0)::bigint,
        coalesce(round(sum(cpu_us) / 1000), 0)::bigint, coalesce(sum(round(waited_ms)), 0)::bigint
    FROM (
        SELECT e.*, s.span, date_trunc(s.span, completed_at, 'UTC') AS starts_at
        FROM ended AS e CROSS JOIN (VALUES ('hour'), ('day')) AS s (span)
    ) AS e
    GROUP BY tenant_id, span, starts_at, CUBE (trigger, worker_id)
    HAVING span = 'day' OR trigger IS NULL
    ON CONFLICT (tenant_id, span, trigger, worker_id, starts_at) DO UPDATE SET
        completed = t.completed + excluded.completed, failed = t.failed + excluded.failed,
        cancelled = t.cancelled + excluded.cancelled, expired = t.expired + excluded.expired,
        ran = t.ran + excluded.ran, ran_ms = t.ran_ms + excluded.ran_ms, cpu_ms = t.cpu_ms + excluded.cpu_ms,
        wait_ms = t.wait_ms + excluded.wait_ms
)
"""

# A period begins at midnight, and the row of a day has its start.
#: Deletes counts older than any period.
delete_old = Deletion("job_counts", f"starts_at < now() - interval '{MAX_DAYS + 2} days'")


_ROWS = RecordRows(EndedCounts, "c")
_SUMS = ", ".join(f"sum(c.{each.name})::bigint" for each in fields(EndedCounts))
_BY_WORKER = Statement(f"""
SELECT {_SUMS}, worker_id FROM job_counts AS c
WHERE c.tenant_id = %(tenant_id)s AND span = 'day' AND trigger = '' AND worker_id > '' AND starts_at >= %(since)s
GROUP BY worker_id ORDER BY worker_id
""")
_OF_WORKER = Statement(f"""
SELECT {_SUMS}, worker_id FROM job_counts AS c
WHERE c.tenant_id = %(tenant_id)s AND span = 'day' AND trigger = '' AND worker_id = %(worker_id)s
    AND starts_at >= %(since)s
GROUP BY worker_id
""")


def by_worker(
    connection: Connection, *, tenant_id: str, since: datetime, worker_id: str | None
) -> Mapping[str, EndedCounts]:
    """Return a tenant's counts since a midnight by worker, for one worker or all."""
    statement = _BY_WORKER if worker_id is None else _OF_WORKER
    parameters = {"tenant_id": tenant_id, "since": since, "worker_id": worker_id}
    return {row[-1]: _ROWS.read(row) for row in connection.exec_driver_sql(statement, parameters)}


_BY_TRIGGER = Statement("""
SELECT t.trigger, sum(c.completed + c.failed + c.cancelled)::bigint
FROM unnest(%(triggers)s::text[]) AS t (trigger) JOIN job_counts AS c ON c.trigger = t.trigger
WHERE c.tenant_id = %(tenant_id)s AND c.span = 'day' AND c.worker_id = %(worker_id)s AND c.starts_at >= %(since)s
GROUP BY t.trigger
""")


def by_trigger(connection: Connection, *, tenant_id: str, since: datetime, worker_id: str | None) -> Mapping[str, int]:
    """Return how many jobs ended since a midnight by trigger, for one worker or all."""
    parameters = {"tenant_id": tenant_id, "since": since, "worker_id": worker_id or ""}
    parameters["triggers"] = [trigger.value for trigger in Trigger]
    found = {row[0]: row[1] for row in connection.exec_driver_sql(_BY_TRIGGER, parameters)}
    return {trigger.value: found[trigger] for trigger in Trigger if found.get(trigger)}


# The key has one row per start time, so no sum is needed.
_SERIES = Statement(f"""
SELECT {_ROWS.columns}, starts_at FROM job_counts AS c
WHERE c.tenant_id = %(tenant_id)s AND span = %(span)s AND trigger = '' AND worker_id = %(worker_id)s
    AND starts_at >= %(since)s
""")


def series(
    connection: Connection, *, tenant_id: str, since: datetime, worker_id: str | None, group_by: GroupBy
) -> Mapping[datetime, EndedCounts]:
    """Return the counts by hour or day, for one worker or all, without empty spans."""
    parameters = {"tenant_id": tenant_id, "since": since, "worker_id": worker_id or "", "span": group_by.value}
    return {row[-1]: _ROWS.read(row) for row in connection.exec_driver_sql(_SERIES, parameters)}
