"""Park queued jobs that cannot start: remove them from the backlog, with the reason in `waits_for`, and return them.

Parked jobs cost their queue nothing, because no index of startable jobs contains them. Reasons: `worker` or `queue` (it
is paused), `node` (no live node has the handler). `wake` returns jobs that wait for other jobs. Reasons that a later
release adds are never returned here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ava.domain.jobs.job import RunKey
from ava.domain.jobs.wait_reasons import TIMED, WaitsFor
from ava.domain.worker import PULL_LIVE_SECONDS
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.engine.transactions import one_transaction
from ava.store.fleet import nodes
from ava.store.fleet import workers as worker_rows
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import (
    DUE_SET,
    IS_CONTAINED,
    IS_PARKED,
    IS_PAUSED,
    IS_STARTABLE,
    RETURN_SET,
    is_paused_queue,
    is_served,
    is_served_worker,
    park_set,
)

# The caller has locked the rows.
_PARK = Statement(f"""
UPDATE jobs AS j SET {park_set("%(reason)s")}, run_at = NULL
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS chosen (tenant_id, id)
WHERE j.tenant_id = chosen.tenant_id AND j.id = chosen.id
""")


def _park(connection: Connection, reason: WaitsFor, chosen: Sequence[Any]) -> int:
    """Park locked jobs; each row begins with tenant and UUID. Returns their number."""
    if not chosen:
        return 0
    parameters = {"reason": reason.value, "tenants": [row[0] for row in chosen], "ids": [row[1] for row in chosen]}
    return connection.exec_driver_sql(_PARK, parameters).rowcount


def _returns(chosen: str, *, before: str = "WITH", columns: str = RETURN_SET) -> Statement:
    """Return the statement that unparks the jobs selected by `chosen`; `before` has the CTEs that it needs."""
    return Statement(f"""
{before} chosen AS ({chosen}
)
UPDATE jobs AS j SET {columns} FROM chosen
WHERE j.tenant_id = chosen.tenant_id AND j.id = chosen.id
""")


# Checks the pause again: if the queue was resumed in between, no more jobs may be parked.
_LOCK_BACKLOG = Statement(f"""
    SELECT tenant_id, id::text FROM jobs
    WHERE queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND waits_for IS NULL
        AND published_at IS NULL AND (%(workers)s::text[] IS NULL OR worker_id = ANY(%(workers)s::text[]))
        AND (%(reason)s <> 'queue' OR {is_paused_queue("%(queue)s")})
    ORDER BY published_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED""")


def park_backlog(
    connection: Connection,
    reason: WaitsFor,
    *,
    queue: str,
    priority: int,
    limit: int,
    workers: Collection[str] | None = None,
) -> int:
    """Park the oldest jobs of a window's backlog, optionally only of `workers`. Returns their number."""
    parameters = {
        "reason": reason.value,
        "queue": queue,
        "priority": priority,
        "workers": None if workers is None else list(workers),
        "limit": limit,
    }
    with one_transaction(connection):
        return _park(connection, reason, connection.exec_driver_sql(_LOCK_BACKLOG, parameters).all())


@dataclass(frozen=True, kw_only=True)
class ListPosition:
    """A position among the queued jobs of a tenant and worker, ordered as in `jobs_by_worker`."""

    trigger: str = ""
    id: str = "00000000-0000-0000-0000-000000000000"


# Each statement continues at the index entry where the last one stopped, however many jobs that has passed.
_LOCK_OF_WORKER = Statement(f"""
    SELECT j.tenant_id, j.id::text, j.trigger FROM jobs AS j
    WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = %(worker_id)s AND j.status = 'queued'
        AND (j.trigger, j.id) > (%(trigger)s, %(id)s::uuid)
        AND (j.waits_for IS NULL OR j.waits_for IN ('permit', 'node')) AND {IS_PAUSED}
    ORDER BY j.trigger, j.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED""")


def park_of_worker(
    connection: Connection, *, tenant_id: str, worker_id: str, after: ListPosition, limit: int
) -> tuple[int, ListPosition]:
    """Park a tenant's waiting jobs of a paused worker, published or not. Claims also check for the pause.

    Returns the number of jobs, and the last one's position.
    """
    parameters: dict[str, object] = {"tenant_id": tenant_id, "worker_id": worker_id, "limit": limit}
    parameters |= {"trigger": after.trigger, "id": after.id}
    with one_transaction(connection):
        found = connection.exec_driver_sql(_LOCK_OF_WORKER, parameters).all()
        count = _park(connection, WaitsFor.WORKER, found)
    if not found:
        return 0, after
    _, id_, trigger = found[-1]
    return count, ListPosition(trigger=trigger, id=id_)


#: Seconds until a job is published again after a node without its handler received it.
_MIN_DEFER_SECONDS = 0.1
_MAX_DEFER_SECONDS = 5.0
_PARK_UNCLAIMED = Statement(f"""
WITH chosen AS (
    SELECT j.tenant_id, j.id, CASE WHEN {IS_CONTAINED} THEN 'contained' WHEN {IS_PAUSED} THEN 'worker'
                      WHEN NOT %(lacks_handler)s THEN NULL
                      WHEN {is_served()} THEN 'deferred' ELSE 'node' END AS reason
    FROM jobs AS j
    WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid AND j.run_no = %(run_no)s - 1
        AND {IS_STARTABLE} AND j.worker_id IS NOT DISTINCT FROM %(worker_id)s
    FOR UPDATE OF j
)
UPDATE jobs AS j SET {park_set("chosen.reason")}, run_at = CASE WHEN chosen.reason = 'deferred' THEN now() + least(
    %(max_seconds)s * interval '1 second', greatest(%(min_seconds)s * interval '1 second', now() - j.created_at)) END
FROM chosen WHERE j.tenant_id = chosen.tenant_id AND j.id = chosen.id AND chosen.reason IS NOT NULL
""")


def park_unclaimed(
    connection: Connection, *, run: RunKey, worker_id: str, lacks_handler: bool = False, dead_after_seconds: float = 0.0
) -> bool:
    """Park a job whose message a node received but cannot run: it is contained, its worker is paused, or the node
    lacks the handler.

    If another live node has the handler, the job is deferred by its age, within `_MIN_DEFER_SECONDS` and
    `_MAX_DEFER_SECONDS`: a new job soon reaches the right node, and a job with only busy nodes costs one statement
    every few seconds. Returns False if no reason holds, or if the job no longer waits or has another worker.
    """
    parameters = rows.run_parameters(run) | {"worker_id": worker_id}
    parameters |= {"lacks_handler": lacks_handler, "dead_after": dead_after_seconds}
    parameters |= {"min_seconds": _MIN_DEFER_SECONDS, "max_seconds": _MAX_DEFER_SECONDS}
    return connection.exec_driver_sql(_PARK_UNCLAIMED, parameters).rowcount == 1


_LOCK_LESS_URGENT = Statement("""
    SELECT tenant_id, id::text FROM jobs
    WHERE limit_key = %(key)s AND status = 'queued' AND waits_for IS NULL AND priority > %(priority)s
    ORDER BY priority DESC, id DESC LIMIT %(limit)s FOR UPDATE SKIP LOCKED""")


def park_less_urgent(connection: Connection, *, key: str, priority: int, limit: int) -> int:
    """Take the permits of unstarted jobs that are less urgent than `priority`. Returns their number."""
    parameters = {"key": key, "priority": priority, "limit": limit}
    with one_transaction(connection):
        return _park(connection, WaitsFor.PERMIT, connection.exec_driver_sql(_LOCK_LESS_URGENT, parameters).all())


#: Condition: some jobs are due. ORDER BY, because EXISTS may scan the table.
_IS_TIMED = f"status = 'queued' AND waits_for IN {rows.reasons(TIMED)} AND run_at IS NOT NULL"
ARE_DUE = f"""(SELECT run_at FROM jobs WHERE {_IS_TIMED} AND run_at <= now()
    ORDER BY run_at LIMIT 1) IS NOT NULL"""
_MAKE_DUE = _returns(
    f"""
    SELECT tenant_id, id FROM jobs WHERE {_IS_TIMED} AND run_at <= now()
    ORDER BY run_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED""",
    columns=DUE_SET,
)


def make_due(connection: Connection, *, limit: int) -> int:
    """Return due jobs to the backlog of their workers' queues, earliest first. Returns the number of jobs.

    This also continues handlers after a sleep or a wait's timeout. Jobs with a limit then wait for a permit, jobs of a
    paused worker for the worker.
    """
    return connection.exec_driver_sql(_MAKE_DUE, {"limit": limit}).rowcount


# The reason ends for all jobs of a queue, priority, worker and tenant together. So find each group with one step in
# `jobs_parked` (a loose index scan) and check it once: the cost depends on the groups, not on their jobs. The most
# urgent jobs of a queue return first.
_GROUP = "j.waits_for, j.queue, j.priority, j.worker_id, j.tenant_id"
_FREE = f"""WITH RECURSIVE parked AS (
    SELECT j.* FROM unnest(%(reasons)s::text[]) AS r (reason) CROSS JOIN LATERAL (
        SELECT {_GROUP} FROM jobs AS j WHERE {IS_PARKED} AND j.waits_for = r.reason ORDER BY {_GROUP} LIMIT 1) AS j
    UNION ALL
    SELECT next.* FROM parked AS p CROSS JOIN LATERAL (
        SELECT {_GROUP} FROM jobs AS j
        WHERE {IS_PARKED} AND j.waits_for = p.waits_for
            AND (j.queue, j.priority, j.worker_id, j.tenant_id) > (p.queue, p.priority, p.worker_id, p.tenant_id)
        ORDER BY {_GROUP} LIMIT 1) AS next
), free AS (
    SELECT {_GROUP} FROM parked AS j LEFT JOIN workers AS w ON {worker_rows.of("j")}
    WHERE CASE j.waits_for
        WHEN 'worker' THEN NOT {IS_PAUSED}
        WHEN 'queue' THEN NOT {is_paused_queue("coalesce(w.queue, j.queue)")}
        WHEN 'node' THEN {is_served_worker("j.tenant_id")}
        ELSE false END
),"""
_RETURN_PARKED = _returns(
    f"""
    SELECT f.tenant_id, found.id FROM free AS f CROSS JOIN LATERAL (
        SELECT j.id FROM jobs AS j
        WHERE {IS_PARKED} AND ({_GROUP}) = (f.waits_for, f.queue, f.priority, f.worker_id, f.tenant_id)
        ORDER BY {_GROUP}, j.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) AS found LIMIT %(limit)s""",
    before=_FREE,
)


def return_parked(
    connection: Connection, reasons: Collection[WaitsFor], *, limit: int, dead_after_seconds: float = 0.0
) -> int:
    """Return jobs that are parked for one of `reasons` if it no longer holds. Returns their number."""
    parameters = {"reasons": [reason.value for reason in reasons], "limit": limit, "dead_after": dead_after_seconds}
    return connection.exec_driver_sql(_RETURN_PARKED, parameters).rowcount


_UNPARK_CONDITIONS = Statement(f"""
SELECT ARRAY(SELECT n.id::text FROM nodes AS n WHERE {nodes.IS_LIVE} ORDER BY n.id),
       ARRAY(SELECT queue FROM queues WHERE paused_at IS NOT NULL ORDER BY queue),
       (SELECT max(status_at) FROM worker_settings), (SELECT max(updated_at) FROM workers),
       (SELECT md5(string_agg(c.tenant_id || ' ' || c.worker_id, ',' ORDER BY c.tenant_id, c.worker_id))
        FROM worker_claims AS c WHERE c.claimed_at > now() - interval '{PULL_LIVE_SECONDS} seconds')
""")


def unpark_conditions(connection: Connection, *, dead_after_seconds: float) -> tuple[Any, ...]:
    """Return the node, queue and worker states that decide which parked jobs can return."""
    return tuple(connection.exec_driver_sql(_UNPARK_CONDITIONS, {"dead_after": dead_after_seconds}).one())


# A loose index scan along `jobs_by_status`: one step per tenant.
_TENANTS = Statement("""
WITH RECURSIVE t (id) AS (
    (SELECT tenant_id FROM jobs WHERE tenant_id > %(after)s ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT tenant_id FROM jobs WHERE tenant_id > t.id ORDER BY tenant_id LIMIT 1) FROM t WHERE t.id IS NOT NULL
)
SELECT id FROM t WHERE id IS NOT NULL LIMIT %(limit)s
""")


def tenants(connection: Connection, *, after: str, limit: int) -> list[str]:
    """Return up to `limit` tenants that have jobs, in order, starting behind `after`."""
    return list(connection.exec_driver_sql(_TENANTS, {"after": after, "limit": limit}).scalars())
