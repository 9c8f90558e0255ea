"""Cancelling a batch of jobs with one statement."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain.job import Job
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

__all__ = ["cancel_batch"]

# Locked in the order of the ids, so that two batches never wait for each other in a circle.
_CANCEL_BATCH = Statement(f"""
UPDATE jobs AS j SET
    status = CASE WHEN j.status = 'queued' THEN 'cancelled' ELSE j.status END,
    completed_at = CASE WHEN j.status = 'queued' THEN clock_timestamp() END,
    waits_for = NULL, run_at = NULL,
    cancel_requested_at = clock_timestamp(),
    cancelled_by = %(user_id)s
WHERE j.id IN (
    SELECT j.id FROM jobs AS j
    WHERE j.id = ANY(%(ids)s::uuid[]) AND j.tenant_id = %(tenant_id)s AND j.status IN ('queued', 'running')
        AND j.cancel_requested_at IS NULL
    ORDER BY j.id FOR UPDATE
)
RETURNING {rows.JOB_COLUMNS}
""")


def cancel_batch(connection: Connection, *, tenant_id: str, user_id: str, job_ids: Sequence[str]) -> list[Job]:
    """Cancel queued jobs of a tenant, and request that running ones stop. Returns those that it has changed."""
    uuids = [rows.job_uuid(job_id) for job_id in job_ids]
    parameters = {"tenant_id": tenant_id, "user_id": user_id, "ids": uuids}
    return [rows.job(row) for row in connection.exec_driver_sql(_CANCEL_BATCH, parameters)]
