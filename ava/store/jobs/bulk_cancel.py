"""Cancelling many jobs at once, in batches that hold their locks for a short time."""

from __future__ import annotations

from ava.domain import ids
from ava.domain.job import Job, Status
from ava.domain.job_filter import JobFilter
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.filters import filter_parameters

__all__ = ["cancel_batch", "remaining"]

_CANCELLABLE = (Status.QUEUED, Status.RUNNING)

# A row that another transaction has locked is skipped, and left for later.
_CANCEL_BATCH = Statement(f"""
UPDATE jobs AS j SET
    status = CASE WHEN j.status = 'queued' THEN 'cancelled' ELSE j.status END,
    completed_at = CASE WHEN j.status = 'queued' THEN clock_timestamp() END,
    cancel_requested_at = clock_timestamp(),
    cancelled_by = %(user_id)s
WHERE j.id IN (
    SELECT j.id FROM jobs AS j
    WHERE j.tenant_id = %(tenant_id)s AND j.status = ANY(%(statuses)s::text[]) AND j.trigger = ANY(%(triggers)s::text[])
        AND j.cancel_requested_at IS NULL AND j.created_at <= %(until)s
        AND (%(worker_id)s::text IS NULL OR j.worker_id = %(worker_id)s)
        AND (%(after_id)s::uuid IS NULL OR j.id >= %(after_id)s::uuid)
        AND (%(before_floor)s::uuid IS NULL OR j.id < %(before_floor)s::uuid)
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
RETURNING {rows.JOB_COLUMNS}
""")


def cancel_batch(
    connection: Connection, *, tenant_id: str, user_id: str, job_filter: JobFilter, until: object, limit: int
) -> list[Job]:
    """Cancel some of the queued and running jobs that a filter finds and that existed at the time `until`.

    Returns the jobs as they are then.
    """
    parameters = _parameters(tenant_id, job_filter, until, limit) | {"user_id": user_id}
    return [rows.job(row) for row in connection.exec_driver_sql(_CANCEL_BATCH, parameters)]


_REMAINING = Statement("""
SELECT j.id::text FROM jobs AS j
WHERE j.tenant_id = %(tenant_id)s AND j.status = ANY(%(statuses)s::text[]) AND j.trigger = ANY(%(triggers)s::text[])
    AND j.cancel_requested_at IS NULL AND j.created_at <= %(until)s
    AND (%(worker_id)s::text IS NULL OR j.worker_id = %(worker_id)s)
    AND (%(after_id)s::uuid IS NULL OR j.id >= %(after_id)s::uuid)
    AND (%(before_floor)s::uuid IS NULL OR j.id < %(before_floor)s::uuid)
LIMIT %(limit)s
""")


def remaining(connection: Connection, *, tenant_id: str, job_filter: JobFilter, until: object, limit: int) -> list[str]:
    """Returns the ids of the jobs that the batches skipped because another transaction had locked them."""
    parameters = _parameters(tenant_id, job_filter, until, limit)
    return [ids.encode("job", uuid) for uuid in connection.exec_driver_sql(_REMAINING, parameters).scalars()]


def _parameters(tenant_id: str, job_filter: JobFilter, until: object, limit: int) -> dict[str, object]:
    return filter_parameters(tenant_id, job_filter, among=_CANCELLABLE) | {"until": until, "limit": limit}
