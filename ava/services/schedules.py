"""Use cases of schedules: create, show, change, delete, run now, and list firing times and firings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from ava.domain import ids
from ava.domain.access import actor
from ava.domain.access.caller import Caller
from ava.domain.counts import PageBounds
from ava.domain.jobs.job import Job, JobSpec
from ava.domain.limits.table import SCHEDULES
from ava.domain.schedules.firing import Firing
from ava.domain.schedules.schedule import FiringTime, Preview, timezone_data_version
from ava.domain.schedules.schedule_record import Schedule, ScheduleSpec
from ava.domain.secrets.redaction import shown_to
from ava.errors import InvalidFields, PayloadsHidden, ScheduleDeclared, ScheduleLimitReached, ScheduleNotFound, required
from ava.services import replays
from ava.services.due_firings import DueFirings, FiredBatch
from ava.services.jobs import Jobs
from ava.store.access import api_keys
from ava.store.engine import clock
from ava.store.engine.database import Connection, Database, is_dry_run
from ava.store.jobs import idempotency
from ava.store.schedules import definitions, firings
from ava.store.schedules.definitions import ScheduleFilter, is_declared

#: Fields that determine the firing times. Changes of other fields leave due and missed firings as they are.
_DECISIVE = ("cron", "timezone", "every_seconds", "enabled", "starts_at", "ends_at")
#: Fields that affect neither the jobs nor their times: changing them leaves the schedule's permitted urgency.
_INDIFFERENT = ("name", "enabled")
#: Fields that a handler module determines if it declares the schedule.
_DECLARED = ("worker_id", "cron", "timezone", "every_seconds")


class Schedules:
    """Use cases of schedules."""

    def __init__(self, database: Database, jobs: Jobs, *, max_schedules: int | None) -> None:
        """`max_schedules`: max schedules of a tenant; None: unlimited."""
        self._database = database
        self._jobs = jobs
        self._max_schedules = max_schedules
        self._due = DueFirings(database, jobs.control, creator=jobs.creator, most_urgent=jobs.rules.most_urgent)

    def create(self, caller: Caller, spec: ScheduleSpec, key: str | None = None) -> tuple[Schedule, bool]:
        """Create a schedule. Return it, and True for a repeated call.

        Raise `InvalidFields` if it ends before it starts, `PriorityTooUrgent` if it is more urgent than the caller's
        role may ask for, `WorkerNotFound` if the tenant cannot see its worker, `WorkerDeprecated`, `InputMismatch` if
        its input does not match the worker's schema, `ScheduleLimitReached`, `IdempotencyKeyReused`.
        """
        _check(spec)
        with self._database.transaction() as connection:
            asked = dataclasses.asdict(spec) | {"input_json": json.loads(spec.input_json)}
            if (earlier := replays.reserve(connection, caller, key, kind="schedule", asked=asked)) is not None:
                return _show(connection, caller, ids.encode("sch", earlier)), True
            self._refuse_urgent(caller, spec)
            self._check_worker(connection, caller, spec)
            if self._max_schedules is not None and not definitions.has_capacity(
                connection, tenant_id=caller.tenant_id, max_schedules=self._max_schedules
            ):
                raise ScheduleLimitReached(
                    SCHEDULES.message(
                        f"The tenant has {self._max_schedules} schedules, as many as {SCHEDULES.setting} allows."
                    )
                )
            schedule_id, now = definitions.new_id(connection)
            created = definitions.create(
                connection,
                spec,
                schedule_id=schedule_id,
                tenant_id=caller.tenant_id,
                decided_until=now,
                next_run_at=spec.first_run(schedule_id, now),
                timezone_data=timezone_data_version(),
                by=caller.actor,
            )
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[schedule_id])
        return created, False

    def _refuse_urgent(self, caller: Caller, spec: ScheduleSpec) -> None:
        self._jobs.rules.refuse_urgent(caller, [JobSpec(worker_id=spec.worker_id, priority=spec.priority)])

    def _check_worker(self, connection: Connection, caller: Caller, spec: ScheduleSpec) -> None:
        job = JobSpec(worker_id=spec.worker_id, input_json=spec.input_json)
        self._jobs.creator.check(connection, tenant_id=caller.tenant_id, spec=job)

    def show(self, caller: Caller, schedule_id: str) -> Schedule:
        """Return a schedule. Raise `ScheduleNotFound`."""
        with self._database.connect() as connection:
            return shown_to(caller, _show(connection, caller, schedule_id))

    def page(
        self, caller: Caller, schedule_filter: ScheduleFilter, *, bounds: PageBounds
    ) -> tuple[list[Schedule], int]:
        with self._database.connect() as connection:
            found, total = definitions.page(
                connection, tenant_id=caller.tenant_id, schedule_filter=schedule_filter, bounds=bounds
            )
        return [shown_to(caller, schedule) for schedule in found], total

    def pause(self, caller: Caller, schedule_id: str, /, *, reason: str | None = None) -> tuple[bool, Schedule]:
        """Pause a schedule. Firing times that are already due are decided first. Raise `ScheduleNotFound`."""
        before = self.show(caller, schedule_id)
        return not before.enabled, self.change(caller, schedule_id, {"enabled": False}, reason=reason)

    def resume(self, caller: Caller, schedule_id: str, /) -> tuple[bool, Schedule]:
        """Resume a schedule: its next firing is the first from now on. Raise `ScheduleNotFound`."""
        before = self.show(caller, schedule_id)
        return not before.enabled, self.change(caller, schedule_id, {"enabled": True})

    def change(
        self, caller: Caller, schedule_id: str, changes: Mapping[str, Any], *, reason: str | None = None
    ) -> Schedule:
        """Change fields of a schedule. If its firing times depend on one, the next firing is the first from now on.

        Firing times that are already due are decided first, by the unchanged schedule. From then on the caller's role
        bounds the urgency of its jobs, unless only its name or `enabled` changes. `reason`: why it is paused. Raise
        `ScheduleNotFound`, `ScheduleDeclared`, and like `create`.
        """
        batch = FiredBatch()
        with self._database.transaction() as connection:
            locked = definitions.lock(connection, tenant_id=caller.tenant_id, schedule_id=schedule_id)
            if locked is None:
                raise ScheduleNotFound
            schedule, now = locked
            changed = replace(schedule, **_with_timing(changes))
            if changed == schedule:
                return schedule
            if changed.worker_id != schedule.worker_id and "input_json" not in changes and not caller.sees_payloads:
                raise PayloadsHidden("Only callers who see payloads may give another worker the schedule's input.")
            _check(changed)
            is_redefined = any(getattr(changed, name) != getattr(schedule, name) for name in _DECLARED)
            if is_redefined and is_declared(connection, schedule):
                raise ScheduleDeclared
            if (changed.worker_id, changed.input_json) != (schedule.worker_id, schedule.input_json):
                self._check_worker(connection, caller, changed)
            is_taken_over = replace(changed, **{name: getattr(schedule, name) for name in _INDIFFERENT}) != schedule
            if is_taken_over:
                self._refuse_urgent(caller, changed)
                changed = replace(changed, changers=api_keys.with_changer(connection, caller, schedule.changers))
            is_decisive = any(getattr(changed, name) != getattr(schedule, name) for name in _DECISIVE)
            if is_decisive:
                batch = self._due.fire_before_change(connection, schedule, now)
            # Another transaction may have decided a firing time after this one began.
            decided_until = max(now, schedule.decided_until) if is_decisive else schedule.decided_until
            written = definitions.change(
                connection,
                changed,
                decided_until=decided_until,
                next_run_at=changed.first_run(schedule_id, decided_until),
                timezone_data=timezone_data_version(),
                may_be_urgent=caller.is_operator if is_taken_over else None,
                by=caller.actor,
                reason=reason,
            )
        if not is_dry_run():
            self._due.report(batch)
        return written

    def delete(self, caller: Caller, schedule_id: str) -> None:
        """Delete a schedule; its jobs continue. Raise `ScheduleNotFound`."""
        with self._database.transaction() as connection:
            if not definitions.delete(connection, tenant_id=caller.tenant_id, schedule_id=schedule_id):
                raise ScheduleNotFound

    def next_firing_times(self, caller: Caller, schedule_id: str, count: int) -> list[FiringTime]:
        """Return a schedule's next firing times, even if it is paused. Raise `ScheduleNotFound`."""
        with self._database.connect() as connection:
            schedule = _show(connection, caller, schedule_id)
            now = clock.now(connection)
        return list(islice(schedule.firing_times_after(now), count))

    def preview(self, spec: ScheduleSpec, count: int) -> Preview:
        """Return the meaning of a pattern or an interval, and its next firing times, without a database query."""
        found = list(islice(spec.firing_times_after(datetime.now(UTC)), count))
        return Preview(description=spec.describe(), next=found)

    def run(self, caller: Caller, schedule_id: str, key: str | None = None) -> tuple[Job, bool]:
        """Trigger a job like a schedule's, now. Return it, and True for a repeated call.

        Its priority is bounded by the caller's role, and the persons behind the schedule are behind the job too. It is
        not a firing: neither the overlap rule nor the next firing depends on it. Raise `ScheduleNotFound`, and every
        error of `Jobs.trigger`.
        """
        schedule = self.show(caller, schedule_id)
        priority = self._jobs.rules.bounded_by_role(caller, schedule.priority)
        spec = JobSpec(
            worker_id=schedule.worker_id,
            input_json=schedule.input_json,
            priority=priority,
            expires_in_seconds=schedule.expires_in_seconds,
            approval_json=schedule.approval_json,
        )
        (job,), is_replay = self._jobs.trigger(
            caller, [spec], key, behind=[schedule.created_by, *actor.split(schedule.changers)]
        )
        return job, is_replay

    def firings(self, caller: Caller, schedule_id: str, *, bounds: PageBounds) -> tuple[list[Firing], int]:
        """Return a page of a schedule's firings, newest first, and the total. Raise `ScheduleNotFound`."""
        with self._database.connect() as connection:
            _show(connection, caller, schedule_id)
            return firings.page(connection, tenant_id=caller.tenant_id, schedule_id=schedule_id, bounds=bounds)


def _show(connection: Connection, caller: Caller, schedule_id: str) -> Schedule:
    return required(definitions.show(connection, tenant_id=caller.tenant_id, schedule_id=schedule_id), ScheduleNotFound)


def _with_timing(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return changes, with null for the interval that a pattern replaces, or the pattern that an interval replaces."""
    if "every_seconds" in changes:
        return {**changes, "cron": None, "timezone": None}
    return {**changes, "every_seconds": None} if changes.keys() & {"cron", "timezone"} else changes


def _check(spec: ScheduleSpec) -> None:
    if spec.every_seconds is None:
        for name in ("cron", "timezone"):
            if getattr(spec, name) is None:
                reason = f"It must be sent too, because the schedule has every_seconds and no {name}."
                raise InvalidFields(f"{name}: {reason}", {name: [reason]})
    if spec.starts_at is not None and spec.ends_at is not None and spec.ends_at <= spec.starts_at:
        reason = "It must be later than starts_at."
        raise InvalidFields(f"ends_at: {reason}", {"ends_at": [reason]})
