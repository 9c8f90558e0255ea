"""Offers: the jobs that are marked as published for claims over HTTP."""

from __future__ import annotations

from collections.abc import Collection

from ava.store.engine.database import Connection
from ava.store.engine.plans import IN_ORDER, WAITING_WINDOWS
from ava.store.engine.prepared import Prepared
from ava.store.jobs.moves.pull import Pick

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

# One step for each window that has waiting jobs, as in `looks.read`.
_READ_ALL = Prepared("read_all_offers", f"WITH RECURSIVE {WAITING_WINDOWS}{_OFFERED}", plan_seconds=10.0)

# The same in some queues alone: a step for each that has no jobs, so that other tenants' windows cost nothing.
_READ = Prepared(
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


def read_all(connection: Connection, *, count_up_to: int) -> list[Pick]:
    """Returns the windows that have offered jobs, the most urgent first, each with their number up to a limit."""
    return [_pick(row) for row in _READ_ALL.run(connection, {"count_up_to": count_up_to}, before=IN_ORDER)]


def read(connection: Connection, queues: Collection[str], *, count_up_to: int) -> list[Pick]:
    """Returns those of some queues."""
    parameters = {"queues": sorted(queues), "count_up_to": count_up_to}
    return [_pick(row) for row in _READ.run(connection, parameters, before=IN_ORDER)]


def _pick(row: tuple[str, int, int]) -> Pick:
    queue, priority, count = row
    return Pick(queue=queue, priority=priority, count=count)
