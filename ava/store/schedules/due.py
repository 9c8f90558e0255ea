"""Due schedules, as the dispatcher claims them and writes what they do, in one transaction.

The schedule's row is locked until then, and the primary key of `schedule_firings` refuses a slot that is written
already. So any number of dispatchers may do this at once, and whatever one does not commit the next one does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from ava.domain import ids, priority
from ava.domain.firing import DueSchedule, FiringDecision, RunnableWorker
from ava.domain.job import WHEN_RELEASED, Job, Status
from ava.domain.schedule_record import Schedule
from ava.domain.worker import WorkerStatus
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.fleet import workers
from ava.store.jobs import pauses
from ava.store.jobs import rows as job_rows
from ava.store.schedules import rows
from ava.store.schedules.rows import SCHEDULE_COLUMNS, schedule_uuid

__all__ = ["ARE_DUE", "advance", "are_due", "cancel_jobs", "claim_due", "disabled", "release_waiting", "write_firings"]

#: The moment that counts as now; None means that of the database's clock.
Moment = datetime | None
#: A job's UUID, and whether it waits for the one before it.
MadeJob = tuple[str, bool]

_IS_WAITING = "EXISTS (SELECT FROM schedules WHERE waiting_job_id IS NOT NULL)"
#: A condition: a schedule is due, or a job waits for an earlier one of its schedule.
ARE_DUE = f"""((SELECT next_run_at FROM schedules WHERE next_run_at <= now() ORDER BY next_run_at LIMIT 1) IS NOT NULL
    OR {_IS_WAITING})"""

_ARE_DUE = Statement(f"""
SELECT EXISTS (SELECT FROM schedules WHERE next_run_at <= coalesce(%(now)s::timestamptz, now())), {_IS_WAITING}
""")


def are_due(connection: Connection, *, now: Moment = None) -> tuple[bool, bool]:
    """Returns whether a schedule is due, and whether a job waits for an earlier one of its schedule."""
    is_due, is_waiting = connection.exec_driver_sql(_ARE_DUE, {"now": now}).one()
    return is_due, is_waiting


# The last job's status is read only for schedules whose overlap depends on it.
_CLAIM_DUE = Statement(f"""
SELECT {SCHEDULE_COLUMNS}, coalesce(%(now)s::timestamptz, now()), w.queue,
       least(w.max_retries, coalesce(own.max_retries, platform.max_retries)) + 1,
       coalesce(own.status, platform.status, 'active'), w.input_schema_version, last.status,
       coalesce(waiting.status IS NOT DISTINCT FROM 'queued' AND waiting.run_at = %(held)s, false), s.gone
FROM schedules AS s
LEFT JOIN workers AS w ON {workers.of("s")} AND (w.tenants IS NULL OR s.tenant_id = ANY(w.tenants))
LEFT JOIN worker_settings AS own ON own.worker_id = w.id AND own.tenant_id = s.tenant_id
LEFT JOIN worker_settings AS platform ON platform.worker_id = w.id AND platform.tenant_id = '*'
LEFT JOIN jobs AS last ON last.id = CASE WHEN s.overlap <> 'allow' THEN s.last_job_id END
LEFT JOIN jobs AS waiting ON waiting.id = s.waiting_job_id
WHERE s.next_run_at <= coalesce(%(now)s::timestamptz, now())
ORDER BY s.next_run_at LIMIT %(limit)s FOR UPDATE OF s SKIP LOCKED
""")


def claim_due(connection: Connection, *, limit: int, now: Moment = None) -> list[tuple[DueSchedule, datetime]]:
    """Lock schedules that are due, those that have waited longest first. Returns each with the moment that is now."""
    parameters = {"now": now, "limit": limit, "held": WHEN_RELEASED}
    return [_due(row) for row in connection.exec_driver_sql(_CLAIM_DUE, parameters)]


def _due(row: Any) -> tuple[DueSchedule, datetime]:
    now, queue, max_attempts, worker_status, schema_version, last_status, has_waiting, gone = row[22:]
    worker = None
    if queue is not None:
        worker = RunnableWorker(
            queue=queue,
            max_attempts=max_attempts,
            status=WorkerStatus(worker_status),
            schema_version=schema_version,
        )
    due = DueSchedule(
        schedule=rows.schedule(row),
        worker=worker,
        last_status=None if last_status is None else Status(last_status),
        has_waiting=has_waiting,
        gone=gone,
    )
    return due, now


# Inputs go from the schedule to its job without leaving the database. A slot that is written already makes no job.
# The jobs are unpublished: the dispatcher feeds them like any other backlog, also if it is killed after the commit.
_WRITE_FIRINGS = Statement(f"""
WITH given AS MATERIALIZED (
    SELECT g.*, CASE WHEN g.outcome = 'fired' THEN ava_uuid7() END AS job_id
    FROM (SELECT * FROM unnest(
              %(schedule_ids)s::uuid[], %(slots)s::timestamp[], %(folds)s::smallint[], %(ats)s::timestamptz[],
              %(outcomes)s::text[], %(reasons)s::text[], %(held)s::bool[], %(triggered_by)s::text[], %(queues)s::text[],
              %(max_attempts)s::smallint[], %(paused)s::bool[], %(tenants)s::text[]
          ) WITH ORDINALITY
          AS u (schedule_id, slot, fold, at, outcome, reason, is_held, triggered_by, queue, max_attempts, is_paused,
                tenant_id, n)
          ORDER BY n) AS g
), written AS (
    INSERT INTO schedule_firings (tenant_id, schedule_id, timezone, slot, fold, at, outcome, reason, job_id)
    SELECT g.tenant_id, g.schedule_id, s.timezone, g.slot, g.fold, g.at, g.outcome, g.reason, g.job_id
    FROM given AS g JOIN schedules AS s ON s.tenant_id = g.tenant_id AND s.id = g.schedule_id
    ON CONFLICT DO NOTHING
    RETURNING schedule_id, job_id, at
), made AS (
    INSERT INTO jobs (id, created_at, tenant_id, worker_id, queue, trigger, priority, input, triggered_by, scheduled_at,
                      limit_key, rate_key, run_at, max_attempts)
    SELECT g.job_id, to_timestamp(('x' || left(translate(g.job_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0),
           s.tenant_id, s.worker_id, g.queue, 'scheduled',
           greatest(s.priority, l.most_urgent_priority,
                    CASE WHEN NOT s.may_be_urgent THEN %(most_urgent)s::smallint END), s.input, g.triggered_by, g.at,
           CASE WHEN w.max_running IS NOT NULL THEN ava_limit_key(w.id, w.max_running_per, s.tenant_id, s.input)
                WHEN w.rate_jobs IS NOT NULL THEN ava_limit_key(w.id, w.rate_per, s.tenant_id, s.input) END,
           CASE WHEN w.rate_jobs IS NOT NULL THEN ava_limit_key(w.id, w.rate_per, s.tenant_id, s.input) END,
           CASE WHEN g.is_held THEN %(held_until)s::timestamptz
                WHEN g.is_paused THEN {pauses.RESUMED_AT}
                WHEN w.max_running IS NOT NULL OR w.rate_jobs IS NOT NULL THEN 'infinity' END, g.max_attempts
    FROM written AS f JOIN given AS g ON g.job_id = f.job_id
    JOIN schedules AS s ON s.tenant_id = g.tenant_id AND s.id = g.schedule_id
    LEFT JOIN workers AS w ON {workers.of("s")} LEFT JOIN tenant_limits AS l ON l.tenant_id = s.tenant_id
    ORDER BY g.n
)
SELECT f.schedule_id::text, f.job_id::text, g.is_held
FROM written AS f LEFT JOIN given AS g ON g.job_id = f.job_id ORDER BY g.n
""")


def write_firings(
    connection: Connection, decisions: Sequence[FiringDecision], *, most_urgent: int = priority.FIRST
) -> tuple[int, Mapping[str, list[MadeJob]]]:
    """Write the firings of decisions, and a job for each that fires.

    `most_urgent` is the smallest priority number of a job whose schedule a role of a tenant has decided.
    Returns the number of firings, and the jobs by the schedule's id, oldest first. A slot that is written already is
    not counted.
    """
    slots = [(decision, slot) for decision in decisions for slot in decision.slots]
    if not slots:
        return 0, {}
    workers = [decision.due.worker for decision, _ in slots]
    parameters = {
        "tenants": [decision.due.schedule.tenant_id for decision, _ in slots],
        "schedule_ids": [schedule_uuid(decision.due.schedule.id) for decision, _ in slots],
        "slots": [each.slot.slot.replace(fold=0) for _, each in slots],
        "folds": [each.slot.slot.fold for _, each in slots],
        "ats": [each.slot.at for _, each in slots],
        "outcomes": [each.outcome.value for _, each in slots],
        "reasons": [each.reason for _, each in slots],
        "held": [each.is_held for _, each in slots],
        "triggered_by": [decision.due.schedule.id for decision, _ in slots],
        "queues": [None if worker is None else worker.queue for worker in workers],
        "max_attempts": [None if worker is None else worker.max_attempts for worker in workers],
        "paused": [worker is not None and worker.status is WorkerStatus.PAUSED for worker in workers],
        "held_until": WHEN_RELEASED,
        "most_urgent": most_urgent,
    }
    made: dict[str, list[MadeJob]] = {}
    written = connection.exec_driver_sql(_WRITE_FIRINGS, parameters).all()
    for uuid, job_uuid, is_held in written:
        if job_uuid is not None:
            made.setdefault(ids.encode("sch", uuid), []).append((job_uuid, is_held))
    return len(written), made


_ADVANCE = Statement("""
UPDATE schedules AS s SET
    decided_until = g.decided_until, next_run_at = g.next_run_at, gone = g.gone, timezone_data = %(timezone_data)s,
    enabled = s.enabled AND NOT g.disables,
    updated_at = CASE WHEN g.disables THEN clock_timestamp() ELSE s.updated_at END,
    last_run_at = CASE WHEN g.last_job_id IS NULL THEN s.last_run_at ELSE coalesce(%(now)s::timestamptz, now()) END,
    last_job_id = coalesce(g.last_job_id, s.last_job_id),
    waiting_job_id = coalesce(g.waiting_job_id, s.waiting_job_id),
    waits_for_job_id = CASE WHEN g.waiting_job_id IS NULL THEN s.waits_for_job_id
                            ELSE coalesce(g.waits_for_job_id, s.last_job_id) END
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(decided)s::timestamptz[], %(next_runs)s::timestamptz[],
            %(gone)s::smallint[], %(disables)s::bool[], %(last_jobs)s::uuid[], %(waiting)s::uuid[],
            %(waits_for)s::uuid[])
     AS g (tenant_id, id, decided_until, next_run_at, gone, disables, last_job_id, waiting_job_id, waits_for_job_id)
WHERE s.tenant_id = g.tenant_id AND s.id = g.id
""")


def advance(
    connection: Connection,
    decisions: Sequence[FiringDecision],
    made: Mapping[str, list[MadeJob]],
    *,
    timezone_data: str,
    now: Moment = None,
) -> None:
    """Write the schedules' next firings, in the transaction that wrote those that are past."""
    found = [(decision, made.get(decision.due.schedule.id, [])) for decision in decisions]
    waiting = [next((number for number, (_, is_held) in enumerate(jobs) if is_held), None) for _, jobs in found]
    parameters = {
        "tenants": [decision.due.schedule.tenant_id for decision, _ in found],
        "ids": [schedule_uuid(decision.due.schedule.id) for decision, _ in found],
        "decided": [decision.decided_until for decision, _ in found],
        "next_runs": [decision.next_run_at for decision, _ in found],
        "gone": [decision.gone for decision, _ in found],
        "disables": [decision.disables for decision, _ in found],
        "last_jobs": [jobs[-1][0] if jobs else None for _, jobs in found],
        "waiting": [None if n is None else jobs[n][0] for n, (_, jobs) in zip(waiting, found, strict=True)],
        "waits_for": [jobs[n - 1][0] if n else None for n, (_, jobs) in zip(waiting, found, strict=True)],
        "timezone_data": timezone_data,
        "now": now,
    }
    connection.exec_driver_sql(_ADVANCE, parameters)


_DISABLED = Statement(f"""
SELECT {SCHEDULE_COLUMNS} FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS g (tenant_id, id)
JOIN schedules AS s ON s.tenant_id = g.tenant_id AND s.id = g.id WHERE NOT s.enabled
""")


def disabled(connection: Connection, decisions: Sequence[FiringDecision]) -> list[Schedule]:
    """Returns the schedules that decisions have disabled, in the transaction that wrote the decisions."""
    found = [decision.due.schedule for decision in decisions if decision.disables]
    if not found:
        return []
    parameters = {"tenants": [each.tenant_id for each in found], "ids": [schedule_uuid(each.id) for each in found]}
    return [rows.schedule(row) for row in connection.exec_driver_sql(_DISABLED, parameters)]


_CANCEL_JOBS = Statement(f"""
WITH asked AS (
    SELECT j.id, g.user_id
    FROM unnest(%(ids)s::uuid[], %(users)s::text[], %(tenants)s::text[]) AS g (id, user_id, tenant)
    JOIN jobs AS j ON j.id = g.id AND j.tenant_id = g.tenant
    WHERE j.status IN ('queued', 'running') AND j.cancel_requested_at IS NULL
    ORDER BY j.id FOR UPDATE OF j
)
UPDATE jobs AS j SET
    status = CASE WHEN j.status = 'queued' THEN 'cancelled' ELSE j.status END,
    completed_at = CASE WHEN j.status = 'queued' THEN clock_timestamp() END,
    cancel_requested_at = clock_timestamp(),
    cancelled_by = asked.user_id
FROM asked WHERE j.id = asked.id
RETURNING {job_rows.JOB_COLUMNS}
""")


def cancel_jobs(connection: Connection, decisions: Collection[FiringDecision]) -> list[Job]:
    """Cancel the jobs that new firings replace, on behalf of their schedules. Returns them as they are then."""
    asked = [(d.cancels_job_id, d.due.schedule) for d in decisions if d.cancels_job_id is not None]
    if not asked:
        return []
    parameters = {
        "ids": [job_rows.job_uuid(job_id) for job_id, _ in asked],
        "users": [schedule.id for _, schedule in asked],
        "tenants": [schedule.tenant_id for _, schedule in asked],
    }
    return [job_rows.job(row) for row in connection.exec_driver_sql(_CANCEL_JOBS, parameters)]


# A job that a client has cancelled is not queued any more, so its schedule alone is released.
_RELEASE_WAITING = Statement("""
WITH free AS (
    SELECT s.tenant_id, s.id, s.waiting_job_id FROM schedules AS s
    WHERE s.waiting_job_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM jobs AS j WHERE j.id = s.waits_for_job_id AND j.status IN ('queued', 'running'))
    LIMIT %(limit)s FOR UPDATE OF s SKIP LOCKED
), released AS (
    UPDATE jobs AS j SET run_at = now() FROM free
    WHERE j.id = free.waiting_job_id AND j.status IS NOT DISTINCT FROM 'queued' AND j.run_at = %(held)s
)
UPDATE schedules AS s SET waiting_job_id = NULL, waits_for_job_id = NULL FROM free
WHERE s.tenant_id = free.tenant_id AND s.id = free.id
""")


def release_waiting(connection: Connection, *, limit: int) -> int:
    """Make jobs due that waited for an earlier job of their schedule which is final now.

    Returns the number of schedules.
    """
    return connection.exec_driver_sql(_RELEASE_WAITING, {"limit": limit, "held": WHEN_RELEASED}).rowcount
