"""The unfinished jobs that have a key for `dedupe`: what a trigger with the same key finds, and what it replaces.

The unique index `jobs_deduped` keeps two of them from having one key.
"""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain.job import Job
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

__all__ = ["cancel_queued", "unfinished"]

_UNFINISHED = Statement(f"""
SELECT {rows.JOB_COLUMNS}, j.dedupe_key
FROM unnest(%(worker_ids)s::text[], %(keys)s::text[]) AS k (worker_id, key) CROSS JOIN LATERAL (
    SELECT * FROM jobs WHERE tenant_id = %(tenant_id)s AND worker_id = k.worker_id AND dedupe_key = k.key
        AND status IN ('queued', 'running') LIMIT 1
) AS j
""")


def unfinished(
    connection: Connection, *, tenant_id: str, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Job]:
    """Returns the jobs that are not final, by worker and key."""
    found = connection.exec_driver_sql(_UNFINISHED, _parameters(tenant_id, keys))
    return {(job.worker_id, row[-1]): job for row in found for job in [rows.job(row)]}


# The rows are locked in the order of their keys, as `make.insert` inserts them.
_CANCEL_QUEUED = Statement("""
WITH earlier AS MATERIALIZED (
    SELECT j.id FROM (
        SELECT DISTINCT * FROM unnest(%(worker_ids)s::text[], %(keys)s::text[]) AS k (worker_id, key)
        ORDER BY worker_id, key
    ) AS k CROSS JOIN LATERAL (
        SELECT id FROM jobs WHERE tenant_id = %(tenant_id)s AND worker_id = k.worker_id AND dedupe_key = k.key
            AND status IN ('queued', 'running') LIMIT 1 FOR UPDATE
    ) AS j
)
UPDATE jobs AS j SET status = 'cancelled', waits_for = NULL, run_at = NULL,
    completed_at = clock_timestamp(), cancel_requested_at = clock_timestamp(), cancelled_by = %(user_id)s
FROM earlier WHERE j.id = earlier.id AND j.status IS NOT DISTINCT FROM 'queued'
""")


def cancel_queued(connection: Connection, *, tenant_id: str, user_id: str, keys: Sequence[tuple[str, str]]) -> int:
    """Cancel the queued jobs of these keys, in the transaction that inserts others. Returns the number of jobs."""
    parameters = {**_parameters(tenant_id, keys), "user_id": user_id}
    return connection.exec_driver_sql(_CANCEL_QUEUED, parameters).rowcount


def _parameters(tenant_id: str, keys: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "worker_ids": [worker_id for worker_id, _ in keys],
        "keys": [key for _, key in keys],
    }
