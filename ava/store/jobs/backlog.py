"""The backlog: jobs that become due, that are published next, and that silent nodes hold.

Every statement is bounded and uses an index made for it (`jobs_dated`, `jobs_startable`, `jobs_running`).
"""

from __future__ import annotations

from collections.abc import Collection

from ava.domain import ids
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.fleet import workers
from ava.store.jobs import pauses

__all__ = [
    "ARE_DUE",
    "follow_workers",
    "make_due",
    "return_served",
    "runs_of_nodes",
    "set_aside_unserved",
    "write_closed_windows",
]

#: A condition: the time of some jobs has come. It has the order of an index, because an EXISTS may scan the table.
ARE_DUE = "(SELECT run_at FROM jobs WHERE status = 'queued' AND run_at <= now() ORDER BY run_at LIMIT 1) IS NOT NULL"
_MAKE_DUE = Statement(f"""
WITH due AS (
    SELECT id FROM jobs WHERE status = 'queued' AND run_at <= now()
    ORDER BY run_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs AS j SET
    run_at = CASE WHEN {pauses.IS_PAUSED} THEN {pauses.RESUMED_AT} WHEN j.limit_key IS NOT NULL THEN 'infinity' END,
    queue = coalesce((SELECT w.queue FROM workers AS w WHERE {workers.of("j")}), j.queue)
FROM due WHERE j.id = due.id
""")


def make_due(connection: Connection, *, limit: int) -> int:
    """Make jobs startable whose time has come, earliest first, in their workers' queues. Returns the number of jobs.

    Those with a limit wait for a place of it from then on. Jobs of a paused worker are set aside.
    """
    return connection.exec_driver_sql(_MAKE_DUE, {"limit": limit}).rowcount


# `infinity` keeps these jobs out of `jobs_startable`: until a node has their handler they cost their queue nothing.
_SET_ASIDE_UNSERVED = Statement("""
WITH unserved AS (
    SELECT id FROM jobs
    WHERE queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND run_at IS NULL
        AND published_at IS NULL AND worker_id = ANY(%(unserved)s::text[])
    ORDER BY published_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE jobs AS j SET run_at = 'infinity' FROM unserved WHERE j.id = unserved.id
""")


def set_aside_unserved(
    connection: Connection, *, queue: str, priority: int, unserved: Collection[str], limit: int
) -> int:
    """Take the oldest jobs of `unserved` workers out of a window's backlog. Returns the number of jobs."""
    parameters = {"queue": queue, "priority": priority, "unserved": list(unserved), "limit": limit}
    return connection.exec_driver_sql(_SET_ASIDE_UNSERVED, parameters).rowcount


_RETURN_SERVED = Statement(f"""
WITH served AS (
    SELECT j.id, w.queue FROM jobs AS j JOIN workers AS w ON {workers.of("j")}
    WHERE j.status = 'queued' AND j.run_at = 'infinity' AND j.limit_key IS NULL AND EXISTS (
        SELECT FROM nodes AS n WHERE n.stopped_at IS NULL AND w.id = ANY(n.workers) AND w.queue = ANY(n.queues)
            AND n.seen_at > now() - %(dead_after)s * interval '1 second')
    LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED
)
UPDATE jobs AS j SET run_at = NULL, queue = served.queue FROM served WHERE j.id = served.id
""")


def return_served(connection: Connection, *, dead_after_seconds: float, limit: int) -> int:
    """Return jobs that were set aside, and whose worker a live node serves now, to the backlog.

    Returns the number of jobs.
    """
    parameters = {"dead_after": dead_after_seconds, "limit": limit}
    return connection.exec_driver_sql(_RETURN_SERVED, parameters).rowcount


_FOLLOW_WORKERS = Statement(f"""
WITH moved AS (
    SELECT j.id, w.queue FROM jobs AS j JOIN workers AS w ON {workers.of("j")}
    WHERE j.status = 'queued' AND j.run_at IS NULL AND j.queue <> w.queue
    LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED
)
UPDATE jobs AS j SET queue = moved.queue, published_at = NULL FROM moved WHERE j.id = moved.id
""")


def follow_workers(connection: Connection, *, limit: int) -> int:
    """Move waiting jobs to the backlog of the queue that their worker names now. Returns the number of jobs.

    A message that stays in the old queue is harmless: it starts the run there first, or is a duplicate.
    """
    return connection.exec_driver_sql(_FOLLOW_WORKERS, {"limit": limit}).rowcount


_RUNS_OF_NODES = Statement("""
SELECT n.name, j.id::text, j.run_no FROM nodes AS n JOIN jobs AS j ON j.node_id = n.id AND j.status = 'running'
WHERE n.stopped_at IS NULL AND n.id = ANY(%(node_ids)s::uuid[])
LIMIT 1000
""")


def runs_of_nodes(connection: Connection, node_ids: Collection[str]) -> dict[str, list[tuple[str, int]]]:
    """Returns the runs of these nodes, as job id and run number, by the node's name."""
    found: dict[str, list[tuple[str, int]]] = {}
    for name, id_, run_no in connection.exec_driver_sql(_RUNS_OF_NODES, {"node_ids": list(node_ids)}):
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
