"""The jobs of paused workers: they wait with `run_at = WHEN_RESUMED`, which keeps them out of `jobs_startable`.

A trigger, a firing and a job that becomes due read the status of the worker. A claim reads it as well, so that nothing
starts after a pause. What waits already is set aside, and returned, by the dispatcher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ava.domain.job import WHEN_RESUMED
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.fleet import workers
from ava.store.jobs import rows

__all__ = [
    "HAS_SETTINGS",
    "IS_PAUSED",
    "RESUMED_AT",
    "Place",
    "Step",
    "return_resumed",
    "set_aside",
    "set_aside_one",
    "tenants",
]

#: `WHEN_RESUMED` in SQL.
RESUMED_AT = f"timestamptz '{WHEN_RESUMED.isoformat()}'"
#: Whether the worker of a job `j` is paused for its tenant: the tenant's own status counts before the platform's.
IS_PAUSED = """coalesce((
    SELECT s.status FROM worker_settings AS s
    WHERE s.worker_id = j.worker_id AND s.tenant_id IN (j.tenant_id, '*') AND s.status IS NOT NULL
    ORDER BY s.tenant_id = '*' LIMIT 1) = 'paused', false)"""
#: Whether the tenant of a job `j`, or the platform, has settings of its worker.
HAS_SETTINGS = """EXISTS (
    SELECT FROM worker_settings AS s WHERE s.worker_id = j.worker_id AND s.tenant_id IN (j.tenant_id, '*'))"""

_SET_ASIDE_ONE = Statement(f"""
UPDATE jobs AS j SET run_at = {RESUMED_AT}, published_at = NULL
WHERE id = %(id)s::uuid AND run_no = %(run_no)s - 1 AND status IS NOT DISTINCT FROM 'queued' AND run_at IS NULL
    AND worker_id = %(worker_id)s AND {IS_PAUSED}
""")


def set_aside_one(connection: Connection, *, job_id: str, run_no: int, worker_id: str) -> bool:
    """Set a job aside that could not be claimed because its worker is paused. Returns False if that is not why."""
    parameters = {"id": rows.job_uuid(job_id), "run_no": run_no, "worker_id": worker_id}
    return connection.exec_driver_sql(_SET_ASIDE_ONE, parameters).rowcount == 1


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place among the queued jobs of a tenant and worker, in the order of `jobs_by_worker`."""

    trigger: str = ""
    id: str = "00000000-0000-0000-0000-000000000000"


class Step(Protocol):
    """`set_aside` or `return_resumed`."""

    def __call__(
        self, connection: Connection, *, tenant_id: str, worker_id: str, after: Place, limit: int
    ) -> tuple[int, Place]: ...


# A place is a row of the index `jobs_by_worker`, so each statement begins where the last one ended, however many jobs
# it has passed.
_SET_ASIDE = Statement(f"""
WITH page AS (
    SELECT j.id, j.trigger FROM jobs AS j
    WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = %(worker_id)s AND j.status = 'queued'
        AND (j.trigger, j.id) > (%(trigger)s, %(id)s::uuid) AND (j.run_at IS NULL OR j.run_at = 'infinity')
        AND {IS_PAUSED}
    ORDER BY j.trigger, j.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), changed AS (
    UPDATE jobs AS j SET run_at = {RESUMED_AT}, published_at = NULL FROM page WHERE j.id = page.id
)
SELECT trigger, id::text FROM page ORDER BY trigger, id
""")
_RETURN_RESUMED = Statement(f"""
WITH page AS (
    SELECT j.id, j.trigger FROM jobs AS j
    WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = %(worker_id)s AND j.status = 'queued'
        AND (j.trigger, j.id) > (%(trigger)s, %(id)s::uuid) AND j.run_at = {RESUMED_AT} AND NOT {IS_PAUSED}
    ORDER BY j.trigger, j.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), changed AS (
    UPDATE jobs AS j SET run_at = CASE WHEN j.limit_key IS NOT NULL THEN 'infinity'::timestamptz END,
                         queue = coalesce((SELECT w.queue FROM workers AS w WHERE {workers.of("j")}),
                                                         j.queue)
    FROM page WHERE j.id = page.id
)
SELECT trigger, id::text FROM page ORDER BY trigger, id
""")


def set_aside(connection: Connection, *, tenant_id: str, worker_id: str, after: Place, limit: int) -> tuple[int, Place]:
    """Take waiting jobs of a paused worker out of the backlog, out of the windows and out of the line of a limit.

    Returns the number of jobs, and the last one's place. Their messages are harmless: no claim finds them startable.
    """
    return _move(connection, _SET_ASIDE, tenant_id, worker_id, after, limit)


def return_resumed(
    connection: Connection, *, tenant_id: str, worker_id: str, after: Place, limit: int
) -> tuple[int, Place]:
    """Return jobs of a worker that is not paused any more to the backlog, or to the line of their limit.

    Returns what `set_aside` returns.
    """
    return _move(connection, _RETURN_RESUMED, tenant_id, worker_id, after, limit)


def _move(
    connection: Connection, statement: Statement, tenant_id: str, worker_id: str, after: Place, limit: int
) -> tuple[int, Place]:
    parameters: dict[str, object] = {"tenant_id": tenant_id, "worker_id": worker_id, "limit": limit}
    parameters |= {"trigger": after.trigger, "id": after.id}
    found = connection.exec_driver_sql(statement, parameters).all()
    return len(found), Place(trigger=found[-1][0], id=found[-1][1]) if found else after


# A loose index scan along `jobs_by_status`: one step for each tenant.
_TENANTS = Statement("""
WITH RECURSIVE t (id) AS (
    (SELECT tenant_id FROM jobs WHERE tenant_id > %(after)s ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT tenant_id FROM jobs WHERE tenant_id > t.id ORDER BY tenant_id LIMIT 1) FROM t WHERE t.id IS NOT NULL
)
SELECT id FROM t WHERE id IS NOT NULL LIMIT %(limit)s
""")


def tenants(connection: Connection, *, after: str, limit: int) -> list[str]:
    """Returns tenants that have jobs, in order, after one of them."""
    return list(connection.exec_driver_sql(_TENANTS, {"after": after, "limit": limit}).scalars())
