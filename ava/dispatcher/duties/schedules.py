"""Duties: fire due schedules, recompute firings for new time zone data, and create schedules that modules declare."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from ava.domain.declarations import DECLARER, Declaration, ModuleSchedule, plan_declarations
from ava.domain.schedules.schedule import check_cron, check_timezone, timezone_data_version
from ava.domain.schedules.schedule_record import Schedule, ScheduleSpec
from ava.services.due_firings import DueFirings, FiredBatch
from ava.store.engine.database import Connection, Database
from ava.store.schedules import definitions
from ava.store.schedules import due as due_schedules
from ava.store.schedules.definitions import existing, newest_declarations, set_module, take_turn

_log = logging.getLogger(__name__)

_SCHEDULES_PER_TRANSACTION = 500
_MAX_TRANSACTIONS = 40


def fire_due_schedules(database: Database, firings: DueFirings, *, now: datetime | None = None) -> int:
    """Write the firings of due schedules, with their jobs and the next firing. Returns the number of firings.

    `now`: None means the database's time. Several dispatchers may run this concurrently. An uncommitted transaction has
    no effect.
    """
    with database.connect() as connection:
        is_due = due_schedules.are_due(connection, now=now)
    count = 0
    for _ in range(_MAX_TRANSACTIONS if is_due else 0):
        with database.transaction() as connection:
            found = due_schedules.claim_due(connection, limit=_SCHEDULES_PER_TRANSACTION, now=now)
            batch = firings.fire(connection, found, now=now)
        firings.report(batch)
        count += batch.firings
        if len(found) < _SCHEDULES_PER_TRANSACTION and len(batch.decisions) == len(found):
            break
    return count


def recompute_next_firings(database: Database) -> int:
    """Recompute the next firings of schedules that were computed with other time zone data.

    Decided firing times stay; the first one after them is computed. The duty that fires schedules uses the same data.
    Returns the number of schedules.
    """
    version, count = timezone_data_version(), 0
    for _ in range(_MAX_TRANSACTIONS):
        with database.transaction() as connection:
            found = due_schedules.claim_outdated(connection, version=version, limit=_SCHEDULES_PER_TRANSACTION)
            if found:
                next_runs = [(schedule, _next_run(schedule)) for schedule in found]
                due_schedules.write_next_runs(connection, next_runs, version=version)
        count += len(found)
        if len(found) < _SCHEDULES_PER_TRANSACTION:
            break
    return count


def _next_run(schedule: Schedule) -> datetime | None:
    try:
        return schedule.first_run(schedule.id, schedule.decided_until)
    except Exception:
        # The data may no longer have this time zone. The duty that fires schedules logs it when the firing is due.
        _log.exception("Schedule's next firing could not be computed", extra={"schedule_id": schedule.id})
        return schedule.next_run_at


class DeclaredSchedules:
    """Compares the schedules with the declarations of live nodes, and creates, changes and removes schedules.

    A declaration has the pattern and the time zone. Other settings of the tenant, such as `enabled`, are left
    unchanged.
    """

    def __init__(self, database: Database, firings: DueFirings, *, node_dead_seconds: float) -> None:
        self._database = database
        self._firings = firings
        self._node_dead_seconds = node_dead_seconds
        #: So that each is logged only once.
        self._unusable: set[Declaration] = set()

    def run_once(self, _now: float) -> int:
        """Compare once. Returns the number of schedules that were created, changed or removed."""
        batches = []
        with self._database.transaction() as connection:
            if not take_turn(connection):
                return 0
            nodes = newest_declarations(connection, dead_after_seconds=self._node_dead_seconds)
            plan = plan_declarations(nodes, existing(connection))
            creates = [each for each in plan.creates if self._is_usable(each)]
            changes = [(each, wanted) for each, wanted in plan.changes if self._is_usable(wanted)]
            for declaration in creates:
                _create(connection, declaration)
            for current, wanted in changes:
                batches.append(self._change(connection, current, wanted))
            for each in plan.removes:
                schedule = each.schedule
                definitions.delete(connection, tenant_id=schedule.tenant_id, schedule_id=schedule.id)
        for batch in batches:
            self._firings.report(batch)
        return len(creates) + len(changes) + len(plan.removes)

    def _change(self, connection: Connection, current: ModuleSchedule, declaration: Declaration) -> FiredBatch:
        """Change one schedule. Returns the firings that were due before the change."""
        locked = definitions.lock(connection, tenant_id=current.schedule.tenant_id, schedule_id=current.schedule.id)
        if locked is None:
            # A client has just deleted it; the next comparison creates it again.
            return FiredBatch()
        schedule, now = locked
        batch = FiredBatch()
        wanted = declaration.schedule
        changed = replace(schedule, cron=wanted.cron, timezone=wanted.timezone)
        if changed != schedule:
            batch = self._firings.fire_before_change(connection, schedule, now)
            decided_until = max(now, schedule.decided_until)
            definitions.change(
                connection,
                changed,
                decided_until=decided_until,
                next_run_at=changed.first_run(schedule.id, decided_until),
                timezone_data=timezone_data_version(),
            )
        set_module(connection, schedule, declaration.module)
        return batch

    def _is_usable(self, declaration: Declaration) -> bool:
        """Return False if this release does not know the pattern or the time zone: the node may run a newer release."""
        try:
            check_cron(declaration.schedule.cron)
            check_timezone(declaration.schedule.timezone)
        except ValueError as error:
            if declaration not in self._unusable:
                self._unusable.add(declaration)
                _log.warning("Declared schedule cannot be used: %s", error, extra={"worker_id": declaration.worker_id})
            return False
        return True


def _create(connection: Connection, declaration: Declaration) -> None:
    wanted = declaration.schedule
    spec = ScheduleSpec(worker_id=declaration.worker_id, cron=wanted.cron, timezone=wanted.timezone)
    schedule_id, now = definitions.new_id(connection)
    created = definitions.create(
        connection,
        spec,
        schedule_id=schedule_id,
        tenant_id=wanted.tenant_id,
        by=DECLARER,
        decided_until=now,
        next_run_at=spec.first_run(schedule_id, now),
        timezone_data=timezone_data_version(),
    )
    set_module(connection, created, declaration.module)
