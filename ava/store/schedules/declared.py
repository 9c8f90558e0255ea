"""Schedules that handler modules declare, and the current declarations of live nodes."""

from __future__ import annotations

from ava.domain.declarations import ModuleSchedule, NodeDeclarations
from ava.domain.schedules.schedule_record import Schedule
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.fleet import nodes
from ava.store.schedules import definitions
from ava.store.schedules.definitions import SCHEDULE_COLUMNS, schedule_uuid

_TAKE_TURN = Statement("SELECT pg_try_advisory_xact_lock(hashtextextended('declared schedules', 0))")


def take_turn(connection: Connection) -> bool:
    """Return True if this transaction is the only one that compares declarations, until it ends."""
    return bool(connection.exec_driver_sql(_TAKE_TURN).scalar_one())


# One node per set of handler modules: the one with the highest release, then with the latest start.
_NEWEST_DECLARATIONS = Statement(f"""
SELECT d.declarations FROM (
    SELECT DISTINCT ON (n.declarations->>'modules') n.declarations::text, r.release, n.started_at, n.id
    FROM nodes AS n
    CROSS JOIN LATERAL (
        SELECT string_to_array(coalesce(substring(n.version FROM '^[0-9]+(?:[.][0-9]+)*'), '0'), '.')::numeric[]
    ) AS r (release)
    WHERE {nodes.IS_LIVE}
        AND n.declarations IS NOT NULL
    ORDER BY n.declarations->>'modules', r.release DESC, n.started_at DESC, n.id DESC
) AS d ORDER BY d.release DESC, d.started_at DESC, d.id DESC
""")


def newest_declarations(connection: Connection, *, dead_after_seconds: float) -> list[NodeDeclarations]:
    """Return the declarations of live nodes, newest first; for nodes with equal handler modules only the newest."""
    found = connection.exec_driver_sql(_NEWEST_DECLARATIONS, {"dead_after": dead_after_seconds}).scalars()
    return [NodeDeclarations.from_json(json_string) for json_string in found]


_EXISTING = Statement(f"""
SELECT {SCHEDULE_COLUMNS}, s.handler_module FROM schedules AS s WHERE s.handler_module IS NOT NULL
""")


def existing(connection: Connection) -> list[ModuleSchedule]:
    """Return the schedules that handler modules have declared, for all tenants."""
    found = connection.exec_driver_sql(_EXISTING)
    return [ModuleSchedule(row[-1], definitions.read_schedule(row)) for row in found]


_SET_MODULE = Statement("""
UPDATE schedules SET handler_module = %(module)s WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid
""")


def set_module(connection: Connection, schedule: Schedule, module: str) -> None:
    """Store which handler module declares a schedule."""
    parameters = {"tenant_id": schedule.tenant_id, "id": schedule_uuid(schedule.id), "module": module}
    connection.exec_driver_sql(_SET_MODULE, parameters)


_IS_DECLARED = Statement("""
SELECT handler_module IS NOT NULL FROM schedules WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid
""")


def is_declared(connection: Connection, schedule: Schedule) -> bool:
    parameters = {"tenant_id": schedule.tenant_id, "id": schedule_uuid(schedule.id)}
    return bool(connection.exec_driver_sql(_IS_DECLARED, parameters).scalar())
