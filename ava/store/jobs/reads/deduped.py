"""Find the unfinished jobs with a `dedupe` key, for a trigger with the same key.

The unique index `jobs_deduped` admits one unfinished job per key.
"""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain.jobs.job import Job
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

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
    """Return the unfinished jobs by worker and key."""
    found = connection.exec_driver_sql(_UNFINISHED, _parameters(tenant_id, keys))
    return {(job.worker_id, row[-1]): job for row in found for job in [rows.job(row)]}


def _parameters(tenant_id: str, keys: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "worker_ids": [worker_id for worker_id, _ in keys],
        "keys": [key for _, key in keys],
    }
