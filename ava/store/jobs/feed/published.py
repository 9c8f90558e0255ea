"""Published but unstarted jobs: their messages in the broker, and their offers to HTTP claims."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import IN_ORDER, WAITING_WINDOWS, Statement
from ava.store.jobs.transitions.pull import Pick

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
    """Return `published_at` of each queue's next jobs that were published over `after_seconds` ago."""
    found = connection.exec_driver_sql(_OLDEST_MESSAGES, {"queues": list(queues), "after": after_seconds})
    return {row.id: row.published_at for row in found}


_QUEUES = Statement("""
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


def queues(connection: Connection) -> list[str]:
    """Return the queues with published but unstarted jobs, except pull queues."""
    return list(connection.exec_driver_sql(_QUEUES).scalars())


_OFFERED = """
SELECT w.queue, w.priority, offered.jobs FROM waiting AS w CROSS JOIN LATERAL (
    SELECT count(*) AS jobs FROM (
        SELECT FROM jobs AS j
        WHERE j.queue = w.queue AND j.priority = w.priority AND j.status = 'queued' AND j.waits_for IS NULL
            AND j.published_at IS NOT NULL
        ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT %(count_up_to)s) AS counted
) AS offered
WHERE starts_with(w.queue, 'pull:') AND offered.jobs > 0
ORDER BY w.priority, w.queue
"""

_READ_ALL_OFFERS = Prepared("read_all_offers", f"WITH RECURSIVE {WAITING_WINDOWS}{_OFFERED}", plan_seconds=10.0)

# Only given queues, one step for each without jobs, so that other tenants' windows cost nothing.
_READ_OFFERS = Prepared(
    "read_offers",
    f"""
WITH RECURSIVE waiting AS (
    SELECT first.queue, first.priority FROM unnest(%(queues)s::text[]) AS wanted (queue) CROSS JOIN LATERAL (
        SELECT j.queue, j.priority FROM jobs AS j
        WHERE j.status = 'queued' AND j.waits_for IS NULL AND j.queue = wanted.queue
        ORDER BY j.queue, j.priority LIMIT 1) AS first
    UNION ALL
    SELECT next.queue, next.priority FROM waiting AS w CROSS JOIN LATERAL (
        SELECT j.queue, j.priority FROM jobs AS j
        WHERE j.status = 'queued' AND j.waits_for IS NULL AND j.queue = w.queue AND j.priority > w.priority
        ORDER BY j.queue, j.priority LIMIT 1) AS next
){_OFFERED}""",
    plan_seconds=10.0,
)


def read_all_offers(connection: Connection, *, count_up_to: int) -> list[Pick]:
    """Return the windows with offered jobs, most urgent first, each with their number up to a limit."""
    return [_pick(row) for row in _READ_ALL_OFFERS.run(connection, {"count_up_to": count_up_to}, before=IN_ORDER)]


def read_offers(connection: Connection, queues: Collection[str], *, count_up_to: int) -> list[Pick]:
    """Return the windows of some queues with offered jobs, like `read_all_offers`."""
    parameters = {"queues": sorted(queues), "count_up_to": count_up_to}
    return [_pick(row) for row in _READ_OFFERS.run(connection, parameters, before=IN_ORDER)]


def _pick(row: tuple[str, int, int]) -> Pick:
    queue, priority, count = row
    return Pick(queue=queue, priority=priority, count=count)
