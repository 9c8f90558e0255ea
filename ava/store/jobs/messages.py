"""Messages in the broker as the database knows them: which are out, which were lost, and which are published again.

Every statement is bounded and walks an index of its own (`jobs_startable`, `jobs_running`).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from ava.domain.job import Job
from ava.store.engine.database import Connection
from ava.store.jobs import rows

__all__ = ["oldest_messages", "published_queues", "republish", "unpublish_all"]

# A message was lost where its job's turn has come and the job has not started. Two things tell so. Others run that come
# after it in its queue: of its priority and published later, or of a lower one. Or a node that serves its queue has had
# a process to spare, and begun nothing, all the while since the message was published. `settle` is what a message may
# take on its way, and what "neighbours aside" means for the order.
_REPUBLISH = f"""
WITH running AS (
    SELECT priority, max(published_at) AS published_at, max(started_at) AS started_at
    FROM jobs WHERE status = 'running' AND queue = %(queue)s GROUP BY priority
), idle AS (
    SELECT max(seen_at) AS seen_at FROM nodes
    WHERE %(trust_idle_nodes)s AND stopped_at IS NULL AND seen_at > now() - %(dead_after)s * interval '1 second'
        AND %(queue)s = ANY(queues) AND busy < processes
        AND quiet_since < seen_at - %(settle)s * interval '1 second'
), turns AS (
    -- By priority, when a message must have been published whose turn has come.
    SELECT p.priority::smallint AS priority, greatest(
        (SELECT seen_at FROM idle),
        (SELECT r.published_at FROM running AS r WHERE r.priority = p.priority),
        (SELECT max(r.started_at) FROM running AS r WHERE r.priority > p.priority)
    ) - %(settle)s * interval '1 second' AS before
    FROM generate_series(1, 10) AS p (priority)
), lost AS (
    SELECT found.id FROM turns CROSS JOIN LATERAL (
        SELECT j.id, j.priority, j.published_at FROM jobs AS j
        WHERE j.queue = %(queue)s AND j.priority = turns.priority AND j.status = 'queued' AND j.run_at IS NULL
            AND j.published_at < turns.before
        ORDER BY j.published_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) AS found
    ORDER BY found.priority, found.published_at LIMIT %(limit)s
), marked AS (
    UPDATE jobs AS j SET published_at = clock_timestamp() FROM lost WHERE j.id = lost.id RETURNING j.*
)
SELECT {rows.JOB_COLUMNS} FROM marked AS j ORDER BY j.priority, j.id
"""


def republish(
    connection: Connection,
    *,
    queue: str,
    settle_seconds: float,
    dead_after_seconds: float,
    trust_idle_nodes: bool,
    limit: int,
) -> list[Job]:
    """Mark the jobs of a queue whose messages were lost as published anew, and return them to be so.

    `trust_idle_nodes`: whether idle nodes tell that messages were lost; they also do where they are deaf.
    """
    parameters = {
        "queue": queue,
        "settle": settle_seconds,
        "dead_after": dead_after_seconds,
        "trust_idle_nodes": trust_idle_nodes,
        "limit": limit,
    }
    return [rows.job(row) for row in connection.exec_driver_sql(_REPUBLISH, parameters)]


_OLDEST_MESSAGES = """
SELECT j.id::text, j.published_at
FROM unnest(%(queues)s::text[]) AS q (queue) CROSS JOIN LATERAL (
    SELECT id, published_at FROM jobs
    WHERE queue = q.queue AND status = 'queued' AND run_at IS NULL
        AND published_at < now() - %(after)s * interval '1 second'
    ORDER BY priority, published_at LIMIT 10
) AS j
"""


def oldest_messages(connection: Connection, *, queues: Collection[str], after_seconds: float) -> dict[str, datetime]:
    """The jobs of queues that were published so long ago and have not started, the next ones; and when that was."""
    found = connection.exec_driver_sql(_OLDEST_MESSAGES, {"queues": list(queues), "after": after_seconds})
    return {row.id: row.published_at for row in found}


def published_queues(connection: Connection) -> list[str]:
    """The queues for which messages are out whose jobs have not started."""
    statement = """
        SELECT q.queue FROM (SELECT DISTINCT queue FROM workers) AS q
        WHERE (SELECT j.id FROM jobs AS j WHERE j.queue = q.queue AND j.status = 'queued' AND j.run_at IS NULL
               AND j.published_at IS NOT NULL ORDER BY j.priority, j.published_at, j.id LIMIT 1) IS NOT NULL
    """
    return list(connection.exec_driver_sql(statement).scalars())


_UNPUBLISH_ALL = """
UPDATE jobs SET published_at = NULL
WHERE status = 'queued' AND run_at IS NULL AND published_at IS NOT NULL AND published_at < now()
"""


def unpublish_all(connection: Connection) -> int:
    """Put everything that was published, and has not started, back into the backlog; how many jobs that were."""
    return connection.exec_driver_sql(_UNPUBLISH_ALL).rowcount
