"""Duty: make the schedules that handler modules declare."""

from __future__ import annotations

import logging
from dataclasses import replace

from ava.dispatcher.duty import Duty
from ava.domain.declarations import DECLARER, Declaration, ModuleSchedule, plan_declarations
from ava.domain.schedules.schedule import check_cron
from ava.domain.schedules.schedule_record import ScheduleSpec
from ava.domain.schedules.time_zones import check_timezone, timezone_data_version
from ava.services.due_firings import DueFirings, FiredBatch
from ava.store.engine.database import Connection, Database
from ava.store.schedules import declared, definitions

_log = logging.getLogger(__name__)


class DeclaredSchedules(Duty):
    """Compares the schedules with what the live nodes declare, and creates, changes and removes what differs.

    A declaration has the pattern and the zone. What a tenant sets beside them, such as `enabled`, stays.
    """

    name = "declared_schedules"
    changes = "schedules created, changed or removed, because of what handler modules declare"
    every_seconds = 1.0

    def __init__(self, database: Database, due: DueFirings, *, node_dead_seconds: float) -> None:
        """`due` decides the firing times before a change."""
        super().__init__()
        self._database = database
        self._due = due
        self._node_dead_seconds = node_dead_seconds
        #: Declarations that this dispatcher cannot use, so that each is logged once.
        self._unusable: set[Declaration] = set()

    def run_once(self, _now: float) -> int:
        """Compare once. Returns the number of schedules that were created, changed or removed."""
        batches = []
        with self._database.transaction() as connection:
            if not declared.take_turn(connection):
                return 0
            nodes = declared.newest_declarations(connection, dead_after_seconds=self._node_dead_seconds)
            plan = plan_declarations(nodes, declared.existing(connection))
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
            self._due.report(batch)
        return len(creates) + len(changes) + len(plan.removes)

    def _change(self, connection: Connection, current: ModuleSchedule, declaration: Declaration) -> FiredBatch:
        """Change one schedule. Returns the firings before."""
        locked = definitions.lock(connection, tenant_id=current.schedule.tenant_id, schedule_id=current.schedule.id)
        if locked is None:
            # A client has deleted it meanwhile; the next comparison creates it.
            return FiredBatch()
        schedule, now = locked
        batch = FiredBatch()
        wanted = declaration.schedule
        changed = replace(schedule, cron=wanted.cron, timezone=wanted.timezone)
        if changed != schedule:
            batch = self._due.fire_before_change(connection, schedule, now)
            decided_until = max(now, schedule.decided_until)
            definitions.change(
                connection,
                changed,
                decided_until=decided_until,
                next_run_at=changed.first_run(schedule.id, decided_until),
                timezone_data=timezone_data_version(),
            )
        declared.set_module(connection, schedule, declaration.module)
        return batch

    def _is_usable(self, declaration: Declaration) -> bool:
        """Returns False if the pattern or the zone is unknown here: the node may run a newer release."""
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
        user_id=DECLARER,
        decided_until=now,
        next_run_at=spec.first_run(schedule_id, now),
        timezone_data=timezone_data_version(),
    )
    declared.set_module(connection, created, declaration.module)
