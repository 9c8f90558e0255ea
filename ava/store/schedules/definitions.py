"""The rows of schedules, which tenants create and change, or handler modules declare."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from ava.domain import ids
from ava.domain.access.actor import SYSTEM, Actor
from ava.domain.counts import PageBounds
from ava.domain.declarations import ModuleSchedule, NodeDeclarations
from ava.domain.schedules.schedule_record import Schedule, ScheduleSpec
from ava.store import pause_columns
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows, parameters_of
from ava.store.engine.statement import Statement
from ava.store.fleet import nodes
from ava.store.jobs.transitions import edges

_ROWS = RecordRows(
    Schedule,
    "s",
    columns={"enabled": "s.paused_at IS NULL", "paused": pause_columns.column("s")},
    readers={"paused": pause_columns.read},
)
#: The columns of a schedule, their number, and the function that reads a row of them.
SCHEDULE_COLUMNS, COLUMNS, read_schedule = _ROWS.columns, _ROWS.count, _ROWS.read


schedule_uuid = partial(ids.to_uuid, "sch")


@dataclass(frozen=True, kw_only=True)
class ScheduleFilter:
    """A filter for a tenant's schedules; None means any."""

    worker_id: str | None = None
    enabled: bool | None = None
    #: The opposite of `enabled`.
    is_paused: bool | None = None


_NEW_ID = Statement("SELECT ava_uuid7()::text, now()")


def new_id(connection: Connection) -> tuple[str, datetime]:
    """Return an id for a new schedule, which determines its spread delay, and the transaction's time."""
    uuid, now = connection.exec_driver_sql(_NEW_ID).one()
    return ids.encode("sch", uuid), now


# The lock serializes the creations of one tenant, so that the count is exact.
_LOCK_TENANT = Statement("""
SELECT pg_advisory_xact_lock(hashtextextended('schedules of ' || %(tenant_id)s, 0))
""")
_COUNT_OF_TENANT = Statement("SELECT count(*) FROM schedules AS s WHERE s.tenant_id = %(tenant_id)s")


def has_capacity(connection: Connection, *, tenant_id: str, max_schedules: int) -> bool:
    """Return True if the tenant may create another schedule in this transaction; blocks its other creations."""
    connection.exec_driver_sql(_LOCK_TENANT, {"tenant_id": tenant_id})
    return int(connection.exec_driver_sql(_COUNT_OF_TENANT, {"tenant_id": tenant_id}).scalar_one()) < max_schedules


_CREATE = Statement(f"""
INSERT INTO schedules AS s (id, tenant_id, worker_id, name, cron, timezone, every_seconds, input, priority, overlap,
                            catch_up, catch_up_seconds, spread_seconds, starts_at, ends_at, decided_until, next_run_at,
                            timezone_data, created_by, may_be_urgent, expires_in_seconds, approval, paused_at,
                            paused_by)
VALUES (%(id)s::uuid, %(tenant_id)s, %(worker_id)s, %(name)s, %(cron)s, %(timezone)s, %(every_seconds)s,
        %(input)s::json, %(priority)s, %(overlap)s, %(catch_up)s, %(catch_up_seconds)s, %(spread_seconds)s,
        %(starts_at)s, %(ends_at)s, %(decided_until)s, %(next_run_at)s, %(timezone_data)s, %(created_by)s,
        %(may_be_urgent)s,
        %(expires_in_seconds)s, %(approval)s::json, CASE WHEN NOT %(enabled)s THEN now() END,
        CASE WHEN NOT %(enabled)s THEN %(paused_by)s::jsonb END)
RETURNING {SCHEDULE_COLUMNS}
""")


def create(
    connection: Connection,
    spec: ScheduleSpec,
    *,
    schedule_id: str,
    tenant_id: str,
    decided_until: datetime,
    next_run_at: datetime | None,
    timezone_data: str,
    by: Actor,
) -> Schedule:
    """Create a schedule with its first firing after `decided_until`.

    `by` pauses it, if it is not enabled. If it is an operator, its jobs may be more urgent than a tenant's roles allow.
    """
    parameters = parameters_of(ScheduleSpec, spec) | {
        "id": schedule_uuid(schedule_id),
        "tenant_id": tenant_id,
        "created_by": by.text,
        "decided_until": decided_until,
        "next_run_at": next_run_at,
        "timezone_data": timezone_data,
        "may_be_urgent": by.is_operator,
        "paused_by": by.json,
    }
    return read_schedule(connection.exec_driver_sql(_CREATE, parameters).one())


_SHOW = Statement(f"""
SELECT {SCHEDULE_COLUMNS} FROM schedules AS s WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid
""")


def show(connection: Connection, *, tenant_id: str, schedule_id: str) -> Schedule | None:
    """Return a tenant's schedule; None if there is none."""
    parameters = {"tenant_id": tenant_id, "id": schedule_uuid(schedule_id)}
    return _ROWS.first(connection.exec_driver_sql(_SHOW, parameters))


_LOCK = Statement(f"""
SELECT {SCHEDULE_COLUMNS}, now() FROM schedules AS s
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid FOR UPDATE
""")


def lock(connection: Connection, *, tenant_id: str, schedule_id: str) -> tuple[Schedule, datetime] | None:
    """Lock one schedule of a tenant, so that it does not fire until the transaction ends.

    Returns the schedule and the transaction's time; None if there is none.
    """
    parameters = {"tenant_id": tenant_id, "id": schedule_uuid(schedule_id)}
    row = connection.exec_driver_sql(_LOCK, parameters).first()
    return None if row is None else (read_schedule(row), row[-1])


# A client's change resets the count of firings without a worker, because the client may have fixed the schedule. A
# paused schedule keeps its pause.
_CHANGE = Statement(f"""
UPDATE schedules AS s SET
    worker_id = %(worker_id)s, name = %(name)s, cron = %(cron)s, timezone = %(timezone)s,
    every_seconds = %(every_seconds)s, input = %(input)s::json, priority = %(priority)s, overlap = %(overlap)s,
    catch_up = %(catch_up)s,
    catch_up_seconds = %(catch_up_seconds)s, spread_seconds = %(spread_seconds)s, starts_at = %(starts_at)s,
    ends_at = %(ends_at)s, expires_in_seconds = %(expires_in_seconds)s, approval = %(approval)s::json,
    decided_until = %(decided_until)s,
    next_run_at = %(next_run_at)s, timezone_data = %(timezone_data)s,
    paused_at = CASE WHEN NOT %(enabled)s THEN coalesce(s.paused_at, clock_timestamp()) END,
    paused_by = CASE WHEN NOT %(enabled)s THEN coalesce(s.paused_by, %(paused_by)s::jsonb) END,
    pause_reason = CASE WHEN s.paused_at IS NULL THEN %(pause_reason)s WHEN NOT %(enabled)s THEN s.pause_reason END,
    may_be_urgent = coalesce(%(may_be_urgent)s, s.may_be_urgent), changers = %(changers)s, gone = 0,
    updated_at = clock_timestamp()
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid
RETURNING {SCHEDULE_COLUMNS}
""")


def change(
    connection: Connection,
    schedule: Schedule,
    *,
    decided_until: datetime,
    next_run_at: datetime | None,
    timezone_data: str,
    may_be_urgent: bool | None = None,
    by: Actor = SYSTEM,
    reason: str | None = None,
) -> Schedule:
    """Write all fields of a schedule, within the transaction that locked it. Returns the changed schedule.

    `may_be_urgent`: whether its jobs may be more urgent than a tenant's roles allow; None: unchanged. `by`: who pauses
    it, for this `reason`.
    """
    parameters = parameters_of(ScheduleSpec, schedule) | {
        "id": schedule_uuid(schedule.id),
        "tenant_id": schedule.tenant_id,
        "decided_until": decided_until,
        "next_run_at": next_run_at,
        "timezone_data": timezone_data,
        "may_be_urgent": may_be_urgent,
        "changers": schedule.changers,
        **pause_columns.parameters(by, reason),
    }
    return read_schedule(connection.exec_driver_sql(_CHANGE, parameters).one())


_DELETE = Statement("""
DELETE FROM schedules AS s WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid RETURNING s.last_job_id::text
""")


def delete(connection: Connection, *, tenant_id: str, schedule_id: str) -> bool:
    """Delete a schedule, in a transaction; its jobs continue. Returns False if there is none.

    Retention deletes its firings. Jobs of this schedule that wait for an earlier one stop waiting.
    """
    parameters = {"tenant_id": tenant_id, "id": schedule_uuid(schedule_id)}
    row = connection.exec_driver_sql(_DELETE, parameters).first()
    if row is not None and row[0] is not None:
        edges.drop(connection, tenant_id=tenant_id, uuid=row[0])
    return row is not None


_PAGE, _COUNT = _ROWS.newest(
    "schedules",
    """s.tenant_id = %(tenant_id)s AND (%(worker_id)s::text IS NULL OR s.worker_id = %(worker_id)s)
    AND (%(enabled)s::bool IS NULL OR %(enabled)s = (s.paused_at IS NULL))
    AND (%(is_paused)s::bool IS NULL OR %(is_paused)s = (s.paused_at IS NOT NULL))""",
)


def page(
    connection: Connection, *, tenant_id: str, schedule_filter: ScheduleFilter, bounds: PageBounds
) -> tuple[list[Schedule], int]:
    """Return schedules of a tenant, newest first, and the number of matches; `AVA_MAX_SCHEDULES` bounds their total."""
    return _ROWS.page(connection, (_PAGE, _COUNT), bounds, tenant_id=tenant_id, **vars(schedule_filter))


_TAKE_TURN = Statement("SELECT pg_try_advisory_xact_lock(hashtextextended('declared schedules', 0))")


def take_turn(connection: Connection) -> bool:
    """Return True if only this transaction compares declarations until it ends."""
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
    return [ModuleSchedule(row[-1], read_schedule(row)) for row in found]


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
