"""Read the backlog of one window by tenant: the waiting tenants, and each tenant's next jobs.

Every statement is bounded and uses an index made for it: `jobs_startable`, or `jobs_backlog`, which jobs that the API
publishes never enter. A tenant's jobs admitted by a limit are first, because they hold a permit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ava.domain.limits.fair_queueing import WaitingJob
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

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
    """Return up to `limit` tenants with unpublished jobs in a window, ordered by id, starting behind `after`.

    Continues with the first tenant at the end, so that repeated calls are round-robin.
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


# Starts at an id and skips all earlier entries. `limit_key IS NULL` is a column of the index. Jobs with a limit are
# few, because jobs that wait for a permit are not in the backlog.
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
    """Return the next `each` unpublished jobs of these tenants in a window, except jobs of `unserved` workers.

    `from_id`: lower bound of the ids of jobs without a limit.
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


#: Min counted jobs for a reliable average: with fewer, slow first jobs dominate, so use `latest_costs`.
_MIN_COUNTED = 100
_COSTS = Statement("""
SELECT worker_id, sum(run_seconds) / sum(jobs), sum(jobs) FROM job_totals WHERE run_bucket >= 0 GROUP BY worker_id
""")


def costs(connection: Connection) -> tuple[dict[str, float], frozenset[str]]:
    """Return the average run time of each worker's jobs in seconds, and the workers with many counted jobs."""
    found = connection.exec_driver_sql(_COSTS).all()
    known = {worker_id: float(seconds) for worker_id, seconds, _ in found}
    return known, frozenset(worker_id for worker_id, _, jobs in found if jobs >= _MIN_COUNTED)


#: Number of jobs that determine the cost of a new worker. The median ignores runs in cold processes.
_LATEST_JOBS = 10
# Scans `jobs_by_worker` backwards. Without this ORDER BY the planner may scan the table.
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
    """Return each worker's median run time in seconds over its latest jobs, without workers that have none."""
    parameters = {"tenants": [tenant_id for tenant_id, _ in new], "workers": [worker_id for _, worker_id in new]}
    return {worker_id: float(seconds) for worker_id, seconds in connection.exec_driver_sql(_LATEST_COSTS, parameters)}
