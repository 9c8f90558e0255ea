"""The moves of a job that clients make, beside its making (`ava.store.jobs.moves.make`). Each is one statement."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain.job import Job
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

__all__ = ["cancel", "unpublish"]

_UNPUBLISH = Statement("""
UPDATE jobs SET published_at = NULL
WHERE id = ANY(%(ids)s::uuid[]) AND status IS NOT DISTINCT FROM 'queued' AND published_at IS NOT NULL
""")


def unpublish(connection: Connection, job_ids: Sequence[str]) -> None:
    """Mark jobs as unpublished because their messages could not be published."""
    connection.exec_driver_sql(_UNPUBLISH, {"ids": [rows.job_uuid(job_id) for job_id in job_ids]})


_CANCEL = Statement(f"""
UPDATE jobs AS j SET
    status = CASE WHEN j.status = 'queued' THEN 'cancelled' ELSE j.status END,
    completed_at = CASE WHEN j.status = 'queued' THEN clock_timestamp() END,
    waits_for = NULL, run_at = NULL,
    cancel_requested_at = coalesce(j.cancel_requested_at, clock_timestamp()),
    cancelled_by = coalesce(j.cancelled_by, %(user_id)s)
WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid AND j.status IN ('queued', 'running')
RETURNING {rows.JOB_COLUMNS}
""")


def cancel(connection: Connection, *, tenant_id: str, user_id: str, job_id: str) -> Job | None:
    """Cancel a queued job, or request that a running one stops. Returns None if it is final or not the tenant's."""
    if (uuid := rows.job_uuid(job_id)) is None:
        return None
    parameters = {"tenant_id": tenant_id, "user_id": user_id, "id": uuid}
    row = connection.exec_driver_sql(_CANCEL, parameters).first()
    return None if row is None else rows.job(row)
