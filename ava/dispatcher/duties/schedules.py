"""Duty: fire schedules that are due."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ava.broker.control import Control
from ava.dispatcher.duty import Duty
from ava.domain import ids, priority
from ava.domain.events import Event, EventType, make_body
from ava.domain.firing import MAX_GONE, DueSchedule, FiringDecision, Outcome, decide, postpone, refuse
from ava.domain.job import Job
from ava.domain.redaction import redact
from ava.domain.schedule import timezone_data_version
from ava.domain.schedule_record import Schedule, make_schedule_record
from ava.errors import TooMany
from ava.metrics import counters
from ava.services.input_schemas import InputSchemas
from ava.services.quotas import TenantQuotas
from ava.services.revokes import revoke_all
from ava.store.engine.database import Connection, Database
from ava.store.schedules import due as due_schedules
from ava.store.webhooks import events

__all__ = ["ScheduleFirings"]

_log = logging.getLogger(__name__)

#: Schedules of one transaction.
_BATCH = 500
#: Batches in one call without a pause.
_MAX_BATCHES = 40
#: Seconds for which one transaction decides. It then writes what it has decided, and the rest is left for the next.
_DECIDING_SECONDS = 1.0
#: Firings that one transaction writes, apart from those of its last schedule.
_MAX_FIRINGS = 5_000


@dataclass(frozen=True, kw_only=True)
class _FiredBatch:
    """What one transaction did."""

    decisions: Sequence[FiringDecision] = ()
    firings: int = 0
    cancelled: Sequence[Job] = ()
    #: True if it could not decide all that it found, or may not have found all.
    has_more: bool = False


class ScheduleFirings(Duty):
    """Writes the firings of due schedules, with their jobs and the next firing, and releases jobs that wait.

    Any number of dispatchers may do this at once. A transaction that is not committed has done nothing.
    """

    name = "schedules"
    changes = "firings of schedules"
    #: If `WorkProbe` does not wake it.
    every_seconds = 1.0

    def __init__(
        self,
        database: Database,
        control: Control,
        *,
        quota: TenantQuotas | None = None,
        most_urgent: int = priority.FIRST,
        clock: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        """`quota` limits the jobs of a tenant, `most_urgent` the priority of those that its roles have scheduled.

        `clock` returns what counts as now; None: the database's time.
        """
        super().__init__()
        self._database = database
        self._control = control
        self._quota = quota or TenantQuotas()
        self._most_urgent = most_urgent
        self._clock = clock
        self._schemas = InputSchemas()
        # All series exist from the start on, so that the first missed firing is an increase.
        for outcome in Outcome:
            counters.SCHEDULE_FIRINGS.labels(outcome.value)

    def run_once(self, _now: float) -> int:
        """Fire what is due. Returns the number of firings."""
        now = self._clock()
        with self._database.connect() as connection:
            is_due, is_waiting = due_schedules.are_due(connection, now=now)
            if is_waiting:
                due_schedules.release_waiting(connection, limit=_BATCH)
        firings = 0
        for _ in range(_MAX_BATCHES if is_due else 0):
            batch = self._fire_batch(now)
            self._report(batch)
            firings += batch.firings
            if not batch.has_more:
                break
        return firings

    def _fire_batch(self, now: datetime | None) -> _FiredBatch:
        with self._database.transaction() as connection:
            found = due_schedules.claim_due(connection, limit=_BATCH, now=now)
            decided = _decide_all([(self._with_fault(connection, due), at) for due, at in found])
            decisions = [self._admit(connection, decision) for decision in decided]
            # Cancelled first, so that the new job is never before the one that it replaces.
            cancelled = due_schedules.cancel_jobs(connection, decisions)
            firings, made = due_schedules.write_firings(connection, decisions, most_urgent=self._most_urgent)
            due_schedules.advance(connection, decisions, made, timezone_data=timezone_data_version(), now=now)
            for schedule in due_schedules.disabled(connection, decisions):
                _write_event(connection, schedule)
        has_more = len(found) == _BATCH or len(decisions) < len(found)
        return _FiredBatch(decisions=decisions, firings=firings, cancelled=cancelled, has_more=has_more)

    def _admit(self, connection: Connection, decision: FiringDecision) -> FiringDecision:
        if not decision.jobs:
            return decision
        try:
            schedule = decision.due.schedule
            size = decision.jobs * len(schedule.input_json)
            self._quota.admit(connection, schedule.tenant_id, jobs=decision.jobs, size=size)
        except TooMany as error:
            return refuse(decision, str(error))
        return decision

    def _with_fault(self, connection: Connection, due: DueSchedule) -> DueSchedule:
        """Returns a schedule with what is wrong with its input, if its worker has a schema."""
        worker, schedule = due.worker, due.schedule
        if worker is None or worker.schema_version is None:
            return due
        fault = self._schemas.fault(
            connection,
            tenant_id=schedule.tenant_id,
            worker_id=schedule.worker_id,
            version=worker.schema_version,
            input_json=schedule.input_json,
        )
        return due if fault is None else replace(due, worker=replace(worker, input_fault=fault))

    def _report(self, batch: _FiredBatch) -> None:
        revoke_all(self._database, self._control, batch.cancelled)
        for decision in batch.decisions:
            _count(decision)
            if decision.disables:
                _log.warning(
                    "Schedule disabled: its worker was gone at %d firings in a row",
                    decision.gone,
                    extra={"schedule_id": decision.due.schedule.id, "tenant_id": decision.due.schedule.tenant_id},
                )


def _decide_all(found: Sequence[tuple[DueSchedule, datetime]]) -> list[FiringDecision]:
    """Returns the decisions about schedules, as many as there is time for, but at least one."""
    decisions: list[FiringDecision] = []
    firings, ends = 0, time.monotonic() + _DECIDING_SECONDS
    for due, now in found:
        decisions.append(_decide_one(due, now))
        firings += len(decisions[-1].slots)
        if time.monotonic() > ends or firings > _MAX_FIRINGS:
            break
    return decisions


def _decide_one(due: DueSchedule, now: datetime) -> FiringDecision:
    try:
        return decide(due, now)
    except Exception:
        # One that cannot be decided, as in a zone that the time zone data no longer has, must not block the others.
        _log.exception("Schedule could not be fired, will retry later", extra={"schedule_id": due.schedule.id})
        return postpone(due, now)


def _write_event(connection: Connection, schedule: Schedule) -> None:
    """Write the event that a schedule was disabled, in the transaction that disabled it."""
    event = Event(
        id=ids.encode("evt", ids.new_uuid()),
        type=EventType.SCHEDULE_DISABLED,
        created_at=schedule.updated_at,
        tenant_id=schedule.tenant_id,
        sequence=0,
    )
    reason = f"worker {schedule.worker_id} was gone at {MAX_GONE} firings in a row"
    record = make_schedule_record(schedule)
    shown = {**record, "input": redact(record["input"]), "reason": reason}
    events.insert(connection, event, make_body(event, shown))


def _count(decision: FiringDecision) -> None:
    for each in decision.slots:
        counters.SCHEDULE_FIRINGS.labels(each.outcome.value).inc()
        if each.outcome is Outcome.FIRED:
            counters.SCHEDULE_LATENESS_SECONDS.observe(each.late_seconds)
