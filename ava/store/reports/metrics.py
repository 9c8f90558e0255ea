"""What a scrape reads of all tenants. Every statement walks an index and stops counting somewhere."""

from __future__ import annotations

from dataclasses import dataclass

from ava.store.engine.database import Connection
from ava.store.engine.leader_lock import LOCK_KEY

__all__ = [
    "MOST_QUEUED_COUNTED",
    "NodeCount",
    "QueueDepth",
    "RunningCount",
    "ended_recently",
    "endpoint_counts",
    "has_leader",
    "node_counts",
    "queue_depths",
    "running_jobs",
    "scheduled_jobs",
    "statistics_lag_seconds",
]

#: Where counting stops; the number is then a lower bound.
MOST_QUEUED_COUNTED = 100_000
#: How many tenants are told apart.
_MOST_TENANTS = 50


@dataclass(frozen=True, kw_only=True)
class QueueDepth:
    """What waits in one queue with one priority and could start."""

    queue: str
    priority: int
    #: With a message in the broker, and in the database alone.
    published: int
    backlog: int
    #: Seconds since the job was due that waits longest; 0 where none waits.
    oldest_seconds: float


# An entry of `jobs_startable` is found by queue, priority, and whether it is published; the oldest is the first by id.
# (`published_at` is null throughout where it is ordered by; it keeps the planner from the primary key.)
_DEPTHS = """
SELECT q.queue, p.priority,
    (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE queue = q.queue AND priority = p.priority AND status = 'queued'
        AND run_at IS NULL AND published_at IS NOT NULL LIMIT %(most)s) AS c),
    (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE queue = q.queue AND priority = p.priority AND status = 'queued'
        AND run_at IS NULL AND published_at IS NULL LIMIT %(most)s) AS c),
    coalesce(extract(epoch FROM now() - least(
        (SELECT min(greatest(created_at, scheduled_at)) FROM (SELECT created_at, scheduled_at FROM jobs
            WHERE queue = q.queue AND priority = p.priority AND status = 'queued' AND run_at IS NULL
                AND published_at IS NOT NULL ORDER BY published_at, id LIMIT 100) AS o),
        (SELECT greatest(created_at, scheduled_at) FROM jobs
            WHERE queue = q.queue AND priority = p.priority AND status = 'queued' AND run_at IS NULL
                AND published_at IS NULL ORDER BY published_at, id LIMIT 1))), 0)
FROM (SELECT DISTINCT queue FROM workers) AS q CROSS JOIN generate_series(1, 10) AS p (priority)
ORDER BY 1, 2
"""


def queue_depths(connection: Connection) -> list[QueueDepth]:
    """Every queue that workers name, by priority."""
    return [
        QueueDepth(
            queue=queue, priority=priority, published=published, backlog=backlog, oldest_seconds=max(0.0, float(age))
        )
        for queue, priority, published, backlog, age in connection.exec_driver_sql(
            _DEPTHS, {"most": MOST_QUEUED_COUNTED}
        )
    ]


def scheduled_jobs(connection: Connection) -> int:
    """How many jobs wait for their time."""
    statement = """
        SELECT count(*) FROM (SELECT 1 FROM jobs WHERE status = 'queued' AND run_at IS NOT NULL LIMIT %(most)s) AS c
    """
    return int(connection.exec_driver_sql(statement, {"most": MOST_QUEUED_COUNTED}).scalar_one())


@dataclass(frozen=True, kw_only=True)
class RunningCount:
    """What runs, alike in worker, tenant and priority."""

    worker_id: str
    tenant_id: str
    priority: int
    jobs: int
    #: How many of them are asked to stop, and have not yet.
    cancelling: int
    #: Seconds since the first of them started.
    longest_seconds: float


_RUNNING = """
SELECT worker_id, tenant_id, priority, count(*), count(cancel_requested_at),
    extract(epoch FROM now() - min(started_at))
FROM jobs WHERE status = 'running' GROUP BY 1, 2, 3
"""


def running_jobs(connection: Connection) -> list[RunningCount]:
    """All that runs; there is no more of it than processes."""
    return [
        RunningCount(
            worker_id=worker_id,
            tenant_id=tenant_id,
            priority=priority,
            jobs=jobs,
            cancelling=cancelling,
            longest_seconds=max(0.0, float(seconds)),
        )
        for worker_id, tenant_id, priority, jobs, cancelling, seconds in connection.exec_driver_sql(_RUNNING)
    ]


_RECENT = """
SELECT tenant_id, status, sum(jobs) FROM job_minutes
WHERE minute >= date_trunc('minute', now()) - interval '5 minutes' AND tenant_id IN (
    SELECT tenant_id FROM job_minutes WHERE minute >= date_trunc('minute', now()) - interval '5 minutes'
    GROUP BY 1 ORDER BY sum(jobs) DESC, 1 LIMIT %(most)s)
GROUP BY 1, 2 ORDER BY 1, 2
"""


def ended_recently(connection: Connection) -> list[tuple[str, str, int]]:
    """The tenants whose jobs ended most often in the last five minutes: tenant, state, jobs."""
    return [
        (tenant, status, int(jobs))
        for tenant, status, jobs in connection.exec_driver_sql(_RECENT, {"most": _MOST_TENANTS})
    ]


@dataclass(frozen=True, kw_only=True)
class NodeCount:
    """The nodes in one state and release."""

    state: str
    version: str
    nodes: int
    processes: int
    busy: int
    memory_bytes: int


_FLEET = """
SELECT CASE WHEN seen_at > now() - %(dead_after)s * interval '1 second' THEN 'live' ELSE 'silent' END, version,
    count(*), sum(processes), sum(busy), coalesce(sum(memory_bytes), 0)
FROM nodes WHERE stopped_at IS NULL GROUP BY 1, 2 ORDER BY 1, 2
"""


def node_counts(connection: Connection, *, dead_after_seconds: float) -> list[NodeCount]:
    """The nodes that have not ended in order, summed."""
    return [
        NodeCount(
            state=state,
            version=version,
            nodes=nodes,
            processes=int(processes),
            busy=int(busy),
            memory_bytes=int(memory_bytes),
        )
        for state, version, nodes, processes, busy, memory_bytes in connection.exec_driver_sql(
            _FLEET, {"dead_after": dead_after_seconds}
        )
    ]


_WEBHOOKS = """
SELECT p.status, count(*), coalesce(max(extract(epoch FROM now() - l.due_at)), 0)
FROM webhook_endpoints AS p LEFT JOIN webhook_lanes AS l ON l.endpoint_id = p.id AND l.due_at < now()
WHERE p.status <> 'deleted' GROUP BY 1 ORDER BY 1
"""


def endpoint_counts(connection: Connection) -> list[tuple[str, int, float]]:
    """The endpoints by state: how many, and for how many seconds the first of what is due to them has waited."""
    return [(status, count, float(seconds)) for status, count, seconds in connection.exec_driver_sql(_WEBHOOKS)]


_LEADER = """
SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint = %(high)s AND objid::bigint = %(low)s)
"""


def has_leader(connection: Connection) -> bool:
    """Whether some dispatcher is active."""
    parameters = {"high": LOCK_KEY >> 32, "low": LOCK_KEY & 0xFFFFFFFF}
    return bool(connection.exec_driver_sql(_LEADER, parameters).scalar_one())


def statistics_lag_seconds(connection: Connection) -> float:
    """How far the counting of ended jobs is behind."""
    statement = "SELECT extract(epoch FROM clock_timestamp() - counted_until) FROM statistics_progress"
    return max(0.0, float(connection.exec_driver_sql(statement).scalar_one()))
