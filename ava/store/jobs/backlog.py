"""The backlog: what becomes due, what is published next, what silent nodes hold, and what is past retention.

Every statement is bounded, and walks an index of its own (`jobs_dated`, `jobs_startable`, `jobs_running`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ava.domain import ids
from ava.domain.job import Job
from ava.store.engine.database import Connection
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

_MAKE_DUE = """
WITH due AS (
    SELECT id FROM jobs WHERE status = 'queued' AND run_at <= now()
    ORDER BY run_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs AS j SET run_at = NULL FROM due WHERE j.id = due.id
"""


def make_due(connection: Connection, *, limit: int) -> int:
    """Let jobs start whose time has come, earliest first; how many there were."""
    return connection.exec_driver_sql(_MAKE_DUE, {"limit": limit}).rowcount


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What waits in one queue with one priority."""

    queue: str
    priority: int
    #: Messages that are out and whose job has not started, counted as far as was asked.
    published: int
    #: Whether more waits in the database alone.
    has_backlog: bool

    @property
    def name(self) -> str:
        """As `closed_windows` and `jobs.insert` call it."""
        return f"{self.queue}:{self.priority}"


# The messages that are out are counted as far as a window goes; beyond, there is no room anyway. Of the backlog its
# first is asked for, in the order of `jobs_startable`: for an EXISTS the planner may look in the table, from its
# beginning, once for each priority that has none.
_WINDOWS = """
SELECT q.queue, p.priority,
       (SELECT count(*) FROM (
            SELECT FROM jobs AS j WHERE j.queue = q.queue AND j.priority = p.priority AND j.status = 'queued'
                AND j.run_at IS NULL AND j.published_at IS NOT NULL LIMIT %(most)s) AS counted),
       (SELECT j.id FROM jobs AS j WHERE j.queue = q.queue AND j.priority = p.priority AND j.status = 'queued'
            AND j.run_at IS NULL AND j.published_at IS NULL ORDER BY j.published_at, j.id LIMIT 1) IS NOT NULL
FROM (SELECT DISTINCT queue FROM workers) AS q CROSS JOIN generate_series(1, 10) AS p (priority)
"""


def windows(connection: Connection, *, most: int) -> list[Window]:
    """Every window of the queues that workers name, what is out of each counted up to `most`."""
    return [
        Window(queue=queue, priority=priority, published=published, has_backlog=has_backlog)
        for queue, priority, published, has_backlog in connection.exec_driver_sql(_WINDOWS, {"most": most})
    ]


# In the whole order of `jobs_startable`: by `id` alone the planner may sort the backlog, or walk the primary key past
# all that has ended.
_CLAIM_BACKLOG = f"""
WITH next AS (
    SELECT id FROM jobs
    WHERE queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND run_at IS NULL
        AND published_at IS NULL
    ORDER BY published_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE jobs AS j SET published_at = clock_timestamp() FROM next WHERE j.id = next.id RETURNING j.*
)
SELECT {rows.JOB_COLUMNS} FROM marked AS j ORDER BY j.id
"""


def claim_backlog(connection: Connection, *, queue: str, priority: int, limit: int) -> list[Job]:
    """Mark the oldest unpublished jobs of a window as published, and return them to be so."""
    parameters = {"queue": queue, "priority": priority, "limit": limit}
    return [rows.job(row) for row in connection.exec_driver_sql(_CLAIM_BACKLOG, parameters)]


_SILENT_RUNS = """
SELECT n.name, j.id::text, j.run_no FROM nodes AS n JOIN jobs AS j ON j.node_id = n.id AND j.status = 'running'
WHERE n.stopped_at IS NULL AND n.seen_at < now() - %(silent)s * interval '1 second'
LIMIT 1000
"""


def runs_of_silent_nodes(connection: Connection, *, silent_seconds: float) -> dict[str, list[tuple[str, int]]]:
    """What nodes hold that have been silent for so long: their names, and of each run its job's id and its number."""
    found: dict[str, list[tuple[str, int]]] = {}
    for name, id_, run_no in connection.exec_driver_sql(_SILENT_RUNS, {"silent": silent_seconds}):
        found.setdefault(name, []).append((ids.encode("job", id_), run_no))
    return found


def write_closed_windows(connection: Connection, names: Collection[tuple[str, int]]) -> None:
    """Say which windows take no more messages from the API, as pairs of queue and priority."""
    parameters = {"queues": [queue for queue, _ in names], "priorities": [priority for _, priority in names]}
    connection.exec_driver_sql(
        """
        WITH named AS (SELECT * FROM unnest(%(queues)s::text[], %(priorities)s::smallint[]) AS n (queue, priority)),
        opened AS (DELETE FROM closed_windows AS c
                   WHERE NOT EXISTS (SELECT 1 FROM named AS n WHERE (n.queue, n.priority) = (c.queue, c.priority)))
        INSERT INTO closed_windows (queue, priority) SELECT queue, priority FROM named ON CONFLICT DO NOTHING
        """,
        parameters,
    )


def closed_windows(connection: Connection) -> frozenset[str]:
    """Returns the windows that take no more messages from the API, each as `queue:priority`."""
    found = connection.exec_driver_sql("SELECT queue || ':' || priority FROM closed_windows")
    return frozenset(found.scalars())


_DELETE_OLD = """
WITH old AS (
    SELECT id FROM jobs WHERE completed_at < now() - %(days)s * interval '1 day'
    ORDER BY completed_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), lines AS (
    DELETE FROM job_logs WHERE job_id IN (SELECT id FROM old)
)
DELETE FROM jobs WHERE id IN (SELECT id FROM old)
"""


def delete_old_jobs(connection: Connection, *, retention_days: float, limit: int) -> int:
    """Delete the oldest final jobs past retention, with their log lines; how many there were."""
    return connection.exec_driver_sql(_DELETE_OLD, {"days": retention_days, "limit": limit}).rowcount
