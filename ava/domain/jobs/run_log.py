"""The runs of one job, from its `job_runs` rows and its own row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ava.domain.jobs import run_usage
from ava.domain.jobs.job import Job, Status
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.run_usage import NO_USAGE, RunUsage

_MILLISECOND = timedelta(milliseconds=1)
#: The API's names of endings that it names differently.
_OUTCOMES = {Ending.RETRIED: "failed", Ending.DEFERRED: "put_off", Ending.WAITED: "waits"}


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedJobRun:
    """A run with a row in `job_runs`."""

    run_no: int
    started_at: datetime
    ended_at: datetime
    ending: Ending
    usage: RunUsage
    #: Milliseconds from when it could start to its start; None: unknown.
    wait_ms: int | None


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One run of a job's handler."""

    started_at: datetime
    #: None while it runs.
    ended_at: datetime | None = None
    #: `completed`, `failed`, `cancelled`, `lost` (with its process or node), `interrupted` (by a shutdown), `waits` or
    #: `put_off`.
    outcome: str | None = None
    run_no: int = 0
    #: Milliseconds of processor time, peak memory in MiB, and milliseconds until its start; None: unknown.
    cpu_ms: int | None = None
    peak_memory_mb: int | None = None
    wait_ms: int | None = None

    @property
    def duration_ms(self) -> int | None:
        """Return its duration; None while it runs."""
        return None if self.ended_at is None else max(0, (self.ended_at - self.started_at) // _MILLISECOND)


@dataclass(frozen=True, kw_only=True)
class JobRuns:
    """The runs of a job, with its total waiting and running times."""

    #: Milliseconds from when the job was due to its first start; None if it has not started.
    waited_ms: int | None
    #: Milliseconds that its ended runs took; None if none has ended.
    ran_ms: int | None
    runs: Sequence[JobRun]


def runs_of(job: Job, kept: Sequence[EndedJobRun]) -> JobRuns:
    """Return the runs of a job, oldest first; `kept` are the runs that have rows."""
    runs = [
        _run(each.usage, each.wait_ms, started_at=each.started_at, ended_at=each.ended_at, run_no=each.run_no,
             outcome=_OUTCOMES.get(each.ending, each.ending.value))
        for each in kept
    ]  # fmt: skip
    is_started = job.started_at is not None and job.status is not Status.QUEUED and job.first_run_no is not None
    if is_started and all(each.run_no != job.run_no for each in kept):
        runs.append(_last_run(job, has_earlier=bool(runs)))
    due_at = max(filter(None, (job.created_at, job.scheduled_at)))
    durations = [run.duration_ms for run in runs if run.duration_ms is not None]
    return JobRuns(
        waited_ms=max(0, (runs[0].started_at - due_at) // _MILLISECOND) if runs else None,
        ran_ms=sum(durations) if durations else None,
        runs=runs,
    )


def _last_run(job: Job, *, has_earlier: bool) -> JobRun:
    assert job.started_at is not None
    # The row of a job with several runs holds their total usage.
    known = NO_USAGE if has_earlier else RunUsage(cpu_us=job.cpu_us, peak_memory_mb=job.peak_memory_mb)
    outcome = None if job.completed_at is None else str(job.status)
    return _run(known, job.last_wait_ms, started_at=job.started_at, ended_at=job.completed_at, run_no=job.run_no,
                outcome=outcome)  # fmt: skip


def _run(used: RunUsage, wait_ms: int | None, *, started_at: datetime, ended_at: datetime | None, run_no: int,
         outcome: str | None) -> JobRun:  # fmt: skip
    found = run_usage.record(cpu_us=used.cpu_us, peak_memory_mb=used.peak_memory_mb, wait_ms=wait_ms)
    return JobRun(
        started_at=started_at,
        ended_at=ended_at,
        outcome=outcome,
        run_no=run_no,
        cpu_ms=found["cpu_ms"],
        peak_memory_mb=used.peak_memory_mb,
        wait_ms=wait_ms,
    )
