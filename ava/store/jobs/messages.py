"""The state of messages in the database: which jobs have one in the broker, and whose message was lost.

Every statement is bounded and uses an index made for it (`jobs_startable`, `jobs_running`).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from ava.domain import priority
from ava.domain.job import Job
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

__all__ = ["oldest_messages", "published_queues", "recall_all", "republish", "unpublish_all"]

# A message was lost if its job's turn has come and the job has not started. There are two signs of it. Jobs run that
# come after it in its queue: of its priority and published later, or of a lower priority. Or a node of its queue has
# had a free process, and started nothing, ever since the message was published. `settle` is the time that a message may
# take from the broker to a node, and the tolerance of the order.
_REPUBLISH = Statement(f"""
WITH running AS (
    SELECT priority, max(published_at) AS published_at, max(started_at) AS started_at
    FROM jobs WHERE status = 'running' AND queue = %(queue)s GROUP BY priority
), idle AS (
    SELECT max(seen_at) AS seen_at FROM nodes
    WHERE %(trust_idle_nodes)s AND stopped_at IS NULL AND seen_at > now() - %(dead_after)s * interval '1 second'
        AND %(queue)s = ANY(queues) AND busy < processes
        AND quiet_since < seen_at - %(settle)s * interval '1 second'
), turns AS (
    -- For each priority, the time before which a message was published if its turn has come.
    SELECT p.priority::smallint AS priority, greatest(
        (SELECT seen_at FROM idle),
        (SELECT r.published_at FROM running AS r WHERE r.priority = p.priority),
        (SELECT max(r.started_at) FROM running AS r WHERE r.priority > p.priority)
    ) - %(settle)s * interval '1 second' AS before
    FROM generate_series({priority.FIRST}, {priority.LAST}) AS p (priority)
), lost AS (
    SELECT found.id FROM turns CROSS JOIN LATERAL (
        SELECT j.id, j.priority, j.published_at FROM jobs AS j
        WHERE j.queue = %(queue)s AND j.priority = turns.priority AND j.status = 'queued' AND j.waits_for IS NULL
            AND j.published_at < turns.before
        ORDER BY j.published_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) AS found
    ORDER BY found.priority, found.published_at LIMIT %(limit)s
), marked AS (
    UPDATE jobs AS j SET published_at = clock_timestamp() FROM lost WHERE j.id = lost.id RETURNING j.*
)
SELECT {rows.JOB_COLUMNS} FROM marked AS j ORDER BY j.priority, j.id
""")


def republish(
    connection: Connection,
    *,
    queue: str,
    settle_seconds: float,
    dead_after_seconds: float,
    trust_idle_nodes: bool,
    limit: int,
) -> list[Job]:
    """Mark the jobs of a queue whose messages were lost as published now. Returns them for publishing.

    With `trust_idle_nodes`, an idle node is a sign of lost messages. It may be idle because it receives nothing.
    """
    parameters = {
        "queue": queue,
        "settle": settle_seconds,
        "dead_after": dead_after_seconds,
        "trust_idle_nodes": trust_idle_nodes,
        "limit": limit,
    }
    return [rows.job(row) for row in connection.exec_driver_sql(_REPUBLISH, parameters)]


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
WHERE (SELECT j.id FROM jobs AS j WHERE j.queue = q.queue AND j.status = 'queued' AND j.waits_for IS NULL
       AND j.published_at IS NOT NULL ORDER BY j.priority, j.published_at, j.id LIMIT 1) IS NOT NULL
""")


def published_queues(connection: Connection) -> list[str]:
    """Returns the queues that have published jobs which have not started."""
    return list(connection.exec_driver_sql(_PUBLISHED_QUEUES).scalars())


_UNPUBLISH_ALL = Statement("""
UPDATE jobs SET published_at = NULL
WHERE status = 'queued' AND waits_for IS NULL AND published_at IS NOT NULL AND published_at < now()
""")


def unpublish_all(connection: Connection) -> int:
    """Put every published job that has not started back into the backlog. Returns the number of jobs."""
    return connection.exec_driver_sql(_UNPUBLISH_ALL).rowcount


# The run's number moves on, so that the claim refuses each old message, wherever it is.
_RECALL_ALL = Statement("""
UPDATE jobs SET published_at = NULL, run_no = run_no + 1
WHERE status = 'queued' AND waits_for IS NULL AND published_at IS NOT NULL AND published_at < now()
""")


def recall_all(connection: Connection) -> int:
    """Return every published job that has not started to the backlog, as a job without a message.

    Returns the number of jobs.
    """
    return connection.exec_driver_sql(_RECALL_ALL).rowcount
