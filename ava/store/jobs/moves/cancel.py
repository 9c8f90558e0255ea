"""Cancels: a queued job is cancelled at once, and a running one is asked to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.domain import ids
from ava.domain.jobs.job import Job
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.moves.rules import CANCEL_SET

__all__ = ["CancelRequest", "Replacement", "cancel", "cancel_each", "lock_replaced"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequest:
    """A request to cancel one job."""

    tenant_id: str
    job_id: str
    #: The user, the key, the schedule or the job on whose behalf; None if none is behind it.
    cancelled_by: str | None
    #: The error of a job that the system cancels (`ava.domain.system_cancel`); None of a caller's cancel.
    error: str | None = None


# Locked in the order of the ids, so that two statements never wait for each other in a circle.
_CANCEL = Statement(f"""
WITH r AS MATERIALIZED (
    SELECT j.tenant_id, j.id, a.cancelled_by, a.error
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(cancelled_by)s::text[], %(errors)s::text[])
         AS a (tenant_id, id, cancelled_by, error)
    JOIN jobs AS j ON j.tenant_id = a.tenant_id AND j.id = a.id
    WHERE j.status IN ('queued', 'running') AND (%(again)s OR j.cancel_requested_at IS NULL)
    ORDER BY j.id FOR UPDATE OF j
)
UPDATE jobs AS j SET {CANCEL_SET} FROM r WHERE j.tenant_id = r.tenant_id AND j.id = r.id
RETURNING {rows.JOB_COLUMNS}
""")


def cancel(connection: Connection, *, tenant_id: str, user_id: str, job_id: str) -> Job | None:
    """Cancel a queued job, or request that a running one stops. Returns None if it is final or not the tenant's.

    A request that was made before stays as it is.
    """
    found = _cancel(connection, [CancelRequest(tenant_id=tenant_id, job_id=job_id, cancelled_by=user_id)], again=True)
    return found[0] if found else None


def cancel_each(connection: Connection, requests: Sequence[CancelRequest]) -> list[Job]:
    """Cancel jobs as `cancel` does. Returns those that it has changed."""
    return _cancel(connection, requests, again=False) if requests else []


def _cancel(connection: Connection, requests: Sequence[CancelRequest], *, again: bool) -> list[Job]:
    parameters = {
        "tenants": [each.tenant_id for each in requests],
        "ids": [rows.job_uuid(each.job_id) for each in requests],
        "cancelled_by": [each.cancelled_by for each in requests],
        "errors": [each.error for each in requests],
        "again": again,
    }
    return [rows.job(row) for row in connection.exec_driver_sql(_CANCEL, parameters)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """A queued job that a trigger with its key for `dedupe` replaces."""

    job_id: str
    #: The id that is reserved for the new job, by PostgreSQL's clock, and its UUID.
    new_job_id: str
    new_uuid: str


# The rows are locked in the order of their keys, as `make.insert` inserts them.
_LOCK_REPLACED = Statement("""
SELECT k.worker_id, k.key, j.id::text, ava_uuid7()::text
FROM (
    SELECT DISTINCT * FROM unnest(%(worker_ids)s::text[], %(keys)s::text[]) AS k (worker_id, key)
    ORDER BY worker_id, key
) AS k CROSS JOIN LATERAL (
    SELECT id, status FROM jobs
    WHERE tenant_id = %(tenant_id)s AND worker_id = k.worker_id AND dedupe_key = k.key
        AND status IN ('queued', 'running') LIMIT 1 FOR UPDATE
) AS j
WHERE j.status = 'queued'
""")


def lock_replaced(
    connection: Connection, *, tenant_id: str, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Replacement]:
    """Lock the queued jobs of keys for `dedupe` (worker, key), in the transaction that replaces them.

    Returns what is to be replaced by its key.
    """
    parameters = {
        "tenant_id": tenant_id,
        "worker_ids": [worker_id for worker_id, _ in keys],
        "keys": [key for _, key in keys],
    }
    return {
        (worker_id, key): Replacement(
            job_id=ids.encode("job", uuid), new_job_id=ids.encode("job", new_uuid), new_uuid=new_uuid
        )
        for worker_id, key, uuid, new_uuid in connection.exec_driver_sql(_LOCK_REPLACED, parameters)
    }
