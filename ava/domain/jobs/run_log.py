"""The runs of one job, read from the lines that begin and end each of them in its log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ava.domain.jobs.job import Job, Status

__all__ = ["JobRun", "JobRuns", "runs_of"]

_STARTED = ("Worker handler started", "Handler continues")
_ENDED = re.compile(r"Handler (completed|failed|cancelled|lost|interrupted|waits)\b")
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One run of a job's handler."""

    started_at: datetime
    #: None while it runs.
    ended_at: datetime | None = None
    #: `completed`, `failed`, `cancelled`, `lost` (with its process or node), `interrupted` (by a shutdown), or `waits`.
    outcome: str | None = None

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


def runs_of(job: Job, lines: Iterable[tuple[datetime, str]]) -> JobRuns:
    """Returns the runs of a job; `lines` has the time and the text of log lines, oldest first."""
    runs: list[JobRun] = []
    for at, text in lines:
        if text in _STARTED:
            runs.append(JobRun(started_at=at))
        elif runs and runs[-1].ended_at is None and (found := _ENDED.match(text)):
            runs[-1] = replace(runs[-1], ended_at=at, outcome=found[1])
    if runs and runs[-1].ended_at is None and job.completed_at is not None:
        # The last line is missing if its log was full.
        outcome = str(job.status) if job.status is not Status.QUEUED else None
        runs[-1] = replace(runs[-1], ended_at=job.completed_at, outcome=outcome)
    due_at = max(filter(None, (job.created_at, job.scheduled_at)))
    durations = [run.duration_ms for run in runs if run.duration_ms is not None]
    return JobRuns(
        waited_ms=max(0, (runs[0].started_at - due_at) // _MILLISECOND) if runs else None,
        ran_ms=sum(durations) if durations else None,
        runs=runs,
    )
