"""The backlog: jobs that are published next, that follow their worker to another queue, and that silent nodes hold.

Every statement is bounded and uses an index made for it (`jobs_startable`, `jobs_running`).
"""

from __future__ import annotations

from collections.abc import Collection

from ava.domain import ids
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.fleet import workers

__all__ = [
    "follow_workers",
    "runs_of_nodes",
    "write_closed_windows",
]


_FOLLOW_WORKERS = Statement(f"""
WITH moved AS (
    SELECT j.id, w.queue FROM jobs AS j JOIN workers AS w ON {workers.of("j")}
    WHERE j.status = 'queued' AND j.waits_for IS NULL AND j.queue <> w.queue
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
