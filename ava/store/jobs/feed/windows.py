"""Windows that take no more messages from the API."""

from __future__ import annotations

from collections.abc import Collection

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

_WRITE_CLOSED = Statement("""
WITH closed AS (
    SELECT * FROM unnest(%(queues)s::text[], %(priorities)s::smallint[]) AS n (queue, priority)
), opened AS (
    DELETE FROM closed_windows AS c
    WHERE NOT EXISTS (SELECT 1 FROM closed AS n WHERE (n.queue, n.priority) = (c.queue, c.priority))
)
INSERT INTO closed_windows (queue, priority) SELECT queue, priority FROM closed ON CONFLICT DO NOTHING
""")


def write_closed(connection: Connection, closed: Collection[tuple[str, int]]) -> None:
    """Store which windows take no more messages from the API, each as its queue and priority."""
    parameters = {"queues": [queue for queue, _ in closed], "priorities": [number for _, number in closed]}
    connection.exec_driver_sql(_WRITE_CLOSED, parameters)
