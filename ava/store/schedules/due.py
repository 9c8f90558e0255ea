"""Claim due schedules and write their firings in one transaction, as the dispatcher does.

The schedule's row stays locked, and the primary key of `schedule_firings` rejects stored firing times. So any number of
dispatchers may run concurrently, and the next one repeats whatever one did not commit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from ava.domain.access.actor import SYSTEM
from ava.domain.jobs import run_outcome
from ava.domain.jobs.job import Job
from ava.domain.schedules.firing import DecidedTime, DueSchedule, FiringDecision, RunnableWorker
from ava.domain.schedules.schedule_record import Schedule
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.fleet import worker_settings, workers
from ava.store.jobs.transitions import cancel
from ava.store.jobs.transitions.cancel import CancelRequest
from ava.store.schedules import definitions
from ava.store.schedules.definitions import SCHEDULE_COLUMNS, schedule_uuid

#: The time to use as now; None means the database's clock.
Timestamp = datetime | None

#: Condition: a schedule is due.
ARE_DUE = """(SELECT next_run_at FROM schedules WHERE next_run_at <= now() ORDER BY next_run_at LIMIT 1) IS NOT NULL"""

_ARE_DUE = Statement("""
SELECT EXISTS (SELECT FROM schedules WHERE next_run_at <= coalesce(%(now)s::timestamptz, now()))
""")


def are_due(connection: Connection, *, now: Timestamp = None) -> bool:
    return bool(connection.exec_driver_sql(_ARE_DUE, {"now": now}).scalar_one())


_ROWS = RecordRows(
    DueSchedule,
    "s",
    columns={
        "last_uuid": "last.id::text",
        "last_status": "last.status",
        "has_waiting": """coalesce(
            newest.status = 'queued' AND newest.waits_for = 'jobs' AND newest.run_no = 0, false)""",
    },
    without=("schedule", "worker"),
)
_WORKER_ROWS = RecordRows(
    RunnableWorker,
    "w",
    columns={"status": worker_settings.STATUS, "schema_version": "w.input_schema_version"},
    without=("input_fault",),
)
# The last job is only read for schedules with an overlap policy that needs it. If it ended while it waited for an
# earlier job, by a cancel or its deadline, the earlier one is the last that may still run. If it ran, the earlier one
# had ended before.
_DUE = f"""
SELECT {SCHEDULE_COLUMNS}, {_ROWS.columns}, {_WORKER_ROWS.columns}, w.id IS NOT NULL,
    coalesce(%(now)s::timestamptz, now())
FROM schedules AS s
LEFT JOIN workers AS w ON {workers.of("s")} AND (w.tenants IS NULL OR s.tenant_id = ANY(w.tenants))
{worker_settings.joined("s.tenant_id")}
LEFT JOIN jobs AS newest ON newest.tenant_id = s.tenant_id
    AND newest.id = CASE WHEN s.overlap <> 'allow' THEN s.last_job_id END
LEFT JOIN job_edges AS earlier ON earlier.tenant_id = s.tenant_id AND newest.completed_at IS NOT NULL
    AND earlier.job_id = newest.id AND earlier.run_no = 0
LEFT JOIN jobs AS last ON last.tenant_id = s.tenant_id AND last.id = coalesce(earlier.after_id, newest.id)
"""
# A separate statement: a statement that locks a row which has just changed sees other tables as they were before, and
# would miss the schedule's last job.
_LOCK_DUE = Statement("""
SELECT s.tenant_id, s.id::text FROM schedules AS s
WHERE s.next_run_at <= coalesce(%(now)s::timestamptz, now())
ORDER BY s.next_run_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
""")
_READ_DUE = Statement(f"""
{_DUE}
JOIN unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS locked (tenant_id, id)
    ON locked.tenant_id = s.tenant_id AND locked.id = s.id
WHERE s.next_run_at IS NOT NULL ORDER BY s.next_run_at
""")


def claim_due(connection: Connection, *, limit: int, now: Timestamp = None) -> list[tuple[DueSchedule, datetime]]:
    """Lock due schedules, longest overdue first. Returns each with the time that counts as now."""
    locked = connection.exec_driver_sql(_LOCK_DUE, {"now": now, "limit": limit}).all()
    return _read(connection, [(tenant_id, uuid) for tenant_id, uuid in locked], now)


def _read(
    connection: Connection, locked: Sequence[tuple[str, str | None]], now: Timestamp
) -> list[tuple[DueSchedule, datetime]]:
    """Return locked schedules that must fire, each with the time that counts as now."""
    if not locked:
        return []
    tenants, uuids = zip(*locked, strict=True)
    parameters = {"now": now, "tenants": list(tenants), "ids": list(uuids)}
    return [_due(row) for row in connection.exec_driver_sql(_READ_DUE, parameters)]


def read_locked(connection: Connection, *, tenant_id: str, schedule_id: str) -> DueSchedule | None:
    """Return one schedule that the caller has locked, due or not; None if it will not fire again."""
    return next((due for due, _ in _read(connection, [(tenant_id, schedule_uuid(schedule_id))], None)), None)


def _due(row: Any) -> tuple[DueSchedule, datetime]:
    rest = row[definitions.COLUMNS :]
    has_worker, now = rest[-2:]
    worker = _WORKER_ROWS.read(rest[_ROWS.count :]) if has_worker else None
    return _ROWS.read(rest, schedule=definitions.read_schedule(row), worker=worker), now


_RESERVE = Statement("""
SELECT CASE WHEN NOT EXISTS (
    SELECT FROM schedule_firings AS f
    WHERE f.tenant_id = g.tenant_id AND f.schedule_id = g.schedule_id AND f.timezone = g.timezone
        AND f.slot = g.slot AND f.fold = g.fold
) THEN ava_uuid7()::text END
FROM (
    SELECT u.*, coalesce(s.timezone, 'UTC') AS timezone
    FROM unnest(%(tenants)s::text[], %(schedule_ids)s::uuid[], %(slots)s::timestamp[], %(folds)s::smallint[])
        WITH ORDINALITY AS u (tenant_id, schedule_id, slot, fold, n)
    JOIN schedules AS s ON s.tenant_id = u.tenant_id AND s.id = u.schedule_id
    ORDER BY u.n OFFSET 0
) AS g
""")


def reserve(connection: Connection, decisions: Sequence[FiringDecision]) -> list[str | None]:
    """Return the job UUID of each firing time, in order; None for a firing that is already stored.

    The schedules are locked, so no other transaction writes their firings.
    """
    fired = [(decision, decided) for decision in decisions for decided in decision.fired]
    return list(connection.exec_driver_sql(_RESERVE, _times(fired)).scalars()) if fired else []


def _times(times: Sequence[tuple[FiringDecision, DecidedTime]]) -> dict[str, Any]:
    return {
        "tenants": [decision.due.schedule.tenant_id for decision, _ in times],
        "schedule_ids": [schedule_uuid(decision.due.schedule.id) for decision, _ in times],
        "slots": [each.time.local_time.replace(fold=0) for _, each in times],
        "folds": [each.time.local_time.fold for _, each in times],
    }


_WRITE_FIRINGS = Statement("""
INSERT INTO schedule_firings (tenant_id, schedule_id, timezone, slot, fold, at, outcome, reason, job_id)
SELECT u.tenant_id, u.schedule_id, coalesce(s.timezone, 'UTC'), u.slot, u.fold, u.at, u.outcome, u.reason, u.job_id
FROM unnest(%(tenants)s::text[], %(schedule_ids)s::uuid[], %(slots)s::timestamp[], %(folds)s::smallint[],
            %(ats)s::timestamptz[], %(outcomes)s::text[], %(reasons)s::text[], %(jobs)s::uuid[])
     AS u (tenant_id, schedule_id, slot, fold, at, outcome, reason, job_id)
JOIN schedules AS s ON s.tenant_id = u.tenant_id AND s.id = u.schedule_id
ON CONFLICT DO NOTHING
""")


def write_firings(connection: Connection, decisions: Sequence[FiringDecision]) -> int:
    """Store the firings of decisions after their jobs were created. Returns their number.

    Does not count firing times that are already stored as skipped or missed.
    """
    times = [(decision, decided) for decision in decisions for decided in decision.times]
    if not times:
        return 0
    parameters = {
        **_times(times),
        "ats": [each.time.at for _, each in times],
        "outcomes": [each.outcome.value for _, each in times],
        "reasons": [each.reason for _, each in times],
        "jobs": [each.job_uuid for _, each in times],
    }
    return connection.exec_driver_sql(_WRITE_FIRINGS, parameters).rowcount


_ADVANCE = Statement("""
UPDATE schedules AS s SET
    decided_until = g.decided_until, next_run_at = g.next_run_at, gone = g.gone, timezone_data = %(timezone_data)s,
    paused_at = CASE WHEN g.pause_reason IS NULL THEN s.paused_at ELSE clock_timestamp() END,
    paused_by = CASE WHEN g.pause_reason IS NULL THEN s.paused_by ELSE %(paused_by)s::jsonb END,
    pause_reason = coalesce(g.pause_reason, s.pause_reason),
    updated_at = CASE WHEN g.pause_reason IS NULL THEN s.updated_at ELSE clock_timestamp() END,
    last_run_at = CASE WHEN g.last_job_id IS NULL THEN s.last_run_at ELSE coalesce(%(now)s::timestamptz, now()) END,
    last_job_id = coalesce(g.last_job_id, s.last_job_id)
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(decided)s::timestamptz[], %(next_runs)s::timestamptz[],
            %(gone)s::smallint[], %(pause_reasons)s::text[], %(last_jobs)s::uuid[])
     AS g (tenant_id, id, decided_until, next_run_at, gone, pause_reason, last_job_id)
WHERE s.tenant_id = g.tenant_id AND s.id = g.id
""")


def advance(
    connection: Connection, decisions: Sequence[FiringDecision], *, timezone_data: str, now: Timestamp = None
) -> None:
    """Store the schedules' next firings, in the transaction that stored the past ones."""
    fired = [decision.fired for decision in decisions]
    parameters = {
        "tenants": [decision.due.schedule.tenant_id for decision in decisions],
        "ids": [schedule_uuid(decision.due.schedule.id) for decision in decisions],
        "decided": [decision.decided_until for decision in decisions],
        "next_runs": [decision.next_run_at for decision in decisions],
        "gone": [decision.gone for decision in decisions],
        "pause_reasons": [decision.pause_reason for decision in decisions],
        "paused_by": SYSTEM.json,
        "last_jobs": [times[-1].job_uuid if times else None for times in fired],
        "timezone_data": timezone_data,
        "now": now,
    }
    connection.exec_driver_sql(_ADVANCE, parameters)


_PAUSED = Statement(f"""
SELECT {SCHEDULE_COLUMNS} FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS g (tenant_id, id)
JOIN schedules AS s ON s.tenant_id = g.tenant_id AND s.id = g.id WHERE s.paused_at IS NOT NULL
""")


def paused(connection: Connection, decisions: Sequence[FiringDecision]) -> list[Schedule]:
    """Return the schedules that decisions have paused, in the transaction that stored the decisions."""
    found = [decision.due.schedule for decision in decisions if decision.pause_reason is not None]
    if not found:
        return []
    parameters = {"tenants": [each.tenant_id for each in found], "ids": [schedule_uuid(each.id) for each in found]}
    return [definitions.read_schedule(row) for row in connection.exec_driver_sql(_PAUSED, parameters)]


def cancel_jobs(connection: Connection, decisions: Collection[FiringDecision]) -> list[Job]:
    """Cancel the jobs that new firings replace, on behalf of their schedules. Returns the changed jobs."""
    requests = [
        CancelRequest(
            tenant_id=decision.due.schedule.tenant_id,
            job_id=decision.cancels_job_id,
            cancelled_by=decision.due.schedule.id,
            error=run_outcome.overlapped(decision.due.schedule.id),
        )
        for decision in decisions
        if decision.cancels_job_id is not None
    ]
    return cancel.cancel_each(connection, requests)


# Two ranges of the index `schedules_timezone_data`; `<>` would read all schedules.
_CLAIM_OUTDATED = Statement(f"""
SELECT {SCHEDULE_COLUMNS} FROM schedules AS s
WHERE s.next_run_at IS NOT NULL AND (s.timezone_data < %(version)s OR s.timezone_data > %(version)s)
LIMIT %(limit)s FOR UPDATE SKIP LOCKED
""")


def claim_outdated(connection: Connection, *, version: str, limit: int) -> list[Schedule]:
    """Lock schedules with a next firing that was computed from another version of the time zone data."""
    found = connection.exec_driver_sql(_CLAIM_OUTDATED, {"version": version, "limit": limit})
    return [definitions.read_schedule(row) for row in found]


_WRITE_NEXT_RUNS = Statement("""
UPDATE schedules AS s SET next_run_at = g.next_run_at, timezone_data = %(version)s
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(next_runs)s::timestamptz[]) AS g (tenant_id, id, next_run_at)
WHERE s.tenant_id = g.tenant_id AND s.id = g.id
""")


def write_next_runs(
    connection: Connection, next_runs: Sequence[tuple[Schedule, datetime | None]], *, version: str
) -> None:
    """Store the next firings of schedules, in the transaction that locked them."""
    parameters = {
        "tenants": [schedule.tenant_id for schedule, _ in next_runs],
        "ids": [schedule_uuid(schedule.id) for schedule, _ in next_runs],
        "next_runs": [next_run for _, next_run in next_runs],
        "version": version,
    }
    connection.exec_driver_sql(_WRITE_NEXT_RUNS, parameters)
