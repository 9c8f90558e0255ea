"""Fire due schedules: write their firings, create the jobs and set the next firing, in one transaction.

The dispatcher fires all due schedules. A change of a schedule fires that one first, so that no change drops a firing
time that has passed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ava.broker.control import Control
from ava.domain.access import actor
from ava.domain.jobs import priority
from ava.domain.jobs.job import Job, JobSpec, Trigger
from ava.domain.jobs.new_job import After, NewJob
from ava.domain.jobs.waits import WaitCondition
from ava.domain.notices.notice import NoticeEvent, Occurrence
from ava.domain.schedules.firing import (
    DecidedTime,
    DueSchedule,
    FiringDecision,
    Outcome,
    decide,
    postpone,
    reserve,
    settle,
    skip_delayed,
)
from ava.domain.schedules.schedule import timezone_data_version
from ava.domain.schedules.schedule_record import Schedule, make_schedule_record
from ava.domain.secrets.redaction import redact
from ava.domain.webhooks.webhook_events import Event, EventType, make_body
from ava.errors import Contained
from ava.metrics import counters
from ava.services.creation.job_creator import JobCreator
from ava.services.fleet import revoke_all
from ava.store.engine.database import Connection, Database
from ava.store.schedules import due as due_schedules
from ava.store.webhooks import notice_windows, webhook_events

_log = logging.getLogger(__name__)

#: Max seconds of decisions in one transaction; the rest is left for the next.
_DECIDING_SECONDS = 1.0
#: Max firings that one transaction writes, apart from its last schedule's.
_MAX_FIRINGS = 5_000
#: Max characters of the inputs in one statement, apart from its last job's.
_MAX_CHARACTERS = 2**24


@dataclass(frozen=True, kw_only=True)
class FiredBatch:
    decisions: Sequence[FiringDecision] = ()
    firings: int = 0
    #: The jobs that new firings replace.
    cancelled: Sequence[Job] = ()


class DueFirings:
    """Writes the firings of due schedules, with their jobs and next firing. The caller has locked the schedules."""

    def __init__(
        self,
        database: Database,
        control: Control,
        *,
        creator: JobCreator | None = None,
        most_urgent: int = priority.FIRST,
    ) -> None:
        """`creator` creates the jobs; `most_urgent` bounds the priority of schedules of tenant roles."""
        self._database = database
        self._control = control
        self._creator = creator or JobCreator()
        self._most_urgent = most_urgent

    def fire(
        self, connection: Connection, found: Sequence[tuple[DueSchedule, datetime]], *, now: datetime | None = None
    ) -> FiredBatch:
        """Decide locked schedules, each at its time, within the time limit, and write the decisions.

        `now` is the time of the firing; None: the database's time.
        """
        return self._write(connection, _decide_all([(self._with_fault(connection, due), at) for due, at in found]), now)

    def fire_before_change(self, connection: Connection, schedule: Schedule, now: datetime) -> FiredBatch:
        """Decide the past firing times of a locked schedule before a change of its firing times.

        Skip firing times that `spread_seconds` still delays, because the change removes their delay.
        """
        due = due_schedules.read_locked(connection, tenant_id=schedule.tenant_id, schedule_id=schedule.id)
        if due is None:
            return FiredBatch()
        # Do not pause the schedule: the change may repair it.
        due = replace(self._with_fault(connection, due), gone=0)
        return self._write(connection, [skip_delayed(_decide_one(due, now), now)], None)

    def _write(self, connection: Connection, decided: Sequence[FiringDecision], now: datetime | None) -> FiredBatch:
        uuids = iter(due_schedules.reserve(connection, decided))
        decisions = self._make_jobs(connection, [reserve(decision, uuids) for decision in decided])
        cancelled = due_schedules.cancel_jobs(connection, decisions)
        firings = due_schedules.write_firings(connection, decisions)
        due_schedules.advance(connection, decisions, timezone_data=timezone_data_version(), now=now)
        disabled = due_schedules.paused(connection, decisions)
        for schedule in disabled:
            _write_event(connection, schedule)
        notice_windows.note(connection, [_occurrence(schedule) for schedule in disabled])
        return FiredBatch(decisions=decisions, firings=firings, cancelled=cancelled)

    def report(self, batch: FiredBatch) -> None:
        """After the commit, revoke replaced jobs, count the firings and log."""
        revoke_all(self._database, self._control, batch.cancelled)
        for decision in batch.decisions:
            _count(decision)
            if decision.pause_reason is not None:
                _log.warning(
                    "Schedule paused: %s",
                    decision.pause_reason,
                    extra={"schedule_id": decision.due.schedule.id, "tenant_id": decision.due.schedule.tenant_id},
                )

    def _make_jobs(self, connection: Connection, decisions: Sequence[FiringDecision]) -> list[FiringDecision]:
        """Create the jobs of decisions. Return the decisions without the refused jobs."""
        new = [self._new_job(decision.due, decided) for decision in decisions for decided in decision.fired]
        refusals: dict[str, str] = {}
        for some in _batches(new):
            outcomes = self._creator.create(connection, some)
            refusals |= {
                each.uuid: "contained" if isinstance(outcome, Contained) else str(outcome)
                for each, outcome in zip(some, outcomes, strict=True)
                if each.uuid is not None and not isinstance(outcome, Job)
            }
        return [settle(decision, refusals) for decision in decisions]

    def _new_job(self, due: DueSchedule, decided: DecidedTime) -> NewJob:
        schedule = due.schedule
        most_urgent = priority.FIRST if due.may_be_urgent else self._most_urgent
        return NewJob(
            tenant_id=schedule.tenant_id,
            user_id=schedule.id,
            spec=JobSpec(
                worker_id=schedule.worker_id,
                input_json=schedule.input_json,
                trigger=Trigger.SCHEDULED,
                priority=max(schedule.priority, most_urgent),
                scheduled_at=decided.time.at,
                expires_in_seconds=schedule.expires_in_seconds,
                approval_json=schedule.approval_json,
            ),
            schema_version=None if due.worker is None else due.worker.schema_version,
            # The dispatcher publishes it with the backlog, even if this process dies after the commit.
            may_publish=False,
            uuid=decided.job_uuid,
            is_due=True,
            origin_text=actor.join([schedule.created_by, *actor.split(schedule.changers)]),
            after=None
            if decided.earlier_uuid is None
            else After(uuids=(decided.earlier_uuid,), condition=WaitCondition.ENDED),
        )

    def _with_fault(self, connection: Connection, due: DueSchedule) -> DueSchedule:
        """Return the schedule with the fault of its input, if its worker has a schema."""
        worker, schedule = due.worker, due.schedule
        if worker is None or worker.schema_version is None:
            return due
        fault = self._creator.schemas.fault(
            connection,
            tenant_id=schedule.tenant_id,
            worker_id=schedule.worker_id,
            version=worker.schema_version,
            input_json=schedule.input_json,
        )
        return due if fault is None else replace(due, worker=replace(worker, input_fault=fault))


def _decide_all(found: Sequence[tuple[DueSchedule, datetime]]) -> list[FiringDecision]:
    """Decide as many schedules as the time limit allows, at least one."""
    decisions: list[FiringDecision] = []
    firings, ends = 0, time.monotonic() + _DECIDING_SECONDS
    for due, now in found:
        decisions.append(_decide_one(due, now))
        firings += len(decisions[-1].times)
        if time.monotonic() > ends or firings > _MAX_FIRINGS:
            break
    return decisions


def _decide_one(due: DueSchedule, now: datetime) -> FiringDecision:
    try:
        return decide(due, now)
    except Exception:
        # A schedule that cannot be decided, e.g. because its time zone was removed, must not block the others.
        _log.exception("Schedule could not be fired, will retry later", extra={"schedule_id": due.schedule.id})
        return postpone(due, now)


def _batches(new: Sequence[NewJob]) -> Iterator[list[NewJob]]:
    batch: list[NewJob] = []
    length = 0
    for each in new:
        if batch and length + len(each.spec.input_json) > _MAX_CHARACTERS:
            yield batch
            batch, length = [], 0
        batch.append(each)
        length += len(each.spec.input_json)
    if batch:
        yield batch


def _write_event(connection: Connection, schedule: Schedule) -> None:
    """Write the event that a schedule was disabled, in the same transaction."""
    event = Event.new(EventType.SCHEDULE_DISABLED, tenant_id=schedule.tenant_id, created_at=schedule.updated_at)
    record = make_schedule_record(schedule)
    shown = {**record, "input": redact(record["input"]), "reason": record["paused"]["reason"]}
    webhook_events.insert(connection, event, make_body(event, shown))


def _occurrence(schedule: Schedule) -> Occurrence:
    facts = {"schedule_id": schedule.id, "name": schedule.name or schedule.id, "worker_id": schedule.worker_id}
    return Occurrence(tenant_id=schedule.tenant_id, event=NoticeEvent.SCHEDULE_DISABLED, facts=facts)


def _count(decision: FiringDecision) -> None:
    for each in decision.times:
        counters.SCHEDULE_FIRINGS.labels(each.outcome.value).inc()
        if each.outcome is Outcome.FIRED:
            counters.SCHEDULE_LAG_SECONDS.observe(each.lag_seconds)
