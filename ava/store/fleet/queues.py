"""The queues that workers use, and their pauses: nothing is published to a paused queue until it is resumed."""

from __future__ import annotations

from ava.domain.access.actor import Actor
from ava.domain.fleet import Queue
from ava.store import pause_columns
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.fleet.workers import IS_VISIBLE
from ava.store.pause_columns import PAUSE_SET, RESUME_SET

_PAUSE = Statement(f"""
INSERT INTO queues AS q (queue, paused_at, paused_by, pause_reason)
VALUES (%(queue)s, clock_timestamp(), %(paused_by)s::jsonb, %(pause_reason)s)
ON CONFLICT (queue) DO UPDATE SET {PAUSE_SET} WHERE q.paused_at IS NULL
""")


def pause(connection: Connection, *, queue: str, by: Actor, reason: str | None = None) -> bool:
    """Pause a queue. Returns False if it was paused before."""
    parameters = {"queue": queue, **pause_columns.parameters(by, reason)}
    return connection.exec_driver_sql(_PAUSE, parameters).rowcount == 1


_RESUME = Statement(f"UPDATE queues SET {RESUME_SET} WHERE queue = %(queue)s AND paused_at IS NOT NULL")


def resume(connection: Connection, *, queue: str) -> bool:
    """Resume a queue. Returns False if it was not paused."""
    return connection.exec_driver_sql(_RESUME, {"queue": queue}).rowcount == 1


# The table contains only queues that were paused once.
_VISIBLE = Statement(f"""
SELECT u.queue, {pause_columns.column("q")} FROM (
    SELECT w.queue FROM workers AS w WHERE {IS_VISIBLE}
    UNION SELECT p.queue FROM queues AS p WHERE p.paused_at IS NOT NULL AND %(has_all_paused)s
) AS u LEFT JOIN queues AS q ON q.queue = u.queue
WHERE %(queue)s::text IS NULL OR u.queue = %(queue)s
ORDER BY u.queue
""")


def visible(connection: Connection, *, tenant_id: str, has_all_paused: bool, queue: str | None = None) -> list[Queue]:
    """Return the queues of the workers that a tenant can use, by name, or only `queue`.

    `has_all_paused`: also paused queues that no worker of the tenant uses.
    """
    parameters = {"tenant_id": tenant_id, "has_all_paused": has_all_paused, "queue": queue}
    found = connection.exec_driver_sql(_VISIBLE, parameters)
    return [Queue(queue=name, paused=pause_columns.read(paused)) for name, paused in found]
