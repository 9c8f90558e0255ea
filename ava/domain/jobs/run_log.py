"""The runs of one job, read from the lines that begin and end each of them in its log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ava.domain.jobs import usage
from ava.domain.jobs.job import Job, Status

_STARTED = ("Worker handler started", "Handler continues")
_ENDED = re.compile(r"Handler (completed|failed|cancelled|lost|interrupted|waits|retries)\b")
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One run of a job's handler."""

    started_at: datetime
    #: None while it runs.
    ended_at: datetime | None = None
    #: `completed`, `failed`, `cancelled`, `lost` (with its process or node), `interrupted` (by a shutdown), `waits`, or
    #: `put_off`.
    outcome: str | None = None
    #: Its number.
    run_no: int = 0
    #: Milliseconds of processor time, the most MiB of memory, and the milliseconds until its start; None: not known.
    cpu_ms: int | None = None
    peak_memory_mb: int | None = None
    wait_ms: int | None = None

    @property
    def duration_ms(self) -> int | None:
        """Returns how long it ran; None while it runs."""
        return None if self.ended_at is None else max(0, (self.ended_at - self.started_at) // _MILLISECOND)


@dataclass(frozen=True, kw_only=True)
class JobRuns:
    """The runs of a job, with how long it waited and ran in total."""

    #: Milliseconds from when it was due to its first start; None if it has not started.
    waited_ms: int | None
    #: The sum of its ended runs in milliseconds; None if none has ended.
    ran_ms: int | None
    runs: Sequence[JobRun]


#: What runs have used, by their numbers: microseconds of processor time, MiB of memory, and milliseconds of waiting.
Usages = Mapping[int, tuple[int | None, int | None, int | None]]


def runs_of(job: Job, lines: Iterable[tuple[int, datetime, str]], usages: Usages) -> JobRuns:
    """Returns the runs of a job; `lines` has the run, the time and the text of log lines, oldest first.

    `usages` is empty for a job with a single run, whose usage is that of the job.
    """
    runs: list[JobRun] = []
    for run_no, at, text in lines:
        if text in _STARTED:
            runs.append(JobRun(started_at=at, run_no=run_no))
        elif runs and runs[-1].ended_at is None and (found := _ENDED.match(text)):
            runs[-1] = replace(runs[-1], ended_at=at, outcome="put_off" if found[1] == "retries" else found[1])
    if runs and runs[-1].ended_at is None and job.completed_at is not None:
        # The last line is missing if its log was full.
        outcome = str(job.status) if job.status is not Status.QUEUED else None
        runs[-1] = replace(runs[-1], ended_at=job.completed_at, outcome=outcome)
    due_at = max(filter(None, (job.created_at, job.scheduled_at)))
    durations = [run.duration_ms for run in runs if run.duration_ms is not None]
    return JobRuns(
        waited_ms=max(0, (runs[0].started_at - due_at) // _MILLISECOND) if runs else None,
        ran_ms=sum(durations) if durations else None,
        runs=[_with_usage(run, job, usages) for run in runs],
    )


def _with_usage(run: JobRun, job: Job, usages: Usages) -> JobRun:
    if run.run_no in usages:
        cpu_us, peak_mb, wait_ms = usages[run.run_no]
    elif not usages and job.usage is not None:
        cpu_us, peak_mb, wait_ms = job.cpu_us, job.peak_memory_mb, job.last_wait_ms
    elif run.ended_at is None:
        # The present one of several.
        cpu_us, peak_mb, wait_ms = None, None, job.last_wait_ms
    else:
        return run
    found = usage.record(cpu_us=cpu_us, peak_memory_mb=peak_mb, wait_ms=wait_ms)
    return replace(run, cpu_ms=found["cpu_ms"], peak_memory_mb=peak_mb, wait_ms=wait_ms)
