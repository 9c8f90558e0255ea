"""Offers: the jobs that are marked as published for claims over HTTP."""

from __future__ import annotations

from ava.store.engine.database import Connection
from ava.store.engine.plans import IN_ORDER, WAITING_WINDOWS
from ava.store.engine.prepared import Prepared
from ava.store.jobs.moves.pull import Pick

__all__ = ["read"]

# One step for each window that has waiting jobs, as in `looks.read`.
_READ = Prepared(
    "read_offers",
    f"""
WITH RECURSIVE {WAITING_WINDOWS}
SELECT w.queue, w.priority, offered.jobs FROM waiting AS w CROSS JOIN LATERAL (
    SELECT count(*) AS jobs FROM (
        SELECT FROM jobs AS j
        WHERE j.queue = w.queue AND j.priority = w.priority AND j.status = 'queued' AND j.waits_for IS NULL
            AND j.published_at IS NOT NULL
        ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT %(count_up_to)s) AS counted
) AS offered
WHERE starts_with(w.queue, 'pull:') AND offered.jobs > 0
ORDER BY w.priority, w.queue
""",
    plan_seconds=10.0,
)


def read(connection: Connection, *, count_up_to: int) -> list[Pick]:
    """Returns the windows that have offered jobs, the most urgent first, each with their number up to a limit."""
    found = _READ.run(connection, {"count_up_to": count_up_to}, before=IN_ORDER)
    return [Pick(queue=queue, priority=priority, count=count) for queue, priority, count in found]
