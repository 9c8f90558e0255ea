"""Paused queues: nothing is published to them until an operator resumes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement


@dataclass(frozen=True, kw_only=True)
class PausedQueue:
    """A paused queue."""

    queue: str
    #: The user who paused it; None: hidden from this caller.
    paused_by: str | None
    paused_at: datetime


# An existing row has `xmax`, because the conflict has locked it; an inserted row has none.
_PAUSE = Statement("""
INSERT INTO paused_queues AS p (queue, paused_by) VALUES (%(queue)s, %(user_id)s)
ON CONFLICT (queue) DO UPDATE SET queue = p.queue
RETURNING p.queue, p.paused_by, p.paused_at, p.xmax <> 0
""")


def pause(connection: Connection, *, queue: str, user_id: str) -> tuple[PausedQueue, bool]:
    """Pause a queue. Returns the pause, and True if it existed before."""
    found = connection.exec_driver_sql(_PAUSE, {"queue": queue, "user_id": user_id}).one()
    return PausedQueue(queue=found[0], paused_by=found[1], paused_at=found[2]), found[3]


_RESUME = Statement("DELETE FROM paused_queues WHERE queue = %(queue)s")


def resume(connection: Connection, *, queue: str) -> bool:
    """Resume a queue. Returns False if it was not paused."""
    return connection.exec_driver_sql(_RESUME, {"queue": queue}).rowcount == 1


_PAUSED = Statement("""
SELECT p.queue, CASE WHEN %(tenant_id)s::text IS NULL THEN p.paused_by END, p.paused_at FROM paused_queues AS p
WHERE %(tenant_id)s::text IS NULL OR EXISTS (
    SELECT FROM workers AS w WHERE w.queue = p.queue AND w.tenant_id IN (%(tenant_id)s, '*')
        AND (w.tenants IS NULL OR %(tenant_id)s = ANY(w.tenants)))
ORDER BY p.queue
""")


def paused(connection: Connection, *, visible_to: str | None) -> list[PausedQueue]:
    """Return the paused queues by name: those of a tenant's workers, or all if `visible_to` is None.

    Tenants do not see who paused them.
    """
    found = connection.exec_driver_sql(_PAUSED, {"tenant_id": visible_to})
    return [PausedQueue(queue=row[0], paused_by=row[1], paused_at=row[2]) for row in found]
