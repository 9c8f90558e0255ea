"""Cancels: a queued job is cancelled at once, and a running one is asked to stop."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain.jobs.job import Job
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.moves.rules import CANCEL_SET

__all__ = ["cancel", "cancel_each", "cancel_replaced"]


def _cancels(asked: str) -> Statement:
    """Returns the statement that cancels the jobs that `asked` locks, each by its `user_id`."""
    return Statement(f"""
WITH r AS MATERIALIZED ({asked}
)
UPDATE jobs AS j SET {CANCEL_SET} FROM r WHERE j.tenant_id = r.tenant_id AND j.id = r.id
RETURNING {rows.JOB_COLUMNS}
""")


# Locked in the order of the ids, so that two statements never wait for each other in a circle.
_CANCEL = _cancels("""
    SELECT j.tenant_id, j.id, a.user_id
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(users)s::text[]) AS a (tenant_id, id, user_id)
    JOIN jobs AS j ON j.tenant_id = a.tenant_id AND j.id = a.id
    WHERE j.status IN ('queued', 'running') AND (%(again)s OR j.cancel_requested_at IS NULL)
    ORDER BY j.id FOR UPDATE OF j""")


def cancel(connection: Connection, *, tenant_id: str, user_id: str, job_id: str) -> Job | None:
    """Cancel a queued job, or request that a running one stops. Returns None if it is final or not the tenant's.

    A request that was made before stays as it is.
    """
    found = _cancel(connection, [(tenant_id, job_id, user_id)], again=True)
    return found[0] if found else None


def cancel_each(connection: Connection, asked: Sequence[tuple[str, str, str]]) -> list[Job]:
    """Cancel jobs (tenant, job id, user) as `cancel` does. Returns those that it has changed."""
    return _cancel(connection, asked, again=False) if asked else []


def _cancel(connection: Connection, asked: Sequence[tuple[str, str, str]], *, again: bool) -> list[Job]:
    parameters = {
        "tenants": [tenant_id for tenant_id, _, _ in asked],
        "ids": [rows.job_uuid(job_id) for _, job_id, _ in asked],
        "users": [user_id for _, _, user_id in asked],
        "again": again,
    }
    return [rows.job(row) for row in connection.exec_driver_sql(_CANCEL, parameters)]


# The rows are locked in the order of their keys, as `make.insert` inserts them.
_CANCEL_REPLACED = _cancels("""
    SELECT j.tenant_id, j.id, %(user_id)s AS user_id
    FROM (
        SELECT DISTINCT * FROM unnest(%(worker_ids)s::text[], %(keys)s::text[]) AS k (worker_id, key)
        ORDER BY worker_id, key
    ) AS k CROSS JOIN LATERAL (
        SELECT tenant_id, id, status FROM jobs
        WHERE tenant_id = %(tenant_id)s AND worker_id = k.worker_id AND dedupe_key = k.key
            AND status IN ('queued', 'running') LIMIT 1 FOR UPDATE
    ) AS j
    WHERE j.status = 'queued'""")


def cancel_replaced(connection: Connection, *, tenant_id: str, user_id: str, keys: Sequence[tuple[str, str]]) -> int:
    """Cancel the queued jobs of keys for `dedupe` (worker, key), in the transaction that makes others.

    Returns the number of jobs.
    """
    parameters = {
        "tenant_id": tenant_id,
        "user_id": user_id,
        "worker_ids": [worker_id for worker_id, _ in keys],
        "keys": [key for _, key in keys],
    }
    return connection.exec_driver_sql(_CANCEL_REPLACED, parameters).rowcount
