"""Decide about a due schedule: which of its firing times fire, are skipped or were missed, and why."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from typing import Annotated
from uuid import UUID

from ava.domain import ids
from ava.domain.jobs.job import Status
from ava.domain.record import format_time
from ava.domain.schedules.schedule import SLOT, FiringTime, format_local_time
from ava.domain.schedules.schedule_record import CatchUp, Overlap, Schedule, spread_delay
from ava.domain.worker import WorkerStatus

#: A firing time that is decided within this many seconds is on time; a later one was missed. A dispatcher that takes
#: over needs a few seconds. Quartz has the same default (`org.quartz.jobStore.misfireThreshold`).
ON_TIME_SECONDS = 60
#: Max firing times that one decision fires or lists: the newest.
MAX_LISTED = 100
#: A schedule is paused after this many consecutive firings without its worker.
MAX_GONE = 3
#: Maximum firing times that one decision fires or lists: the newest.
_POSTPONED_SECONDS = 300

_PREFIX = "fir"
_LOW = 2**64 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)


class Outcome(StrEnum):
    FIRED = "fired"
    SKIPPED = "skipped"
    MISSED = "missed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Firing:
    """A past slot, and its outcome."""

    #: Without a time zone.
    local_time: datetime = field(metadata={"internal": True})
    at: datetime
    outcome: Outcome
    reason: str | None = field(
        metadata={"description": "Why the firing was skipped or missed; null if it fired.", "payload": "reason"}
    )
    job_id: str | None = field(metadata={"prefix": "job"})

    @property
    def slot(self) -> Annotated[str, SLOT]:
        return format_local_time(self.local_time)

    @property
    def id(self) -> str:
        """Return an id that encodes the position in the list of the schedule's firings."""
        at, local = (self.at - _EPOCH) // _MICROSECOND, (self.local_time - _LOCAL_EPOCH) // _SECOND
        return ids.encode(_PREFIX, UUID(int=at << 64 | local << 1 | self.local_time.fold))


def firing_position(firing_id: str) -> tuple[datetime, datetime] | None:
    """Return the instant and the local time in a firing's `id`; None if the id is invalid."""
    value = ids.decode(_PREFIX, firing_id)
    if value is None:
        return None
    at, local = value.int >> 64, (value.int & _LOW) >> 1
    try:
        return _EPOCH + at * _MICROSECOND, (_LOCAL_EPOCH + local * _SECOND).replace(fold=value.int & 1)
    except OverflowError:
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnableWorker:
    status: WorkerStatus = WorkerStatus.ACTIVE
    #: The version of its input schema; None if any object is accepted.
    schema_version: str | None = None
    #: Why the schedule's input does not match that schema, in one line; None if it matches.
    input_fault: str | None = None
    #: Until an unstarted job expires.
    expires_in_seconds: int | None = None

    @property
    def refusal(self) -> str | None:
        """Return why no job is created, after `worker …`; None if one is. A paused worker's jobs are created."""
        if self.status is WorkerStatus.DEPRECATED:
            return "is deprecated"
        return None if self.input_fault is None else f"refuses the input: {self.input_fault}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DueSchedule:
    schedule: Schedule
    #: None if the worker no longer exists, or the tenant may not run it.
    worker: RunnableWorker | None
    #: The status of its last job, except jobs that were cancelled while they waited for an earlier one; None without
    #: one. It is read only if `overlap` needs it.
    last_status: Status | None
    last_uuid: str | None = None
    #: True if a job waits for an earlier one to end (`queue_one`).
    has_waiting: bool = False
    #: Number of consecutive firings without its worker.
    gone: int
    #: Whether the platform created it, so that its jobs may be more urgent than the tenant's roles allow.
    may_be_urgent: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DecidedTime:
    time: FiringTime
    outcome: Outcome
    reason: str | None = None
    lag_seconds: float = 0.0
    #: True if its job waits until the previous one is final.
    waits_for_earlier: bool = False
    #: The UUID of its job, if it fires, and of the earlier job that this one waits for.
    job_uuid: str | None = None
    earlier_uuid: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FiringDecision:
    due: DueSchedule
    times: Sequence[DecidedTime] = ()
    #: All firing times up to this instant are decided.
    decided_until: datetime
    next_run_at: datetime | None
    gone: int = 0
    #: The job to cancel before the new one is created (`cancel_running`).
    cancels_job_id: str | None = None

    @property
    def fired(self) -> Sequence[DecidedTime]:
        """Return the firing times that fire, oldest first. Each creates a job."""
        return [each for each in self.times if each.outcome is Outcome.FIRED]

    @property
    def pause_reason(self) -> str | None:
        """Return why the schedule is paused: its worker was missing too often. None if it is not paused."""
        if self.gone < MAX_GONE:
            return None
        return f"worker {self.due.schedule.worker_id} was missing at {MAX_GONE} firings in a row"


def decide(due: DueSchedule, now: datetime) -> FiringDecision:
    schedule = due.schedule
    delay = spread_delay(schedule.id, schedule.spread_seconds)
    first, past, upcoming = _walk(schedule, now - delay)
    decided = [_by_lag(schedule, each, now - delay, is_newest=each is past[-1]) for each in past]
    decided = [_by_expiry(due, each, now) for each in decided]
    if first is not None:
        decided.insert(0, first)
    decision = FiringDecision(
        due=due,
        times=decided,
        decided_until=_decided_until(schedule, past, now - delay, has_unlisted=first is not None),
        next_run_at=None if upcoming is None else upcoming.at + delay,
        gone=due.gone,
    )
    return _by_overlap(_by_worker(decision))


def _decided_until(
    schedule: Schedule, listed: Sequence[FiringTime], until: datetime, *, has_unlisted: bool
) -> datetime:
    if listed:
        return listed[-1].at
    # Otherwise the next decision would count the unlisted times again.
    return until if has_unlisted else schedule.decided_until


def postpone(due: DueSchedule, now: datetime) -> FiringDecision:
    """Return a decision to try again later, after an error."""
    retry_at = now + timedelta(seconds=_POSTPONED_SECONDS)
    return FiringDecision(due=due, decided_until=due.schedule.decided_until, next_run_at=retry_at, gone=due.gone)


def skip_delayed(decision: FiringDecision, now: datetime) -> FiringDecision:
    """Add the firing times that have passed but are still delayed, as skipped."""
    schedule = decision.due.schedule
    delayed = takewhile(lambda each: each.at <= now, schedule.firing_times_after(decision.decided_until))
    reason = "the schedule was changed during the delay (spread_seconds)"
    skipped = [DecidedTime(time=each, outcome=Outcome.SKIPPED, reason=reason) for each in delayed]
    return replace(decision, times=[*decision.times, *skipped])


def reserve(decision: FiringDecision, uuids: Iterator[str | None]) -> FiringDecision:
    """Add the UUIDs of the jobs. Drop firing times without one: their firings exist already."""
    times, earlier_uuid = [], decision.due.last_uuid
    for each in decision.times:
        if each.outcome is not Outcome.FIRED:
            times.append(each)
        elif (uuid := next(uuids)) is not None:
            waits_for = earlier_uuid if each.waits_for_earlier else None
            times.append(replace(each, job_uuid=uuid, earlier_uuid=waits_for))
            earlier_uuid = uuid
    return replace(decision, times=times)


def settle(decision: FiringDecision, refusals: Mapping[str, str]) -> FiringDecision:
    """Mark the firings of refused jobs as skipped. `refusals` has the reasons by reserved UUID."""
    times = [
        _skip(each, refusals[each.job_uuid]) if each.job_uuid and each.job_uuid in refusals else each
        for each in decision.times
    ]
    settled = replace(decision, times=times)
    return settled if settled.fired else replace(settled, cancels_job_id=None)


def _refuse(decision: FiringDecision, reason: str) -> FiringDecision:
    times = [_skip(each, reason) if each.outcome is Outcome.FIRED else each for each in decision.times]
    return replace(decision, times=times)


def _walk(schedule: Schedule, until: datetime) -> tuple[DecidedTime | None, Sequence[FiringTime], FiringTime | None]:
    """Return the firing times up to an instant that are listed individually, and the first one after it.

    Before them it returns the oldest unlisted firing time, which represents all unlisted ones; None without any.
    """
    listed_seconds = max(schedule.catch_up_seconds, ON_TIME_SECONDS)
    if schedule.every_seconds is not None:
        # Otherwise the walk would pass each second of a week.
        listed_seconds = min(listed_seconds, schedule.every_seconds * MAX_LISTED)
    horizon = until - timedelta(seconds=listed_seconds)
    after, unlisted = schedule.decided_until, None
    if after < horizon:
        oldest = next(schedule.firing_times_after(after), None)
        if oldest is not None and oldest.at < horizon:
            after, unlisted = horizon - timedelta(microseconds=1), oldest
    past: deque[FiringTime] = deque()
    upcoming = None
    for each in schedule.firing_times_after(after):
        if each.at > until:
            upcoming = each
            break
        past.append(each)
        if len(past) > MAX_LISTED:
            dropped = past.popleft()
            unlisted = unlisted or dropped
    if unlisted is None:
        return None, past, upcoming
    listed_from = format_time(past[0].at if past else until)
    reason = f"nothing could fire at its time; this entry represents every slot from then until {listed_from}"
    return DecidedTime(time=unlisted, outcome=Outcome.MISSED, reason=reason), past, upcoming


def _by_lag(schedule: Schedule, time: FiringTime, until: datetime, *, is_newest: bool) -> DecidedTime:
    lag = (until - time.at).total_seconds()
    fired = DecidedTime(time=time, outcome=Outcome.FIRED, lag_seconds=lag)
    if lag <= ON_TIME_SECONDS:
        return fired
    if schedule.catch_up is CatchUp.NONE:
        reason = "catch_up is none"
    elif lag > schedule.catch_up_seconds:
        reason = f"it is older than {schedule.catch_up_seconds} s (catch_up_seconds)"
    elif schedule.catch_up is CatchUp.LAST and not is_newest:
        reason = "a later firing replaces it (catch_up is last)"
    else:
        return fired
    return DecidedTime(time=time, outcome=Outcome.MISSED, reason=f"nothing could fire at its time, and {reason}")


def _by_expiry(due: DueSchedule, decided: DecidedTime, now: datetime) -> DecidedTime:
    """Mark a firing time as missed if its job would already be expired."""
    declared = None if due.worker is None else due.worker.expires_in_seconds
    expires_in_seconds = due.schedule.expires_in_seconds or declared
    if decided.outcome is not Outcome.FIRED or expires_in_seconds is None:
        return decided
    if (now - decided.time.at).total_seconds() < expires_in_seconds:
        return decided
    return DecidedTime(time=decided.time, outcome=Outcome.MISSED, reason="expired")


def _by_worker(decision: FiringDecision) -> FiringDecision:
    worker, worker_id = decision.due.worker, decision.due.schedule.worker_id
    refusal = "is gone" if worker is None else worker.refusal
    if refusal is None:
        return replace(decision, gone=0)
    if not decision.fired:
        return decision
    decision = _refuse(decision, f"worker {worker_id} {refusal}")
    gone = decision.gone + 1 if worker is None else 0
    if gone >= MAX_GONE:
        # A disabled schedule has no next firing.
        return replace(decision, gone=gone, next_run_at=None)
    return replace(decision, gone=gone)


def _skip(decided: DecidedTime, reason: str) -> DecidedTime:
    return DecidedTime(time=decided.time, outcome=Outcome.SKIPPED, reason=reason)


def _by_overlap(decision: FiringDecision) -> FiringDecision:
    schedule = decision.due.schedule
    is_unfinished = decision.due.last_status in (Status.QUEUED, Status.RUNNING)
    if schedule.overlap is Overlap.ALLOW:
        return decision
    if schedule.overlap is Overlap.CANCEL_RUNNING:
        cancelled = schedule.last_job_id if is_unfinished and decision.fired else None
        return replace(decision, times=list(_newest_alone(decision.times)), cancels_job_id=cancelled)
    if schedule.overlap is Overlap.SKIP:
        return replace(decision, times=list(_one_at_a_time(decision, is_unfinished)))
    return replace(decision, times=list(_one_waits(decision, is_unfinished)))


def _newest_alone(times: Sequence[DecidedTime]) -> Iterator[DecidedTime]:
    fired = [each for each in times if each.outcome is Outcome.FIRED]
    for each in times:
        is_replaced = each.outcome is Outcome.FIRED and each is not fired[-1]
        yield _skip(each, "a later firing is due at the same time (overlap is cancel_running)") if is_replaced else each


def _one_at_a_time(decision: FiringDecision, is_unfinished: bool) -> Iterator[DecidedTime]:
    status = decision.due.last_status
    blocker = f"{decision.due.schedule.last_job_id} is still {status}" if is_unfinished else None
    for each in decision.times:
        if each.outcome is not Outcome.FIRED:
            yield each
        elif blocker is not None:
            yield _skip(each, f"{blocker} (overlap is skip)")
        else:
            yield each
            blocker = f"the job of {format_local_time(each.time.local_time)} is still queued"


def _one_waits(decision: FiringDecision, is_unfinished: bool) -> Iterator[DecidedTime]:
    has_waiting = decision.due.has_waiting
    for each in decision.times:
        if each.outcome is not Outcome.FIRED:
            yield each
        elif has_waiting:
            yield _skip(each, "another job of this schedule is already waiting (overlap is queue_one)")
        else:
            yield replace(each, waits_for_earlier=is_unfinished)
            has_waiting, is_unfinished = is_unfinished, True
