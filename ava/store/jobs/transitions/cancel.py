"""Cancel jobs: a queued job ends immediately, a running one is asked to stop. Find expired and overdue jobs.

A cancel includes children recursively, except detached ones, and locks all of them before one statement marks them. A
locked job creates no children, so locking repeats until it finds no new job. A waiting job with a running descendant
stays marked; `wake` cancels it once its descendants have ended.

Claims refuse expired jobs. Overdue jobs are stopped with their descendants.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ava.domain import ids
from ava.domain.jobs import run_outcome
from ava.domain.jobs.job import Job, Status
from ava.domain.jobs.run_outcome import SystemCancel
from ava.domain.jobs.wait_reasons import SUSPENDED, WaitsFor
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement, array
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import is_compared


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequest:
    tenant_id: str
    job_id: str
    #: The requesting user, key, schedule or job, if any.
    cancelled_by: str | None
    #: The error of a job that the system cancels (`ava.domain.jobs.run_outcome`).
    error: str | None = None
    #: The status that the job must still have; None: queued or running.
    status: Status | None = None
    #: Whether its deadline has passed: then it fails.
    is_overdue: bool = False


# The rows are locked, and their statuses and earlier requests were read under the lock. A null `status`: no change.
_CANCEL = Statement(f"""
WITH cancelled AS (
    UPDATE jobs AS j SET status = coalesce(r.status, j.status), stop_status = r.stop_status, error = r.error,
        cancelled_by = r.cancelled_by, cancel_requested_at = coalesce(j.cancel_requested_at, clock_timestamp()),
        completed_at = CASE WHEN r.status IS NOT NULL THEN clock_timestamp() END, waits_for = r.waits_for, run_at = NULL
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(statuses)s::text[], %(stop_statuses)s::text[],
                %(errors)s::text[], %(cancelled_by)s::text[], %(waits_for)s::text[])
         AS r (tenant_id, id, status, stop_status, error, cancelled_by, waits_for)
    WHERE j.tenant_id = r.tenant_id AND j.id = r.id AND j.completed_at IS NULL
    RETURNING j.*
), woken AS (
    INSERT INTO wakes (tenant_id, kind, source_id)
    SELECT tenant_id, 'job', id FROM cancelled WHERE waits_for = 'children'
)
SELECT {rows.JOB_COLUMNS} FROM cancelled AS j
""")

# A job without a tree has no children to search. Rows are locked in the order of ids, so that two statements cannot
# deadlock. Final jobs do not change, so they are not locked.
_LOCK_BELOW = Statement("""
WITH RECURSIVE below AS (
    SELECT j.tenant_id, j.id, NULL::uuid AS parent_id, j.tree_id
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS r (tenant_id, id)
    JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.id
    UNION
    SELECT c.tenant_id, c.id, c.parent_id, c.tree_id
    FROM below AS b JOIN jobs AS c ON c.tenant_id = b.tenant_id AND c.parent_id = b.id
    WHERE b.tree_id IS NOT NULL AND c.is_detached IS NOT TRUE
)
SELECT b.tenant_id, b.id::text, b.parent_id::text, j.status, j.tree_id IS NOT NULL, j.waits_for, j.stop_status, j.error,
    j.cancelled_by
FROM (SELECT * FROM below ORDER BY id) AS b LEFT JOIN LATERAL (
    SELECT status, tree_id, waits_for, stop_status, error, cancelled_by FROM jobs
    WHERE tenant_id = b.tenant_id AND id = b.id AND completed_at IS NULL LIMIT 1 FOR UPDATE
) AS j ON true
""")


def cancel(connection: Connection, *, tenant_id: str, user_id: str, job_id: str) -> Job | None:
    """Cancel a queued job, or request a running one to stop; an earlier request stays unchanged.

    Returns None if it is final or not the tenant's.
    """
    found = cancel_tree(connection, tenant_id=tenant_id, user_id=user_id, job_id=job_id)
    return next((job for job in found if job.id == job_id), None)


def cancel_tree(connection: Connection, *, tenant_id: str, user_id: str, job_id: str) -> list[Job]:
    """Cancel a job as `cancel` does, in a transaction. Returns the job and its descendants."""
    root = CancelRequest(tenant_id=tenant_id, job_id=job_id, cancelled_by=user_id)
    return _cancel_with_children(connection, [root], again=True)


def cancel_each(connection: Connection, requests: Sequence[CancelRequest]) -> list[Job]:
    """Cancel jobs as `cancel` does, in a transaction. Returns all changed jobs, including descendants."""
    return _cancel_with_children(connection, requests, again=False) if requests else []


def _cancel_with_children(connection: Connection, requests: Sequence[CancelRequest], *, again: bool) -> list[Job]:
    below = _lock_below(connection, requests)
    meant = _meant(requests, below)
    if len(meant) < len(requests):
        # If a job has moved on, its descendants are not cancelled either.
        requests, below = meant, _lock_below(connection, meant)
    by_uuid = {each.uuid: each for each in below}
    above_running = _above_running(below)
    stops = [
        _stop(request, job, is_above_running=job.uuid in above_running)
        for request in [*requests, *_children(below, requests)]
        if (job := by_uuid.get(rows.job_uuid(request.job_id) or "")) is not None
        and job.status is not None
        and (again or job.stop_status is None)
    ]
    return _cancel(connection, stops)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Below:
    """A requested job or its descendant. If it is not final, its row is locked."""

    tenant_id: str
    uuid: str
    parent_uuid: str | None
    status: Status | None
    #: Whether the job is unfinished and part of a tree.
    may_have_children: bool
    waits_for: WaitsFor | None
    #: An earlier stop request: the job's future status, its error, and the requester.
    stop_status: Status | None
    error: str | None
    cancelled_by: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stop:
    tenant_id: str
    uuid: str
    #: The job's next status; None: no change.
    status: Status | None
    stop_status: Status
    error: str | None
    cancelled_by: str | None
    waits_for: WaitsFor | None


def _stop(request: CancelRequest, job: _Below, *, is_above_running: bool) -> _Stop:
    """Return the values to write. The first request wins; a waiting job ends after its running descendants."""
    stays_queued = is_above_running and job.waits_for in SUSPENDED
    asked = Status.FAILED if request.is_overdue else Status.CANCELLED
    stop_status = job.stop_status or asked
    return _Stop(
        tenant_id=job.tenant_id,
        uuid=job.uuid,
        status=stop_status if job.status is Status.QUEUED and not stays_queued else None,
        stop_status=stop_status,
        error=request.error if job.stop_status is None else job.error,
        cancelled_by=request.cancelled_by if job.stop_status is None else job.cancelled_by,
        waits_for=WaitsFor.CHILDREN if stays_queued else None,
    )


def _lock_below(connection: Connection, requests: Sequence[CancelRequest]) -> list[_Below]:
    """Lock the unfinished jobs among the requested ones and their descendants. Returns final ones too.

    A locked job neither starts nor creates children, so the query repeats until it finds no new job.
    """
    parameters = {
        "tenants": [each.tenant_id for each in requests],
        "ids": [rows.job_uuid(each.job_id) for each in requests],
    }
    known: set[str] = set()
    while True:
        below = [
            _Below(
                tenant_id=tenant_id,
                uuid=uuid,
                parent_uuid=parent_uuid,
                status=None if status is None else Status(status),
                may_have_children=may_have_children,
                waits_for=None if waits_for is None else WaitsFor(waits_for),
                stop_status=None if stop_status is None else Status(stop_status),
                error=error,
                cancelled_by=cancelled_by,
            )
            for (
                tenant_id, uuid, parent_uuid, status, may_have_children, waits_for, stop_status, error, cancelled_by,
            ) in connection.exec_driver_sql(_LOCK_BELOW, parameters)
        ]  # fmt: skip
        found = {each.uuid for each in below}
        if found == known or not any(each.may_have_children for each in below):
            return below
        known = found


def _meant(requests: Sequence[CancelRequest], below: Sequence[_Below]) -> list[CancelRequest]:
    """Return the requests for jobs, now locked, that are unfinished and have the requested status."""
    statuses: dict[str | None, Status | None] = {each.uuid: each.status for each in below}
    found = [(each, statuses.get(rows.job_uuid(each.job_id))) for each in requests]
    return [each for each, status in found if status is not None and each.status in (None, status)]


def _above_running(below: Sequence[_Below]) -> set[str]:
    parents = {each.uuid: each.parent_uuid for each in below if each.parent_uuid is not None}
    found: set[str] = set()
    for each in below:
        above = each.parent_uuid if each.status is Status.RUNNING else None
        while above is not None and above not in found:
            found.add(above)
            above = parents.get(above)
    return found


def _children(below: Sequence[_Below], requests: Sequence[CancelRequest]) -> list[CancelRequest]:
    asked = {rows.job_uuid(each.job_id) for each in requests}
    overdue = {rows.job_uuid(each.job_id) for each in requests if each.is_overdue}
    return [
        CancelRequest(
            tenant_id=each.tenant_id,
            job_id=ids.encode("job", each.uuid),
            cancelled_by=ids.encode("job", each.parent_uuid),
            error=run_outcome.parent_cancelled(
                ids.encode("job", each.parent_uuid), is_overdue=each.parent_uuid in overdue
            ),
        )
        for each in below
        if each.parent_uuid is not None and each.uuid not in asked and each.stop_status is None
    ]


def _cancel(connection: Connection, stops: Sequence[_Stop]) -> list[Job]:
    if not stops:
        return []
    parameters = {
        "tenants": [each.tenant_id for each in stops],
        "ids": [each.uuid for each in stops],
        "statuses": [None if each.status is None else each.status.value for each in stops],
        "stop_statuses": [each.stop_status.value for each in stops],
        "errors": [each.error for each in stops],
        "cancelled_by": [each.cancelled_by for each in stops],
        "waits_for": [None if each.waits_for is None else each.waits_for.value for each in stops],
    }
    return [rows.job(row) for row in connection.exec_driver_sql(_CANCEL, parameters)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """A queued job that a trigger with its `dedupe` key replaces."""

    job_id: str
    #: The id reserved for the new job, by PostgreSQL's clock, and its UUID.
    new_job_id: str
    new_uuid: str


# Locks the rows in the order of ids, as a cancel of the same jobs does.
_LOCK_REPLACED = Statement(f"""
WITH found AS MATERIALIZED (
    SELECT k.worker_id, k.key, j.id
    FROM (
        SELECT DISTINCT * FROM unnest(%(worker_ids)s::text[], %(keys)s::text[]) AS k (worker_id, key)
    ) AS k CROSS JOIN LATERAL (
        SELECT id FROM jobs
        WHERE tenant_id = %(tenant_id)s AND worker_id = k.worker_id AND dedupe_key = k.key
            AND status IN ('queued', 'running') LIMIT 1
    ) AS j
)
SELECT f.worker_id, f.key, j.id::text, ava_uuid7()::text
FROM found AS f JOIN jobs AS j ON j.tenant_id = %(tenant_id)s AND j.id = f.id
WHERE j.status IS NOT DISTINCT FROM 'queued' AND {is_compared()} ORDER BY j.id FOR UPDATE OF j
""")


def lock_replaced(
    connection: Connection, *, tenant_id: str, keys: Sequence[tuple[str, str]], checked: Collection[str]
) -> dict[tuple[str, str], Replacement]:
    """Lock the queued jobs with these `dedupe` keys (worker, key), to replace them.

    None while the tenant has an active containment that is not in `checked` (UUIDs).
    """
    parameters = {
        "tenant_id": tenant_id,
        "worker_ids": [worker_id for worker_id, _ in keys],
        "keys": [key for _, key in keys],
        "checked": array(checked),
    }
    return {
        (worker_id, key): Replacement(
            job_id=ids.encode("job", uuid), new_job_id=ids.encode("job", new_uuid), new_uuid=new_uuid
        )
        for worker_id, key, uuid, new_uuid in connection.exec_driver_sql(_LOCK_REPLACED, parameters)
    }


#: The expired rows of the index `jobs_expiring`.
_HAS_EXPIRED = "status = 'queued' AND first_run_no IS NULL AND expires_at <= now()"
#: Condition: some jobs have expired. ORDER BY, because EXISTS may scan the table.
ARE_EXPIRED = f"(SELECT expires_at FROM jobs WHERE {_HAS_EXPIRED} ORDER BY expires_at LIMIT 1) IS NOT NULL"

# Formats the time like `ava.domain.record.format_time`.
_EXPIRE = Statement(f"""
WITH r AS MATERIALIZED (
    SELECT tenant_id, id, '{SystemCancel.EXPIRED}: not started by ' || replace(
        to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS'), '.000', '') || 'Z' AS error
    FROM jobs WHERE {_HAS_EXPIRED}
    ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs AS j SET status = 'cancelled', stop_status = 'cancelled', error = r.error, waits_for = NULL, run_at = NULL,
    cancel_requested_at = clock_timestamp(), completed_at = clock_timestamp()
FROM r WHERE j.tenant_id = r.tenant_id AND j.id = r.id
""")


def expire(connection: Connection, *, limit: int) -> int:
    """Cancel expired jobs, earliest expiry first. Returns their number."""
    return connection.exec_driver_sql(_EXPIRE, {"limit": limit}).rowcount


_HAS_DEADLINE = "deadline_at IS NOT NULL AND cancel_requested_at IS NULL AND status IN ('queued', 'running')"
ARE_OVERDUE = f"""(SELECT deadline_at FROM jobs WHERE {_HAS_DEADLINE} AND deadline_at <= now()
    ORDER BY deadline_at LIMIT 1) IS NOT NULL"""


@dataclass(frozen=True, kw_only=True, slots=True)
class OverdueJob:
    tenant_id: str
    job_id: str
    #: Seconds from its creation or its date, whichever is later, to the deadline.
    seconds: float


_OVERDUE = Statement(f"""
SELECT tenant_id, id::text, round(extract(epoch FROM deadline_at - greatest(created_at, scheduled_at)), 3)::float8
FROM jobs WHERE {_HAS_DEADLINE} AND deadline_at <= now() ORDER BY deadline_at LIMIT %(limit)s
""")


def overdue(connection: Connection, *, limit: int) -> list[OverdueJob]:
    """Return overdue jobs, earliest deadline first."""
    return [
        OverdueJob(tenant_id=tenant_id, job_id=ids.encode("job", uuid), seconds=seconds)
        for tenant_id, uuid, seconds in connection.exec_driver_sql(_OVERDUE, {"limit": limit})
    ]
