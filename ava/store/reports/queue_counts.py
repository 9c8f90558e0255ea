"""Count a tenant's queued and running jobs by worker and by queue. Every statement is bounded, however many wait."""

from __future__ import annotations

from typing import Any

from ava.domain.counts import MAX_COUNTED_OF_WORKER
from ava.domain.fleet import QueueCounts, WorkerCount
from ava.domain.jobs import priority
from ava.domain.jobs.wait_reasons import SUSPENDED
from ava.store.engine.database import Connection
from ava.store.engine.statement import IN_ORDER, Statement
from ava.store.fleet import workers
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import READY_AT
from ava.store.reports.tenant_usage import suspended

#: Jobs that wait for other jobs, an event or a time: AVA_TENANT_MAX_WAITING by default.
_MAX_WAITING = 100_000
#: Published jobs of one queue and priority, of all tenants, and next jobs of the backlog that are compared.
_MAX_PUBLISHED = 2_000
_MAX_NEXT = 20


# An index has all that this reads.
_WAITING = Statement(f"""
SELECT worker_id, count(*) FROM ({suspended("%(limit)s", "j.worker_id")}) AS waiting GROUP BY worker_id
""")
# Finds the tenant's workers along `jobs_by_worker`, one step per worker; the jobs of each are a range of it. The rows
# of its first queued jobs say which of them wait. If there are more, and some wait, the whole range is counted in the
# index, and the waiting jobs are subtracted: to skip 50,000 of them one by one takes a second.
_QUEUE_COUNTS = Statement(f"""
WITH RECURSIVE w (id) AS (
    (SELECT worker_id FROM jobs WHERE tenant_id = %(tenant_id)s ORDER BY tenant_id, worker_id LIMIT 1)
    UNION ALL
    SELECT (SELECT worker_id FROM jobs WHERE tenant_id = %(tenant_id)s AND worker_id > w.id
            ORDER BY tenant_id, worker_id LIMIT 1)
    FROM w WHERE w.id IS NOT NULL
), counts AS (
    SELECT w.id, CASE WHEN q.read < %(limit)s OR s.jobs = 0 THEN q.queued
            ELSE greatest(q.queued, least(%(limit)s, t.jobs - s.jobs)) END AS queued, q.high, r.running
    FROM w CROSS JOIN LATERAL (
        SELECT coalesce(sum(x.jobs), 0)::bigint AS jobs FROM unnest(%(workers)s::text[], %(waiting)s::bigint[])
            AS x (id, jobs) WHERE x.id = w.id
    ) AS s CROSS JOIN LATERAL (
        SELECT count(*) AS read, count(*) FILTER (WHERE NOT c.waits) AS queued,
            count(*) FILTER (WHERE NOT c.waits AND c.priority <= {priority.HIGH}) AS high
        FROM (
            SELECT j.priority, (j.waits_for IN {rows.reasons(SUSPENDED)}) IS TRUE AS waits FROM jobs AS j
            WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = w.id AND j.status = 'queued' LIMIT %(limit)s
        ) AS c
    ) AS q CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM (
            SELECT 1 FROM jobs AS j
            WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = w.id AND j.status = 'queued'
            LIMIT CASE WHEN q.read < %(limit)s OR s.jobs = 0 THEN 0 ELSE %(limit)s + s.jobs END
        ) AS c
    ) AS t CROSS JOIN LATERAL (
        SELECT count(*) AS running FROM (
            SELECT 1 FROM jobs AS j
            WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = w.id AND j.status = 'running' LIMIT %(limit)s
        ) AS c
    ) AS r
    WHERE w.id IS NOT NULL
)
SELECT now(), counts.* FROM (SELECT 1) AS once LEFT JOIN counts ON counts.queued + counts.running > 0
ORDER BY counts.id
""")


def queue_counts(connection: Connection, *, tenant_id: str) -> QueueCounts:
    """Return the tenant's queued and running jobs by worker, each counted up to `MAX_COUNTED_OF_WORKER`."""
    given: dict[str, object] = {"tenant_id": tenant_id, "limit": _MAX_WAITING}
    waiting: dict[str, int] = {row[0]: row[1] for row in connection.exec_driver_sql(_WAITING, given)}
    # If not all were counted, the queued jobs are counted among the first jobs, a lower bound.
    subtracted = waiting if sum(waiting.values()) < _MAX_WAITING else {}
    given |= {"workers": [*subtracted], "waiting": [*subtracted.values()], "limit": MAX_COUNTED_OF_WORKER}
    found = connection.exec_driver_sql(_QUEUE_COUNTS, given).all()
    by_worker = [
        WorkerCount(worker_id=worker_id, queued=queued, running=running, high_priority=high)
        for _, worker_id, queued, high, running in found
        if worker_id is not None
    ]
    return QueueCounts(by_worker=by_worker, waiting=waiting, sampled_at=found[0][0])


_WORKERS = Statement(f"""
SELECT w.id, w.queue, {workers.queue("%(tenant_id)s")} FROM workers AS w WHERE {workers.IS_VISIBLE}
""")


def by_queue(connection: Connection, counts: QueueCounts, *, tenant_id: str) -> dict[str, dict[str, Any]]:
    """Return the tenant's jobs by queue, as fields of `Queue`, for the queues of the workers that it can use."""
    found: dict[str, dict[str, Any]] = {}
    of_workers = {count.worker_id: count for count in counts.by_worker}
    queues = dict[str, str]()
    for worker_id, queue, own_queue in connection.exec_driver_sql(_WORKERS, {"tenant_id": tenant_id}):
        queues[own_queue] = queue
        sums = found.setdefault(queue, {"queued": 0, "running": 0, "waiting": 0, "oldest_seconds": None})
        sums["waiting"] += counts.waiting.get(worker_id, 0)
        if (count := of_workers.get(worker_id)) is not None:
            sums["queued"] += count.queued
            sums["running"] += count.running
    busy = [own_queue for own_queue, queue in queues.items() if found[queue]["queued"]]
    for own_queue, seconds in oldest_seconds(connection, busy, tenant_id=tenant_id).items():
        sums = found[queues[own_queue]]
        sums["oldest_seconds"] = max(sums["oldest_seconds"] or 0.0, seconds)
    return found


_IS_NEXT = """j.queue = q.queue AND j.priority = p.priority AND j.tenant_id = %(tenant_id)s AND j.status = 'queued'
            AND j.waits_for IS NULL AND j.published_at IS NULL"""
_IN_BACKLOG = f"ORDER BY j.queue, j.priority, j.tenant_id, (j.limit_key IS NULL), j.id LIMIT {_MAX_NEXT}"
# A job's id has its creation time, and the job may have become startable later, so compare several of the first jobs.
_OLDEST = Statement(f"""{IN_ORDER}
SELECT q.queue, extract(epoch FROM now() - min(next.ready_at))::float8
FROM unnest(%(queues)s::text[]) AS q (queue)
CROSS JOIN generate_series({priority.FIRST}, {priority.LAST}) AS p (priority)
CROSS JOIN LATERAL (
    (SELECT {READY_AT} AS ready_at FROM jobs AS j WHERE {_IS_NEXT} AND (j.limit_key IS NULL) < true {_IN_BACKLOG})
    UNION ALL
    (SELECT {READY_AT} FROM jobs AS j WHERE {_IS_NEXT} AND j.limit_key IS NULL {_IN_BACKLOG})
    UNION ALL
    SELECT published.ready_at FROM (
        SELECT j.tenant_id, {READY_AT} AS ready_at FROM jobs AS j
        WHERE j.queue = q.queue AND j.priority = p.priority AND j.status = 'queued' AND j.waits_for IS NULL
            AND j.published_at IS NOT NULL
        ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT {_MAX_PUBLISHED}
    ) AS published WHERE published.tenant_id = %(tenant_id)s
) AS next
GROUP BY q.queue
""")


def oldest_seconds(connection: Connection, queues: list[str], *, tenant_id: str) -> dict[str, float]:
    """Return the waiting time in seconds of the oldest startable job of each queue that has one."""
    if not queues:
        return {}
    found = connection.exec_driver_sql(_OLDEST, {"queues": queues, "tenant_id": tenant_id})
    return {queue: max(0.0, round(seconds, 3)) for queue, seconds in found}
