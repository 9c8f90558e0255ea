"""Worker definitions: written by the nodes that have their handlers, read by clients."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ava.domain.worker import Worker, WorkerSpec, WorkerStatus
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

__all__ = ["announce", "changed_at", "changed_since", "page", "queues", "show", "unserved"]

_ANNOUNCE = Statement("""
INSERT INTO workers AS w (id, name, description, timeout_seconds, max_retries, cancel_grace_seconds, queue, tenants,
                          on_worker_lost, max_running, max_running_per, rate_jobs, rate_seconds, rate_per)
VALUES (%(id)s, %(name)s, %(description)s, %(timeout_seconds)s, %(max_retries)s, %(cancel_grace_seconds)s, %(queue)s,
        %(tenants)s::text[], %(on_worker_lost)s, %(max_running)s, %(max_running_per)s, %(rate_jobs)s, %(rate_seconds)s,
        %(rate_per)s)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, description = excluded.description, timeout_seconds = excluded.timeout_seconds,
    max_retries = excluded.max_retries, cancel_grace_seconds = excluded.cancel_grace_seconds, queue = excluded.queue,
    tenants = excluded.tenants, on_worker_lost = excluded.on_worker_lost, max_running = excluded.max_running,
    max_running_per = excluded.max_running_per, rate_jobs = excluded.rate_jobs, rate_seconds = excluded.rate_seconds,
    rate_per = excluded.rate_per, updated_at = now()
WHERE (w.name, w.description, w.timeout_seconds, w.max_retries, w.cancel_grace_seconds, w.queue, w.tenants,
       w.on_worker_lost, w.max_running, w.max_running_per, w.rate_jobs, w.rate_seconds, w.rate_per)
    IS DISTINCT FROM
      (excluded.name, excluded.description, excluded.timeout_seconds, excluded.max_retries,
       excluded.cancel_grace_seconds, excluded.queue, excluded.tenants, excluded.on_worker_lost, excluded.max_running,
       excluded.max_running_per, excluded.rate_jobs, excluded.rate_seconds, excluded.rate_per)
""")


def announce(connection: Connection, specs: Sequence[WorkerSpec]) -> None:
    """Write the definitions of a node's handlers. The node that writes a definition last wins."""
    # In the order of the ids, so that nodes which start together do not deadlock.
    for spec in sorted(specs, key=lambda spec: spec.id):
        connection.exec_driver_sql(
            _ANNOUNCE,
            {
                "id": spec.id,
                "name": spec.name,
                "description": spec.description,
                "timeout_seconds": spec.timeout_seconds,
                "max_retries": spec.max_retries,
                "cancel_grace_seconds": spec.cancel_grace_seconds,
                "queue": spec.queue,
                "tenants": None if spec.tenants is None else list(spec.tenants),
                "on_worker_lost": spec.on_worker_lost.value,
                "max_running": spec.limits.max_running,
                "max_running_per": spec.limits.max_running_per,
                "rate_jobs": None if spec.limits.rate is None else spec.limits.rate.jobs,
                "rate_seconds": None if spec.limits.rate is None else spec.limits.rate.seconds,
                "rate_per": spec.limits.rate_per,
            },
        )


_SHOW = Statement("""
SELECT w.id, w.name, w.description, w.runtime, w.status, w.timeout_seconds, w.max_retries, w.queue, w.created_at,
       w.updated_at,
       EXISTS (SELECT 1 FROM nodes AS n WHERE n.stopped_at IS NULL AND w.id = ANY(n.workers) AND w.queue = ANY(n.queues)
               AND n.seen_at > now() - %(dead_after)s * interval '1 second')
FROM workers AS w
WHERE (w.tenants IS NULL OR %(tenant_id)s = ANY(w.tenants)) AND w.id = %(id)s
""")


def show(connection: Connection, *, tenant_id: str, worker_id: str, dead_after_seconds: float) -> Worker | None:
    """Returns one worker that the tenant may use, or None if there is none."""
    parameters = {"tenant_id": tenant_id, "id": worker_id, "dead_after": dead_after_seconds}
    row = connection.exec_driver_sql(_SHOW, parameters).first()
    return None if row is None else _worker(row)


# In the order of the bytes, so that every database lists them alike.
_PAGE = Statement("""
SELECT w.id, w.name, w.description, w.runtime, w.status, w.timeout_seconds, w.max_retries, w.queue, w.created_at,
       w.updated_at,
       EXISTS (SELECT 1 FROM nodes AS n WHERE n.stopped_at IS NULL AND w.id = ANY(n.workers) AND w.queue = ANY(n.queues)
               AND n.seen_at > now() - %(dead_after)s * interval '1 second')
FROM workers AS w
WHERE (w.tenants IS NULL OR %(tenant_id)s = ANY(w.tenants)) AND w.id > %(after_id)s COLLATE "C"
ORDER BY w.id COLLATE "C" LIMIT %(limit)s OFFSET %(offset)s
""")
_COUNT = Statement("""
SELECT count(*) FROM workers AS w WHERE (w.tenants IS NULL OR %(tenant_id)s = ANY(w.tenants))
""")


def page(
    connection: Connection,
    *,
    tenant_id: str,
    dead_after_seconds: float,
    limit: int,
    offset: int = 0,
    after_id: str | None = None,
) -> tuple[list[Worker], int]:
    """Returns the workers that the tenant may use, by id, and how many there are in total."""
    parameters = {
        "tenant_id": tenant_id,
        "dead_after": dead_after_seconds,
        "limit": limit,
        "offset": offset,
        "after_id": after_id or "",
    }
    found = [_worker(row) for row in connection.exec_driver_sql(_PAGE, parameters)]
    return found, int(connection.exec_driver_sql(_COUNT, parameters).scalar_one())


_QUEUES = Statement("SELECT DISTINCT queue FROM workers")


def queues(connection: Connection) -> set[str]:
    """Returns the queues of all workers, for all tenants."""
    return set(connection.exec_driver_sql(_QUEUES).scalars())


_CHANGED_AT = Statement("SELECT max(updated_at) FROM workers")


def changed_at(connection: Connection) -> datetime | None:
    """Returns when a worker's definition last changed, or None if there is no worker."""
    found: datetime | None = connection.exec_driver_sql(_CHANGED_AT).scalar()
    return found


_UNSERVED = Statement("""
WITH live AS (
    SELECT workers FROM nodes WHERE stopped_at IS NULL AND %(queue)s = ANY(queues)
        AND seen_at > now() - %(dead_after)s * interval '1 second'
)
SELECT w.id FROM workers AS w
WHERE w.queue = %(queue)s AND EXISTS (SELECT FROM live)
    AND NOT EXISTS (SELECT FROM live WHERE w.id = ANY(live.workers))
""")


def unserved(connection: Connection, *, queue: str, dead_after_seconds: float) -> list[str]:
    """Returns the workers of a queue whose handler none of the queue's live nodes has.

    Returns none if the queue has no live node, because then no job of it can overtake another.
    """
    parameters = {"queue": queue, "dead_after": dead_after_seconds}
    return list(connection.exec_driver_sql(_UNSERVED, parameters).scalars())


_CHANGED_SINCE = Statement("""
SELECT id FROM workers WHERE %(since)s::timestamptz IS NULL AND (max_running IS NOT NULL OR rate_jobs IS NOT NULL)
    OR updated_at >= %(since)s
""")


def changed_since(connection: Connection, since: datetime | None) -> list[str]:
    """Returns the workers whose definition has changed at a moment or later; without one, those that have limits."""
    return list(connection.exec_driver_sql(_CHANGED_SINCE, {"since": since}).scalars())


def _worker(row: Any) -> Worker:
    id_, name, description, runtime, status, timeout, retries, queue, created_at, updated_at, is_live = row
    return Worker(
        id=id_,
        name=name,
        description=description,
        runtime=runtime,
        status=WorkerStatus(status),
        timeout_seconds=timeout,
        max_retries=retries,
        queue=queue,
        created_at=created_at,
        updated_at=updated_at,
        is_live=is_live,
    )
