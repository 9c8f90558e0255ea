"""The backlog: jobs that become due, that are published next, that silent nodes hold, and that are past retention.

Every statement is bounded and uses an index made for it (`jobs_dated`, `jobs_startable`, `jobs_running`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ava.domain import ids, priority
from ava.domain.job import Job
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

__all__ = [
    "Window",
    "claim_backlog",
    "closed_windows",
    "delete_old_jobs",
    "make_due",
    "runs_of_silent_nodes",
    "windows",
    "write_closed_windows",
]

_MAKE_DUE = Statement("""
WITH due AS (
    SELECT id FROM jobs WHERE status = 'queued' AND run_at <= now()
    ORDER BY run_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs AS j SET run_at = NULL FROM due WHERE j.id = due.id
""")


def make_due(connection: Connection, *, limit: int) -> int:
    """Make jobs startable whose time has come, earliest first. Returns the number of jobs."""
    return connection.exec_driver_sql(_MAKE_DUE, {"limit": limit}).rowcount


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The waiting jobs of one queue and one priority."""

    queue: str
    priority: int
    #: The number of published jobs that have not started, counted up to a limit.
    published: int
    #: True if more jobs wait unpublished.
    has_backlog: bool

    @property
    def name(self) -> str:
        """Returns the name that `closed_windows` and `client_moves.insert` use."""
        return f"{self.queue}:{self.priority}"


# Published jobs are counted up to the size of a window, which has no space for more. The backlog is asked for its first
# job, in the order of `jobs_startable`: for an EXISTS the planner may scan the table once for each empty priority.
_WINDOWS = Statement(f"""
SELECT q.queue, p.priority,
       (SELECT count(*) FROM (
            SELECT FROM jobs AS j WHERE j.queue = q.queue AND j.priority = p.priority AND j.status = 'queued'
                AND j.run_at IS NULL AND j.published_at IS NOT NULL LIMIT %(count_up_to)s) AS counted),
       (SELECT j.id FROM jobs AS j WHERE j.queue = q.queue AND j.priority = p.priority AND j.status = 'queued'
            AND j.run_at IS NULL AND j.published_at IS NULL ORDER BY j.published_at, j.id LIMIT 1) IS NOT NULL
FROM (SELECT DISTINCT queue FROM workers) AS q
CROSS JOIN generate_series({priority.FIRST}, {priority.LAST}) AS p (priority)
""")


def windows(connection: Connection, *, count_up_to: int) -> list[Window]:
    """Returns every window of the queues that workers name, its published jobs counted up to a limit."""
    return [
        Window(queue=row[0], priority=row[1], published=row[2], has_backlog=row[3])
        for row in connection.exec_driver_sql(_WINDOWS, {"count_up_to": count_up_to})
    ]


# The order has all columns of `jobs_startable`: by `id` alone the planner may sort the backlog, or walk the primary key
# past all jobs that have ended.
_CLAIM_BACKLOG = Statement(f"""
WITH next AS (
    SELECT id FROM jobs
    WHERE queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND run_at IS NULL
        AND published_at IS NULL
    ORDER BY published_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE jobs AS j SET published_at = clock_timestamp() FROM next WHERE j.id = next.id RETURNING j.*
)
SELECT {rows.JOB_COLUMNS} FROM marked AS j ORDER BY j.id
""")


def claim_backlog(connection: Connection, *, queue: str, priority: int, limit: int) -> list[Job]:
    """Mark the oldest unpublished jobs of a window as published. Returns them for publishing."""
    parameters = {"queue": queue, "priority": priority, "limit": limit}
    return [rows.job(row) for row in connection.exec_driver_sql(_CLAIM_BACKLOG, parameters)]


_RUNS_OF_SILENT_NODES = Statement("""
SELECT n.name, j.id::text, j.run_no FROM nodes AS n JOIN jobs AS j ON j.node_id = n.id AND j.status = 'running'
WHERE n.stopped_at IS NULL AND n.seen_at < now() - %(silent)s * interval '1 second'
LIMIT 1000
""")


def runs_of_silent_nodes(connection: Connection, *, silent_seconds: float) -> dict[str, list[tuple[str, int]]]:
    """Returns the runs of nodes that have been silent so long, as job id and run number, by the node's name."""
    found: dict[str, list[tuple[str, int]]] = {}
    for name, id_, run_no in connection.exec_driver_sql(_RUNS_OF_SILENT_NODES, {"silent": silent_seconds}):
        found.setdefault(name, []).append((ids.encode("job", id_), run_no))
    return found


_WRITE_CLOSED_WINDOWS = Statement("""
WITH closed AS (
    SELECT * FROM unnest(%(queues)s::text[], %(priorities)s::smallint[]) AS n (queue, priority)
), opened AS (
    DELETE FROM closed_windows AS c
    WHERE NOT EXISTS (SELECT 1 FROM closed AS n WHERE (n.queue, n.priority) = (c.queue, c.priority))
)
INSERT INTO closed_windows (queue, priority) SELECT queue, priority FROM closed ON CONFLICT DO NOTHING
""")


def write_closed_windows(connection: Connection, closed: Collection[tuple[str, int]]) -> None:
    """Store which windows take no more messages from the API, each as its queue and priority."""
    parameters = {"queues": [queue for queue, _ in closed], "priorities": [number for _, number in closed]}
    connection.exec_driver_sql(_WRITE_CLOSED_WINDOWS, parameters)


_CLOSED_WINDOWS = Statement("SELECT queue || ':' || priority FROM closed_windows")


def closed_windows(connection: Connection) -> frozenset[str]:
    """Returns the windows that take no more messages from the API, each as `queue:priority`."""
    return frozenset(connection.exec_driver_sql(_CLOSED_WINDOWS).scalars())


_DELETE_OLD_JOBS = Statement("""
WITH old AS (
    SELECT id FROM jobs WHERE completed_at < now() - %(days)s * interval '1 day'
    ORDER BY completed_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), lines AS (
    DELETE FROM job_logs WHERE job_id IN (SELECT id FROM old)
)
DELETE FROM jobs WHERE id IN (SELECT id FROM old)
""")


def delete_old_jobs(connection: Connection, *, retention_days: float, limit: int) -> int:
    """Delete the oldest final jobs past retention, with their log lines. Returns the number of jobs."""
    return connection.exec_driver_sql(_DELETE_OLD_JOBS, {"days": retention_days, "limit": limit}).rowcount
