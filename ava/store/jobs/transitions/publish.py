"""Publish jobs: mark jobs of the backlog as published. Their messages are sent after the commit."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain.jobs import priority
from ava.domain.jobs.job import Job
from ava.domain.limits.fair_queueing import WaitingJob
from ava.store.engine.database import Connection
from ava.store.engine.statement import IN_ORDER, IS_UNFLUSHED, Statement
from ava.store.fleet import nodes
from ava.store.jobs import rows


def _publications(chosen: str, *, at: str = "clock_timestamp()", condition: str = "true") -> str:
    """Return the end of the statement that marks the jobs selected by `chosen` as published at the time `at`."""
    # Finds each job by its key, whatever the table's statistics: the WHERE has no condition of a partial index, which
    # the planner might prefer because it estimates that hardly any job waits.
    return f"""UPDATE jobs AS j SET published_at = {at} FROM ({chosen}) AS chosen
WHERE {condition} AND j.tenant_id = chosen.tenant_id AND j.id = chosen.id
RETURNING {rows.STARTED_COLUMNS}
"""


_PUBLISH = Statement(
    _publications(
        """
    SELECT w.*, c.n FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) WITH ORDINALITY AS c (tenant_id, id, n)
    CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM jobs
        WHERE tenant_id = c.tenant_id AND id = c.id AND status IS NOT DISTINCT FROM 'queued'
            AND waits_for IS NULL AND published_at IS NULL
        LIMIT 1 FOR UPDATE SKIP LOCKED) AS w
""",
        # HTTP claims take the jobs in this order.
        at="statement_timestamp() + chosen.n * interval '1 microsecond'",
        condition=IS_UNFLUSHED,
    )
)


def publish(connection: Connection, chosen: Sequence[WaitingJob]) -> list[Job]:
    """Mark unpublished waiting jobs as published. Returns the jobs, in the given order."""
    positions = {job.id: position for position, job in enumerate(chosen)}
    parameters = {"tenants": [job.tenant_id for job in chosen], "ids": [job.id for job in chosen]}
    found = connection.exec_driver_sql(_PUBLISH, parameters)
    return [rows.job(row) for row in sorted(found, key=lambda row: positions[row[0]])]


# A message was lost if later ones have been delivered. Two signs: jobs run that are behind it in its queue (the same
# priority and published later, or less urgent and started later); or a node of the queue has had a free process
# since the message was published, whatever other jobs it has started: the broker would have delivered the message.
# `settle` (seconds) is the maximum delivery time, and the tolerance of the order.
_LOST = f"""
WITH running AS (
    SELECT priority, max(published_at) AS published_at, max(started_at) AS started_at
    FROM jobs WHERE status = 'running' AND queue = %(queue)s GROUP BY priority
), idle AS (
    SELECT max(n.seen_at) AS seen_at FROM nodes AS n
    WHERE %(trust_idle_nodes)s AND {nodes.IS_LIVE} AND %(queue)s = ANY(n.queues) AND n.busy < n.processes
        AND n.free_since < n.seen_at - %(settle)s * interval '1 second'
), turns AS (
    -- For each priority, the time before which a message was published if its turn has come.
    SELECT p.priority::smallint AS priority, greatest(
        (SELECT seen_at FROM idle),
        (SELECT r.published_at FROM running AS r WHERE r.priority = p.priority),
        (SELECT max(r.started_at) FROM running AS r WHERE r.priority > p.priority)
    ) - %(settle)s * interval '1 second' AS before
    FROM generate_series({priority.FIRST}, {priority.LAST}) AS p (priority)
), lost AS (
    SELECT found.tenant_id, found.id FROM turns CROSS JOIN LATERAL (
        SELECT j.tenant_id, j.id, j.priority, j.published_at FROM jobs AS j
        WHERE j.queue = %(queue)s AND j.priority = turns.priority AND j.status = 'queued' AND j.waits_for IS NULL
            AND j.published_at < turns.before
        ORDER BY j.published_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) AS found
    ORDER BY found.priority, found.published_at LIMIT %(limit)s
)"""
_REPUBLISH = Statement(f"{IN_ORDER}{_LOST}\n{_publications('SELECT * FROM lost')}")


def republish(
    connection: Connection,
    *,
    queue: str,
    settle_seconds: float,
    dead_after_seconds: float,
    trust_idle_nodes: bool,
    limit: int,
) -> list[Job]:
    """Mark a queue's jobs with lost messages as published now. Returns the jobs, most urgent first.

    `trust_idle_nodes`: an idle node is a sign of lost messages. It may also be idle because it receives nothing.
    """
    parameters = {
        "queue": queue,
        "settle": settle_seconds,
        "dead_after": dead_after_seconds,
        "trust_idle_nodes": trust_idle_nodes,
        "limit": limit,
    }
    found = [rows.job(row) for row in connection.exec_driver_sql(_REPUBLISH, parameters)]
    return sorted(found, key=lambda job: (job.priority, job.id))
