"""The backlog of one window by tenants: who waits, and whose job comes next.

Every statement is bounded and uses an index made for it: `jobs_startable`, or `jobs_backlog`, which jobs that the API
publishes never enter. Within a tenant, a job that a limit has admitted comes first, because it has a permit of
the limit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ava.domain.limits.fair_queue import WaitingJob
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

# A loose index scan, as in `looks.read`: one step for each tenant.
_TENANTS = Statement("""
WITH RECURSIVE waiting AS (
    (SELECT tenant_id FROM jobs
     WHERE queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND waits_for IS NULL
        AND published_at IS NULL AND tenant_id > %(after)s
        AND (%(until)s::text IS NULL OR tenant_id <= %(until)s)
     ORDER BY queue, priority, tenant_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id FROM waiting AS w CROSS JOIN LATERAL (
        SELECT j.tenant_id FROM jobs AS j
        WHERE j.queue = %(queue)s AND j.priority = %(priority)s AND j.status = 'queued' AND j.waits_for IS NULL
            AND j.published_at IS NULL AND j.tenant_id > w.tenant_id
            AND (%(until)s::text IS NULL OR j.tenant_id <= %(until)s)
        ORDER BY j.queue, j.priority, j.tenant_id LIMIT 1) AS next
)
SELECT tenant_id FROM waiting LIMIT %(limit)s
""")


def tenants(connection: Connection, *, queue: str, priority: int, after: str, limit: int) -> list[str]:
    """Returns tenants with unpublished jobs in a window, in the order of their ids, from the one that follows `after`.

    If they end before `limit`, those from the first one on follow, so that repeated calls go round.
    """
    parameters = {"queue": queue, "priority": priority, "after": after, "until": None, "limit": limit}
    found = list(connection.exec_driver_sql(_TENANTS, parameters).scalars())
    if after and len(found) < limit:
        parameters |= {"after": "", "until": after, "limit": limit - len(found)}
        found += connection.exec_driver_sql(_TENANTS, parameters).scalars()
    return found


_HEADS = Statement("""
SELECT t.tenant_id, j.id::text, j.worker_id FROM unnest(%(tenants)s::text[]) AS t (tenant_id) CROSS JOIN LATERAL (
    SELECT id, worker_id, limit_key FROM jobs
    WHERE queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND waits_for IS NULL
        AND published_at IS NULL AND tenant_id = t.tenant_id AND worker_id <> ALL(%(unserved)s::text[])
    ORDER BY queue, priority, tenant_id, (limit_key IS NULL), id LIMIT %(each)s
) AS j
ORDER BY t.tenant_id, (j.limit_key IS NULL), j.id
""")


# Likewise from an id on: no entry before is passed. `limit_key IS NULL` is a column of the index, and the jobs with a
# limit are few, because those that wait for a permit of it are not in the backlog.
_WAITS = """queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND waits_for IS NULL
        AND published_at IS NULL AND tenant_id = t.tenant_id AND worker_id <> ALL(%(unserved)s::text[])"""
_IN_ORDER = "ORDER BY queue, priority, tenant_id, (limit_key IS NULL), id LIMIT %(each)s"
_HEADS_FROM = Statement(f"""
SELECT t.tenant_id, j.id::text, j.worker_id FROM unnest(%(tenants)s::text[]) AS t (tenant_id) CROSS JOIN LATERAL (
    (SELECT id, worker_id, limit_key FROM jobs WHERE {_WAITS} AND (limit_key IS NULL) < true {_IN_ORDER})
    UNION ALL
    (SELECT id, worker_id, limit_key FROM jobs WHERE {_WAITS} AND limit_key IS NULL AND id >= %(from_id)s::uuid
     {_IN_ORDER})
    LIMIT %(each)s
) AS j
ORDER BY t.tenant_id, (j.limit_key IS NULL), j.id
""")


def heads(
    connection: Connection,
    *,
    queue: str,
    priority: int,
    tenants: Sequence[str],
    each: int,
    unserved: Collection[str] = (),
    from_id: str | None = None,
) -> dict[str, list[WaitingJob]]:
    """Returns the next `each` unpublished jobs of these tenants in a window, but none of the `unserved` workers.

    `from_id`: no job in the window without a limit has a smaller id.
    """
    parameters = {
        "queue": queue,
        "priority": priority,
        "tenants": list(tenants),
        "each": each,
        "unserved": list(unserved),
    }
    statement = _HEADS if from_id is None else _HEADS_FROM
    found: dict[str, list[WaitingJob]] = {}
    for tenant_id, id_, worker_id in connection.exec_driver_sql(statement, parameters | {"from_id": from_id}).all():
        found.setdefault(tenant_id, []).append(WaitingJob(id=id_, tenant_id=tenant_id, worker_id=worker_id))
    return found


#: With fewer counted jobs the first, slow ones say too much: the latest jobs of the worker say its cost.
_MIN_COUNTED = 100
_COSTS = Statement("""
SELECT worker_id, sum(run_seconds) / sum(jobs), sum(jobs) FROM job_totals WHERE run_bucket >= 0 GROUP BY worker_id
""")


def costs(connection: Connection) -> tuple[dict[str, float], frozenset[str]]:
    """Returns the seconds that a worker's jobs have run on average, of the workers that had any.

    The second value is the workers of which many jobs are counted.
    """
    found = connection.exec_driver_sql(_COSTS).all()
    known = {worker_id: float(seconds) for worker_id, seconds, _ in found}
    return known, frozenset(worker_id for worker_id, _, jobs in found if jobs >= _MIN_COUNTED)


#: The jobs by which the cost of a new worker is known. Their median leaves out those that ran in cold processes.
_LATEST_JOBS = 10
# `jobs_by_worker`, backwards. Without its order the planner may scan the table.
_LATEST_COSTS = Statement(f"""
SELECT w.worker_id, extract(epoch FROM percentile_disc(0.5) WITHIN GROUP (ORDER BY j.completed_at - j.started_at))
FROM unnest(%(tenants)s::text[], %(workers)s::text[]) AS w (tenant_id, worker_id) CROSS JOIN LATERAL (
    SELECT completed_at, started_at FROM jobs
    WHERE tenant_id = w.tenant_id AND worker_id = w.worker_id AND status = 'completed' AND started_at IS NOT NULL
    ORDER BY tenant_id DESC, worker_id DESC, status DESC, trigger DESC, id DESC LIMIT {_LATEST_JOBS}
) AS j
GROUP BY w.worker_id
""")


def latest_costs(connection: Connection, new: Collection[tuple[str, str]]) -> dict[str, float]:
    """Returns the median of the seconds that the latest jobs of tenants' workers have run, of those that have any."""
    parameters = {"tenants": [tenant_id for tenant_id, _ in new], "workers": [worker_id for _, worker_id in new]}
    return {worker_id: float(seconds) for worker_id, seconds in connection.exec_driver_sql(_LATEST_COSTS, parameters)}
