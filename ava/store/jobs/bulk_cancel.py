"""Cancelling many jobs at once, in batches that hold their locks for a moment only."""

from __future__ import annotations

from ava.domain import ids
from ava.domain.job import Job, Status
from ava.store.engine.database import Connection
from ava.store.jobs import rows
from ava.store.jobs.reads import JobFilter, filter_conditions

__all__ = ["cancel_batch", "remaining"]

_CANCELLABLE = (Status.QUEUED, Status.RUNNING)

# Rows that somebody else is changing at this moment are left for later instead of being waited for.
_FOUND = """
SELECT j.id FROM jobs AS j
WHERE j.tenant_id = %(tenant_id)s AND j.status = ANY(%(statuses)s::text[]) AND j.trigger = ANY(%(triggers)s::text[])
  AND j.cancel_requested_at IS NULL AND j.created_at <= %(until)s AND {filters}
LIMIT %(limit)s
"""
_CANCEL = """
UPDATE jobs AS j SET
    status = CASE WHEN j.status = 'queued' THEN 'cancelled' ELSE j.status END,
    completed_at = CASE WHEN j.status = 'queued' THEN clock_timestamp() END,
    cancel_requested_at = clock_timestamp(),
    cancelled_by = %(user_id)s
WHERE j.id IN ({found} FOR UPDATE SKIP LOCKED)
RETURNING {columns}
"""


def cancel_batch(
    connection: Connection, *, tenant_id: str, user_id: str, job_filter: JobFilter, until: object, limit: int
) -> list[Job]:
    """Cancel some of the queued and running jobs that a filter finds and that were there at a moment."""
    parameters, filters = _bounds(tenant_id, job_filter, until, limit)
    statement = _CANCEL.format(found=_FOUND.format(filters=filters), columns=rows.JOB_COLUMNS)
    return [rows.job(row) for row in connection.exec_driver_sql(statement, parameters | {"user_id": user_id})]


def remaining(connection: Connection, *, tenant_id: str, job_filter: JobFilter, until: object, limit: int) -> list[str]:
    """The ids of jobs that the batches left out, because somebody else was changing them."""
    parameters, filters = _bounds(tenant_id, job_filter, until, limit)
    statement = f"SELECT id::text FROM ({_FOUND.format(filters=filters)}) AS found"
    return [ids.encode("job", uuid) for uuid in connection.exec_driver_sql(statement, parameters).scalars()]


def _bounds(tenant_id: str, job_filter: JobFilter, until: object, limit: int) -> tuple[dict[str, object], str]:
    parameters, filters = filter_conditions(tenant_id, job_filter)
    parameters["statuses"] = [status.value for status in _CANCELLABLE if job_filter.status in (None, status)]
    return parameters | {"until": until, "limit": limit}, filters
