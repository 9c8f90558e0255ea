"""The reads of a metrics scrape, over all tenants. Every statement uses an index and counts up to a limit."""

from __future__ import annotations

from dataclasses import dataclass

from ava.domain.jobs import priority
from ava.domain.jobs.wait_reasons import KNOWN, PARKED, WaitsFor
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import IN_ORDER, WAITING_WINDOWS, Statement
from ava.store.fleet.nodes import IS_LIVE
from ava.store.jobs.transitions.rules import IS_PARKED, IS_WAITING, READY_AT, is_paused_queue

#: Max counted queued jobs per queue and priority; a number at this limit is a lower bound.
MAX_QUEUED_COUNTED = 100_000
#: Refused queues with separate metrics.
_MAX_REFUSED = 100
#: Tenants with separate metrics.
_MAX_TENANTS = 50
#: Reasons that block a startable job. For all other reasons, its client or handler made it wait.
_BLOCKED = (WaitsFor.PERMIT, *PARKED)
#: Tenants per such reason, in order, and first jobs per tenant among which the oldest is found.
_MAX_BLOCKED_TENANTS = 1_000
_MAX_BLOCKED_JOBS = 10


@dataclass(frozen=True, kw_only=True)
class QueueDepth:
    queue: str
    priority: int
    #: Number of jobs with and without a message in the broker.
    published: int
    backlog: int
    #: Since the longest waiting job was due; 0 if no job waits.
    oldest_seconds: float


# Loose index scans find the windows and parked groups: the cost depends on their number, not on the queues that
# workers name. Jobs of a paused queue count as its backlog although they are parked. Queues without jobs have one row
# with the default priority. All pull queues count as one. The oldest job is the first by id. In the backlog's
# subselects `published_at` is always null; ordering by it keeps the planner off the primary key. Jobs that have waited
# for other jobs have no known age, so they are never the oldest.
_HAS_AGE = "first_started_at IS NULL AND (tree_id IS NULL OR tree_id = id OR parent_id IS NOT NULL)"
_PARKED_GROUP = "j.waits_for, j.queue, j.priority, j.worker_id, j.tenant_id"
_QUEUE_DEPTHS = Statement(f"""
WITH RECURSIVE {WAITING_WINDOWS}, parked AS (
    (SELECT {_PARKED_GROUP}, j.created_at, j.scheduled_at FROM jobs AS j WHERE {IS_PARKED} AND j.waits_for = 'queue'
     ORDER BY {_PARKED_GROUP}, j.id LIMIT 1)
    UNION ALL
    SELECT next.* FROM parked AS p CROSS JOIN LATERAL (
        SELECT {_PARKED_GROUP}, j.created_at, j.scheduled_at FROM jobs AS j
        WHERE {IS_PARKED} AND j.waits_for = 'queue'
            AND (j.queue, j.priority, j.worker_id, j.tenant_id) > (p.queue, p.priority, p.worker_id, p.tenant_id)
        ORDER BY {_PARKED_GROUP}, j.id LIMIT 1) AS next
), depths AS (
    SELECT w.queue, w.priority,
        (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE queue = w.queue AND priority = w.priority AND status = 'queued'
            AND waits_for IS NULL AND published_at IS NOT NULL LIMIT %(limit)s) AS c) AS published,
        (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE queue = w.queue AND priority = w.priority AND status = 'queued'
            AND waits_for IS NULL AND published_at IS NULL LIMIT %(limit)s) AS c) AS backlog,
        least(
            (SELECT min(greatest(created_at, scheduled_at)) FROM (SELECT created_at, scheduled_at FROM jobs
                WHERE queue = w.queue AND priority = w.priority AND status = 'queued' AND waits_for IS NULL
                    AND published_at IS NOT NULL AND {_HAS_AGE} ORDER BY published_at, id LIMIT 100) AS o),
            (SELECT greatest(created_at, scheduled_at) FROM jobs
                WHERE queue = w.queue AND priority = w.priority AND status = 'queued' AND waits_for IS NULL
                    AND published_at IS NULL AND {_HAS_AGE} ORDER BY published_at, id LIMIT 1)) AS first_at
    FROM waiting AS w
    UNION ALL
    SELECT p.queue, p.priority, 0, (SELECT count(*) FROM (SELECT 1 FROM jobs AS j WHERE {IS_PARKED}
            AND j.waits_for = 'queue' AND j.queue = p.queue AND j.priority = p.priority LIMIT %(limit)s) AS c),
        min(greatest(p.created_at, p.scheduled_at))
    FROM parked AS p GROUP BY p.queue, p.priority
)
SELECT split_part(queue, ':', 1), priority, sum(published), sum(backlog),
    coalesce(extract(epoch FROM now() - min(first_at)), 0)
FROM depths GROUP BY 1, priority
UNION ALL
SELECT DISTINCT queue, {priority.DEFAULT}, 0, 0, 0 FROM workers
WHERE queue NOT IN (SELECT split_part(queue, ':', 1) FROM depths)
ORDER BY 1, 2
""")


def queue_depths(connection: Connection) -> list[QueueDepth]:
    """Return the depth, by priority, of all queues that workers name or waiting jobs have."""
    found = connection.exec_driver_sql(_QUEUE_DEPTHS, {"limit": MAX_QUEUED_COUNTED})
    return [
        QueueDepth(
            queue=queue,
            priority=number,
            published=int(published),
            backlog=int(backlog),
            oldest_seconds=max(0.0, float(seconds)),
        )
        for queue, number, published, backlog, seconds in found
    ]


# Each reason is a range of `jobs_waiting`. Without `IN_ORDER` the planner may read all jobs for a reason without jobs.
_WAITING_JOBS = Statement(f"""{IN_ORDER}
SELECT r.reason, c.jobs FROM unnest(%(reasons)s::text[]) AS r (reason) CROSS JOIN LATERAL (
    SELECT count(*) AS jobs FROM (
        SELECT FROM jobs AS j WHERE {IS_WAITING} AND j.waits_for = r.reason
        ORDER BY j.waits_for, j.tenant_id, j.id LIMIT %(limit)s) AS j
) AS c
""")


def waiting_jobs(connection: Connection) -> dict[str, int]:
    parameters = {"reasons": [each.value for each in KNOWN], "limit": MAX_QUEUED_COUNTED}
    return {reason: int(jobs) for reason, jobs in connection.exec_driver_sql(_WAITING_JOBS, parameters)}


# A loose index scan along `jobs_waiting`: one step per reason and tenant. A job's id has its creation time, and the job
# may have become ready later, so compare several of a tenant's first jobs.
_BLOCKED_SECONDS = Statement(f"""{IN_ORDER}
WITH RECURSIVE blocked AS (
    SELECT first.*, 1 AS number FROM unnest(%(reasons)s::text[]) AS r (reason) CROSS JOIN LATERAL (
        SELECT j.waits_for, j.tenant_id FROM jobs AS j WHERE {IS_WAITING} AND j.waits_for = r.reason
        ORDER BY j.waits_for, j.tenant_id, j.id LIMIT 1) AS first
    UNION ALL
    SELECT next.*, b.number + 1 FROM blocked AS b CROSS JOIN LATERAL (
        SELECT j.waits_for, j.tenant_id FROM jobs AS j
        WHERE {IS_WAITING} AND j.waits_for = b.waits_for AND j.tenant_id > b.tenant_id
        ORDER BY j.waits_for, j.tenant_id, j.id LIMIT 1) AS next
    WHERE b.number < {_MAX_BLOCKED_TENANTS}
)
SELECT r.reason, greatest(0, extract(epoch FROM now() - (
    SELECT min(oldest.ready_at) FROM blocked AS b CROSS JOIN LATERAL (
        SELECT {READY_AT} AS ready_at FROM jobs AS j
        WHERE {IS_WAITING} AND j.waits_for = b.waits_for AND j.tenant_id = b.tenant_id
        ORDER BY j.waits_for, j.tenant_id, j.id LIMIT {_MAX_BLOCKED_JOBS}) AS oldest
    WHERE b.waits_for = r.reason)))::float8
FROM unnest(%(reasons)s::text[]) AS r (reason)
""")


def blocked_seconds(connection: Connection) -> dict[str, float]:
    """Return, by blocking reason, the seconds since the oldest blocked job became startable."""
    found = connection.exec_driver_sql(_BLOCKED_SECONDS, {"reasons": [each.value for each in _BLOCKED]})
    return {str(reason): float(seconds) for reason, seconds in found}


# Reads the oldest event of each tenant that has not been matched with waits.
_UNFINISHED_EVENTS = Statement("""
WITH RECURSIVE heads AS (
    (SELECT tenant_id, source_id FROM wakes WHERE kind = 'event' ORDER BY tenant_id, kind, n LIMIT 1)
    UNION ALL
    SELECT w.* FROM heads AS h CROSS JOIN LATERAL (
        SELECT tenant_id, source_id FROM wakes WHERE kind = 'event' AND tenant_id > h.tenant_id
        ORDER BY tenant_id, kind, n LIMIT 1) AS w
), unfinished AS (
    SELECT 'subscriptions' AS work, count(*) AS events, min(id::text) AS first
    FROM (SELECT id FROM events WHERE fanned_out_to IS NOT NULL LIMIT %(limit)s) AS e
    UNION ALL
    SELECT 'waits', (SELECT count(*) FROM (SELECT FROM wakes WHERE kind = 'event' LIMIT %(limit)s) AS w),
        min(source_id::text) FROM (SELECT source_id FROM heads LIMIT %(limit)s) AS h
)
SELECT work, events, coalesce(greatest(0, extract(epoch FROM now())
    - ('x' || left(replace(first, '-', ''), 12))::bit(48)::bigint / 1000.0), 0)::float8
FROM unfinished
""")


@dataclass(frozen=True, kw_only=True)
class UnfinishedEvents:
    #: `subscriptions`: jobs are left to create. `waits`: left to match with waits of handlers.
    work: str
    events: int
    #: Age of the oldest event in seconds.
    oldest_seconds: float


def unfinished_events(connection: Connection) -> list[UnfinishedEvents]:
    """Return the unfinished events by the kind of work left, each counted up to `MAX_QUEUED_COUNTED`."""
    found = connection.exec_driver_sql(_UNFINISHED_EVENTS, {"limit": MAX_QUEUED_COUNTED})
    return [UnfinishedEvents(work=work, events=events, oldest_seconds=seconds) for work, events, seconds in found]


# The feed parks jobs if no node has their handler. If no live node consumes their queue, the broker retains their
# messages, and they are not parked.
_UNSERVED_JOBS = Statement(f"""
WITH RECURSIVE {WAITING_WINDOWS}, unserved AS (
    (SELECT j.worker_id FROM jobs AS j WHERE {IS_PARKED} AND j.waits_for = 'node' LIMIT %(limit)s)
    UNION ALL
    SELECT published.worker_id FROM waiting AS w CROSS JOIN LATERAL (
        SELECT j.worker_id FROM jobs AS j
        WHERE j.queue = w.queue AND j.priority = w.priority AND j.status = 'queued' AND j.waits_for IS NULL
            AND j.published_at IS NOT NULL
        ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT %(limit)s) AS published
    WHERE NOT starts_with(w.queue, 'pull:') AND NOT {is_paused_queue("w.queue")}
        AND NOT EXISTS (SELECT FROM nodes AS n WHERE {IS_LIVE} AND w.queue = ANY(n.queues))
)
SELECT worker_id, count(*) FROM (SELECT worker_id FROM unserved LIMIT %(limit)s) AS u GROUP BY 1 ORDER BY 1
""")


def unserved_jobs(connection: Connection, *, dead_after_seconds: float) -> list[tuple[str, int]]:
    """Return the workers with jobs that wait for a live node of their queue and handler, and the number of jobs."""
    parameters = {"dead_after": dead_after_seconds, "limit": MAX_QUEUED_COUNTED}
    found = connection.exec_driver_sql(_UNSERVED_JOBS, parameters)
    return [(worker_id, int(jobs)) for worker_id, jobs in found]


@dataclass(frozen=True, kw_only=True)
class RunningCount:
    worker_id: str
    tenant_id: str
    priority: int
    jobs: int
    #: Number of jobs with a cancel request.
    cancelling: int
    #: Since the first start among them.
    longest_seconds: float


_RUNNING_ROWS = RecordRows(
    RunningCount,
    "j",
    columns={
        "jobs": "count(*)",
        "cancelling": "count(j.cancel_requested_at)",
        "longest_seconds": "greatest(0, extract(epoch FROM now() - min(j.started_at)))::float8",
    },
)
_RUNNING_JOBS = Statement(f"""
SELECT {_RUNNING_ROWS.columns} FROM jobs AS j WHERE j.status = 'running' GROUP BY 1, 2, 3
""")


def running_jobs(connection: Connection) -> list[RunningCount]:
    """Return all running jobs in groups. There are at most as many as processes."""
    return [_RUNNING_ROWS.read(row) for row in connection.exec_driver_sql(_RUNNING_JOBS)]


_ENDED_RECENTLY = Statement("""
SELECT tenant_id, status, sum(jobs) FROM job_minutes
WHERE minute >= date_trunc('minute', now()) - interval '5 minutes' AND tenant_id IN (
    SELECT tenant_id FROM job_minutes WHERE minute >= date_trunc('minute', now()) - interval '5 minutes'
    GROUP BY 1 ORDER BY sum(jobs) DESC, 1 LIMIT %(limit)s)
GROUP BY 1, 2 ORDER BY 1, 2
""")


def ended_recently(connection: Connection) -> list[tuple[str, str, int]]:
    """Return the tenants with the most jobs ended in the last five minutes, as tenant, status, number of jobs."""
    return [
        (tenant, status, int(jobs))
        for tenant, status, jobs in connection.exec_driver_sql(_ENDED_RECENTLY, {"limit": _MAX_TENANTS})
    ]


@dataclass(frozen=True, kw_only=True)
class NodeCount:
    state: str
    version: str
    nodes: int
    processes: int
    busy: int
    memory_bytes: int


_NODE_ROWS = RecordRows(
    NodeCount,
    "n",
    columns={
        "state": f"CASE WHEN {IS_LIVE} THEN 'live' ELSE 'silent' END",
        "nodes": "count(*)",
        "processes": "sum(n.processes)",
        "busy": "sum(n.busy)",
        "memory_bytes": "coalesce(sum(n.memory_bytes), 0)::bigint",
    },
)
_NODE_COUNTS = Statement(f"""
SELECT {_NODE_ROWS.columns} FROM nodes AS n WHERE n.stopped_at IS NULL GROUP BY 1, 2 ORDER BY 1, 2
""")


def node_counts(connection: Connection, *, dead_after_seconds: float) -> list[NodeCount]:
    """Return the sums over nodes that were not shut down."""
    found = connection.exec_driver_sql(_NODE_COUNTS, {"dead_after": dead_after_seconds})
    return [_NODE_ROWS.read(row) for row in found]


_REFUSED_QUEUES = Statement(f"""
SELECT queue, count(*) FROM nodes AS n CROSS JOIN LATERAL unnest(n.refused_queues) AS queue
WHERE {IS_LIVE}
GROUP BY queue ORDER BY count(*) DESC, queue LIMIT %(limit)s
""")


def refused_queues(connection: Connection, *, dead_after_seconds: float) -> list[tuple[str, int]]:
    """Return the queues that the broker refuses to live nodes, and the number of these nodes."""
    parameters = {"dead_after": dead_after_seconds, "limit": _MAX_REFUSED}
    return [(row[0], row[1]) for row in connection.exec_driver_sql(_REFUSED_QUEUES, parameters)]


_ENDPOINT_COUNTS = Statement("""
SELECT CASE WHEN p.paused_at IS NULL THEN p.status ELSE 'paused' END, count(*),
    coalesce(max(extract(epoch FROM now() - l.due_at)), 0)
FROM webhook_endpoints AS p
LEFT JOIN webhook_lanes AS l ON l.tenant_id = p.tenant_id AND l.endpoint_id = p.id AND l.due_at < now()
WHERE p.status <> 'deleted' GROUP BY 1 ORDER BY 1
""")


def endpoint_counts(connection: Connection) -> list[tuple[str, int, float]]:
    """Return the number of endpoints by status or `paused`, and the max lag of their due deliveries in seconds."""
    return [(status, count, float(seconds)) for status, count, seconds in connection.exec_driver_sql(_ENDPOINT_COUNTS)]


_STATISTICS_LAG = Statement("""
SELECT extract(epoch FROM clock_timestamp() - counted_until) FROM count_progress
""")


def statistics_lag_seconds(connection: Connection) -> float:
    return max(0.0, float(connection.exec_driver_sql(_STATISTICS_LAG).scalar_one()))


# The first entry of the index `schedules_due`.
_SCHEDULES_OVERDUE = Statement("""
SELECT coalesce(extract(epoch FROM now() - min(next_run_at)), 0) FROM schedules WHERE next_run_at IS NOT NULL
""")


def schedules_overdue_seconds(connection: Connection) -> float:
    """Return the lag of the first due schedule in seconds; 0 if none is due."""
    return max(0.0, float(connection.exec_driver_sql(_SCHEDULES_OVERDUE).scalar_one()))
