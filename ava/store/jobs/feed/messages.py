"""The state of messages in the database: which jobs have one in the broker."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

_OLDEST_MESSAGES = Statement("""
SELECT j.id::text, j.published_at
FROM unnest(%(queues)s::text[]) AS q (queue) CROSS JOIN LATERAL (
    SELECT id, published_at FROM jobs
    WHERE queue = q.queue AND status = 'queued' AND waits_for IS NULL
        AND published_at < now() - %(after)s * interval '1 second'
    ORDER BY priority, published_at LIMIT 10
) AS j
""")


def oldest_messages(connection: Connection, *, queues: Collection[str], after_seconds: float) -> dict[str, datetime]:
    """Returns when jobs were published: the next ones of each queue that have waited so long and have not started."""
    found = connection.exec_driver_sql(_OLDEST_MESSAGES, {"queues": list(queues), "after": after_seconds})
    return {row.id: row.published_at for row in found}


# A loose index scan, as in `looks.read`.
_PUBLISHED_QUEUES = Statement("""
WITH RECURSIVE waiting AS (
    (SELECT queue FROM jobs WHERE status = 'queued' AND waits_for IS NULL ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT next.queue FROM waiting AS w CROSS JOIN LATERAL (
        SELECT j.queue FROM jobs AS j WHERE j.status = 'queued' AND j.waits_for IS NULL AND j.queue > w.queue
        ORDER BY j.queue LIMIT 1) AS next
)
SELECT q.queue FROM waiting AS q
WHERE NOT starts_with(q.queue, 'pull:')
  AND (SELECT j.id FROM jobs AS j WHERE j.queue = q.queue AND j.status = 'queued' AND j.waits_for IS NULL
       AND j.published_at IS NOT NULL ORDER BY j.priority, j.published_at, j.id LIMIT 1) IS NOT NULL
""")


def published_queues(connection: Connection) -> list[str]:
    """Returns the queues that have published jobs which have not started, without those of pulled jobs."""
    return list(connection.exec_driver_sql(_PUBLISHED_QUEUES).scalars())
