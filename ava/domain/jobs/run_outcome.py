"""A run's outcome, the values that it writes into the job's row, and the errors of the system's cancels. No I/O.

The process that decides the outcome computes them; `ava.store.jobs.transitions.end` writes them, guarded by the fencing
token. A job that was asked to stop ends with its `stop_status` instead, whatever its run did.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from ava.domain.jobs.job import Job, LogLevel, RunKey, Status
from ava.domain.jobs.retry import MAX_LOSSES, MAX_NODE_LOSSES, Retry, may_retry
from ava.domain.jobs.usage import NO_USAGE, RunUsage
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.domain.record import format_time

if TYPE_CHECKING:
    from ava.domain.jobs.waits import Wait

#: Stands for the duration of an attempt in its closing line. The statement that writes the end replaces it, so that it
#: equals the duration in the job's record. Private use characters, which no other line has.
DURATION = "\ue000\ue001"


class Ending(StrEnum):
    """How a run ended. `job_runs` stores the endings that return a job to the queue."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    DEFERRED = "deferred"
    WAITED = "waited"
    #: The process, or the whole node, died.
    LOST = "lost"
    INTERRUPTED = "interrupted"
    #: The claim was returned before the handler began.
    RELEASED = "released"


_FINAL = {
    Ending.COMPLETED: Status.COMPLETED,
    Ending.FAILED: Status.FAILED,
    Ending.CANCELLED: Status.CANCELLED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOutcome:
    """A run's outcome, decided by its own process or by the process that found it lost."""

    run: RunKey
    ending: Ending
    #: Milliseconds from the claim to the end of the handler.
    elapsed_ms: int = 0
    output_json: str | None = None
    error: str | None = None
    #: The UUID of the error group, once known, if the run failed.
    error_id: str | None = None
    #: Seconds until a retried or deferred job may start again.
    delay_seconds: float | None = None
    reason: str = ""
    #: Whether the rate limit key is deferred, too.
    is_rate_limited: bool = False
    wait: Wait | None = None
    usage: RunUsage = NO_USAGE
    has_begun: bool = True
    #: Suffix of the closing log line: why a process was killed.
    how: str = ""
    #: The job's losses including this run, and its worker's current queue; None: unchanged.
    losses: int | None = None
    node_losses: int | None = None
    queue: str | None = None

    @property
    def status(self) -> Status:
        """Return the job's next status, without a requested stop."""
        return _FINAL.get(self.ending, Status.QUEUED)

    @property
    def closing(self) -> tuple[LogLevel, str] | None:
        """Return the level and message of the log's closing line; None without one."""
        if self.ending is Ending.COMPLETED:
            return LogLevel.INFO, f"Handler completed in {DURATION}"
        if self.ending is Ending.WAITED:
            assert self.wait is not None
            return LogLevel.INFO, f"Handler waits for {self.wait.description}"
        if self.ending is Ending.DEFERRED:
            reason = f": {self.reason}" if self.reason else ""
            return LogLevel.INFO, f"Handler retries later, in {self.delay_seconds or 0:g} s{reason}"
        if self.ending in (Ending.LOST, Ending.INTERRUPTED, Ending.RELEASED):
            return None
        if self.ending is Ending.CANCELLED:
            return LogLevel.WARN, self.closing_if_stopped % (Status.CANCELLED, DURATION)
        # A lost run has its own log line with the reason.
        level = LogLevel.WARN if self.losses is not None else LogLevel.ERROR
        return level, self.closing_if_stopped % (Status.FAILED, DURATION)

    @property
    def closing_if_stopped(self) -> str:
        """Return the closing line of a job that was asked to stop, `%s` stand for its status and its duration."""
        return f"Handler %s after %s{self.how}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunValues:
    """The values that a run's end writes into the job's row and `job_runs`. Times are PostgreSQL's."""

    status: Status
    #: None: none, or a permit if it has a rate limit, which the statement decides.
    waits_for: WaitsFor | None
    #: Seconds from the write to `run_at`; None: no time.
    delay_seconds: float | None
    #: Seconds from the write to `ready_at`; None: unchanged.
    ready_in_seconds: float | None
    attempt: int
    first_run_no: int | None
    first_started_at: datetime | None
    #: Total processor time of all runs, and their peak memory.
    cpu_us: int | None
    peak_memory_mb: int | None
    has_earlier_run: bool
    #: The run's attempt, start (None: the row's) and waiting time before the start in milliseconds.
    run_attempt: int
    run_started_at: datetime | None
    run_wait_ms: int | None


def next_values(job: Job, outcome: RunOutcome) -> RunValues:
    """Return the values to write; `job` is the row as the run's claim left it."""
    is_queued, is_retried = outcome.status is Status.QUEUED, outcome.ending is Ending.RETRIED
    delay = outcome.delay_seconds if outcome.wait is None else outcome.wait.timeout_seconds
    never_began = not outcome.has_begun and job.first_run_no == job.run_no
    return RunValues(
        status=outcome.status,
        waits_for=_waits_for(outcome),
        delay_seconds=delay if is_queued else None,
        ready_in_seconds=(delay or 0.0) if is_queued and outcome.has_begun else None,
        # Only a failed attempt counts.
        attempt=job.attempt - (is_queued and not is_retried),
        first_run_no=None if never_began else job.first_run_no,
        first_started_at=None if is_retried else _first_started_at(job, outcome),
        cpu_us=_sum(job.cpu_us, outcome.usage.cpu_us),
        peak_memory_mb=max(filter(None, (job.peak_memory_mb, outcome.usage.peak_memory_mb)), default=None),
        has_earlier_run=job.first_run_no is not None and job.first_run_no < job.run_no,
        run_attempt=job.attempt,
        run_started_at=job.started_at if is_queued else None,
        run_wait_ms=job.last_wait_ms if outcome.has_begun else None,
    )


def _waits_for(outcome: RunOutcome) -> WaitsFor | None:
    if outcome.ending is Ending.RETRIED:
        return WaitsFor.RETRY
    if outcome.ending is Ending.DEFERRED:
        return WaitsFor.DEFERRED
    return None if outcome.wait is None else outcome.wait.waits_for


def _first_started_at(job: Job, outcome: RunOutcome) -> datetime | None:
    return job.first_started_at or (job.started_at if outcome.ending is Ending.WAITED else None)


def _sum(before: int | None, now: int | None) -> int | None:
    return before if now is None else (before or 0) + now


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedRun:
    """A running job that another process ends; that process has locked the row."""

    job: Job
    claim_id: str | None
    losses: int
    node_losses: int
    #: The worker's current queue, and whether it fails jobs with a lost process.
    queue: str
    fails_when_lost: bool
    elapsed_ms: int


def of_lost_run(
    running: LockedRun, *, error: str, is_of_node: bool = False, has_begun: bool = True, usage: RunUsage = NO_USAGE
) -> RunOutcome:
    """Return the outcome after the run's process, or whole node, died. The attempt does not count.

    The job returns to the queue, unless its worker has `on_worker_lost: fail` or it was lost too often. Node losses are
    limited separately, because a node's death is rarely a job's fault.
    """
    is_often = (
        running.node_losses >= MAX_NODE_LOSSES if is_of_node else running.losses - running.node_losses >= MAX_LOSSES
    )
    is_last = running.fails_when_lost or is_often
    return RunOutcome(
        run=running.job.run,
        ending=Ending.FAILED if is_last else Ending.LOST,
        elapsed_ms=running.elapsed_ms,
        error=error if is_last else None,
        usage=usage,
        has_begun=has_begun,
        losses=running.losses + 1,
        node_losses=running.node_losses + is_of_node,
        queue=running.queue,
    )


def of_interrupted_run(running: LockedRun, *, has_begun: bool = True, usage: RunUsage = NO_USAGE) -> RunOutcome:
    """Return the outcome of a run that a node returns because it shuts down or never entered the handler."""
    return RunOutcome(
        run=running.job.run,
        ending=Ending.INTERRUPTED if has_begun else Ending.RELEASED,
        elapsed_ms=running.elapsed_ms,
        usage=usage,
        has_begun=has_begun,
        queue=running.queue,
    )


def of_killed_run(
    running: LockedRun, *, error: str, how: str, retry: Retry | None, usage: RunUsage = NO_USAGE
) -> RunOutcome:
    """Return the outcome after a run's process was killed: it exceeded a limit, or ignored a cancel.

    The attempt failed. Another one may follow after the delay of `retry`, without jitter; None: none follows.
    """
    job = running.job
    is_retried = retry is not None and may_retry(attempt=job.attempt, max_attempts=job.max_attempts)
    return RunOutcome(
        run=job.run,
        ending=Ending.RETRIED if is_retried else Ending.FAILED,
        elapsed_ms=running.elapsed_ms,
        error=None if is_retried else error,
        delay_seconds=retry.unspread_seconds(job.attempt) if retry is not None and is_retried else None,
        usage=usage,
        how=how,
    )


class SystemCancel(StrEnum):
    """The error kind of a job that the system, not a caller, cancelled."""

    EXPIRED = "Expired"
    REPLACED = "Replaced"
    #: Its schedule fired again (`cancel_running`).
    OVERLAP_CANCELLED = "OverlapCancelled"
    #: Its parent was cancelled or exceeded its deadline.
    PARENT_CANCELLED = "ParentCancelled"
    #: Its predecessors in the bulk did not end as its `when` demands.
    CONDITION_UNMET = "ConditionUnmet"


def expired(timestamp: datetime) -> str:
    return f"{SystemCancel.EXPIRED}: not started by {format_time(timestamp)}"


def replaced(job_id: str) -> str:
    return f"{SystemCancel.REPLACED}: {job_id} has the same deduplication key"


def overlapped(schedule_id: str) -> str:
    return f"{SystemCancel.OVERLAP_CANCELLED}: the next job of {schedule_id} was created"


def parent_cancelled(job_id: str, *, is_overdue: bool = False) -> str:
    why = "exceeded its deadline" if is_overdue else "was cancelled"
    return f"{SystemCancel.PARENT_CANCELLED}: {job_id} {why}"


def condition_unmet(name: str, status: Status | None) -> str:
    """Return the error of a bulk entry; `name` is its first predecessor with the wrong outcome.

    `status`: the predecessor's; None if it is deleted.
    """
    said = {Status.CANCELLED: "was cancelled", None: "is deleted"}.get(status) or str(status)
    return f"{SystemCancel.CONDITION_UNMET}: {name} {said}"


def overdue(seconds: float) -> str:
    """Return the error of a job that fails because its deadline, `seconds` after its creation or date, passed."""
    return f"Timeout: exceeded its deadline of {seconds:g} s"
