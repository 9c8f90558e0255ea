"""Hold the startable jobs of a containment, and release held jobs that no active containment covers any more."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ava.domain.containment import ALL_TENANTS, ContainedScope, Containment
from ava.domain.jobs.job import RunKey
from ava.store.containments.records import containment_uuid, scope_json
from ava.store.containments.scopes import IN_SCOPE, IS_HELD, IS_OF_TENANT, scope_parameters
from ava.store.engine.database import Connection
from ava.store.engine.statement import BY_INDEX, Statement
from ava.store.engine.transactions import one_transaction
from ava.store.jobs.rows import job_uuid
from ava.store.jobs.transitions.park import ListPosition
from ava.store.jobs.transitions.rules import RETURN_SET, park_set

#: Queued jobs that one statement compares with a scope.
_SCANNED = 5000
#: Jobs that can start, apart from a permit. Jobs with another wait are held when it ends (`rules.RETURN_SET`).
_IS_HOLDABLE = "j.status IS NOT DISTINCT FROM 'queued' AND (j.waits_for IS NULL OR j.waits_for = 'permit')"


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """A part of a sweep: the held jobs, and the position behind it; None: nothing is left."""

    count: int
    position: ListPosition | None


# A lift waits for the jobs that are being held, and holds none later.
_LOCK = Statement("""
SELECT FROM contained_scopes AS c WHERE c.tenant_id = %(of_tenant)s AND c.containment_id = %(id)s::uuid FOR KEY SHARE
""")
# Continues at the index entry where the last statement stopped.
_SCAN = Statement(f"""
    SELECT j.trigger, j.id::text FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.status = 'queued'
        AND (j.trigger, j.id) > (%(trigger)s, %(after_id)s::uuid)
    ORDER BY j.trigger, j.id OFFSET {_SCANNED - 1} LIMIT 1
""")
# Waits for locked rows, because a scope is swept only once, and locks in the order of ids, as `cancel` does. Reads an
# index, because the planner would scan the table for the first range of a tenant with most of the jobs.
_HOLD = Statement(f"""{BY_INDEX}
WITH chosen AS (
    SELECT j.tenant_id, j.id FROM json_populate_record(NULL::contained_scopes, %(scope)s::json) AS c
    JOIN jobs AS j ON j.tenant_id = %(tenant_id)s AND j.status = 'queued'
        AND (j.trigger, j.id) > (%(trigger)s, %(after_id)s::uuid)
        AND (%(last_id)s::uuid IS NULL OR (j.trigger, j.id) <= (%(last_trigger)s, %(last_id)s::uuid))
    WHERE {_IS_HOLDABLE} AND {IN_SCOPE} ORDER BY j.id FOR UPDATE OF j
)
UPDATE jobs AS j SET {park_set("'contained'")}, run_at = NULL FROM chosen
WHERE j.tenant_id = chosen.tenant_id AND j.id = chosen.id
""")


def hold(connection: Connection, containment: Containment, *, tenant_id: str, after: ListPosition) -> Swept:
    """Hold the startable jobs of a containment among the next queued jobs of a tenant; none once it is not active."""
    parameters: dict[str, object] = {"tenant_id": tenant_id, "trigger": after.trigger, "after_id": after.id}
    lock = {"of_tenant": containment.tenant_id, "id": containment_uuid(containment.id)}
    with one_transaction(connection):
        if connection.exec_driver_sql(_LOCK, lock).first() is None:
            return Swept(count=0, position=None)
        last = connection.exec_driver_sql(_SCAN, parameters).first()
        parameters |= {"last_trigger": None if last is None else last[0], "last_id": None if last is None else last[1]}
        count = connection.exec_driver_sql(_HOLD, parameters | {"scope": scope_json(containment.scope)}).rowcount
    return Swept(count=count, position=None if last is None else ListPosition(trigger=last[0], id=last[1]))


_RECORD_ENTERED = Statement("""
WITH entered AS (
    SELECT j.tenant_id, j.id FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[])
        AS r (tenant_id, id, run_no)
    JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.id AND j.run_no = r.run_no
    WHERE j.status IS NOT DISTINCT FROM 'running' AND j.node_id = %(node_id)s::uuid ORDER BY j.id FOR NO KEY UPDATE OF j
)
UPDATE jobs AS j SET entered_run_no = j.run_no FROM entered WHERE j.tenant_id = entered.tenant_id AND j.id = entered.id
""")


def record_entered(connection: Connection, node_id: str, runs: Collection[RunKey]) -> None:
    """Record that the handlers of a node's runs, whose jobs are contained, were entered."""
    if runs:
        parameters = {
            "node_id": node_id,
            "tenants": [run.tenant_id for run in runs],
            "ids": [job_uuid(run.job_id) for run in runs],
            "run_nos": [run.run_no for run in runs],
        }
        connection.exec_driver_sql(_RECORD_ENTERED, parameters)


#: Condition: no active containment covers the job `j`. A function for each job (`rules.CONTAINED`) would read its row
#: again.
_IS_UNCOVERED = f"""NOT EXISTS (SELECT FROM contained_scopes AS c
        WHERE c.tenant_id IN (j.tenant_id, '{ALL_TENANTS}') AND {IN_SCOPE})"""
_RELEASE = Statement(f"""
WITH chosen AS (
    SELECT j.tenant_id, j.id FROM jobs AS j
    WHERE {IS_HELD} AND {IS_OF_TENANT} AND j.tenant_id <> ALL(%(excluded)s::text[]) AND {_IS_UNCOVERED}
    ORDER BY j.tenant_id, j.id LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED
)
UPDATE jobs AS j SET {RETURN_SET} FROM chosen
WHERE j.tenant_id = chosen.tenant_id AND j.id = chosen.id
""")


def release(connection: Connection, *, tenant_id: str, limit: int, excluded: Collection[str] = ()) -> int:
    """Return held jobs that no active containment covers to the backlog, oldest first. Returns their number.

    `excluded`: tenants whose jobs stay held.
    """
    parameters = {"tenant_id": tenant_id, "limit": limit, "excluded": list(excluded)}
    return connection.exec_driver_sql(_RELEASE, parameters).rowcount


_UNCOVERED = Statement(f"""
SELECT j.tenant_id, j.id::text FROM json_populate_record(NULL::contained_scopes, %(scope)s::json) AS c
JOIN jobs AS j ON {IS_OF_TENANT}
WHERE {IS_HELD} AND {IN_SCOPE} AND {_IS_UNCOVERED} ORDER BY j.tenant_id, j.id LIMIT %(limit)s
""")


def uncovered(connection: Connection, scope: ContainedScope, *, limit: int) -> list[tuple[str, str]]:
    """Return held jobs of a lifted containment's scope that no active one covers, oldest first: tenant and UUID."""
    found = connection.exec_driver_sql(_UNCOVERED, scope_parameters(scope) | {"limit": limit})
    return [(tenant_id, uuid) for tenant_id, uuid in found]
