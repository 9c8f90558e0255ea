"""The runs of one job, from its `job_runs` rows and its own row; and the records of claimed runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ava.domain.jobs.job import Job, Status
from ava.domain.jobs.retry import MAX_RETRIES
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.usage import NO_USAGE, RunUsage, cpu_ms, elapsed_ms
from ava.domain.record import about

#: The API's names of endings that it names differently.
_OUTCOMES = {Ending.RETRIED: "failed", Ending.WAITED: "waits"}


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedJobRun:
    """A run with a row in `job_runs`."""

    run_no: int
    attempt: int
    started_at: datetime
    ended_at: datetime
    ending: Ending
    usage: RunUsage
    #: Milliseconds from when it could start to its start; None: unknown.
    wait_ms: int | None


@dataclass(frozen=True, kw_only=True)
class JobRun:
    run_no: int
    attempt: int = field(
        metadata={
            "description": "The attempt that the run belongs to. A job's `duration_ms` is the sum of the runs of its "
            "last attempt.",
            "minimum": 1,
            "maximum": MAX_RETRIES + 1,
        }
    )
    started_at: datetime
    ended_at: datetime | None = field(default=None, metadata=about("Null while the run lasts."))
    outcome: str | None = field(
        default=None,
        metadata=about(
            "`completed`, `failed`, `cancelled`, `lost`, `interrupted`, `deferred` (the handler "
            "deferred the job), or `waits` (the handler waited). Null while the run lasts."
        ),
    )
    cpu_ms: int | None = field(default=None, metadata=about("CPU time; null during the run, and if it is not known."))
    peak_memory_mb: int | None = field(
        default=None,
        metadata={
            "description": "Peak memory in MiB, as measured by the node; null for a run that ended before the first "
            "measurement.",
            "maximum": 2**31,
        },
    )
    wait_ms: int | None = field(default=None, metadata=about("The time from when it could start to its start."))

    @property
    def duration_ms(self) -> int | None:
        return None if self.ended_at is None else elapsed_ms(self.started_at, self.ended_at)


def retained_run(run: EndedJobRun, job: Job) -> JobRun:
    """Return a run of a job that has a row. The last run of a final job ended with its job."""
    is_last = job.completed_at is not None and run.run_no == job.run_no
    ended_at = job.completed_at if is_last else run.ended_at
    return _run(run.usage, run.wait_ms, started_at=run.started_at, ended_at=ended_at, run_no=run.run_no,
                attempt=run.attempt, outcome=_OUTCOMES.get(run.ending, run.ending.value))  # fmt: skip


def own_run(job: Job) -> JobRun | None:
    """Return the run that the job's row describes, unless it has a row in `job_runs`; None before the first start."""
    if job.started_at is None or job.status is Status.QUEUED or job.first_run_no is None:
        return None
    # The row of a job with several runs holds their total usage.
    is_only = job.first_run_no == job.run_no
    used = RunUsage(cpu_us=job.cpu_us, peak_memory_mb=job.peak_memory_mb) if is_only else NO_USAGE
    outcome = None if job.completed_at is None else str(job.status)
    return _run(used, job.last_wait_ms, started_at=job.started_at, ended_at=job.completed_at, run_no=job.run_no,
                attempt=job.attempt, outcome=outcome)  # fmt: skip


def _run(used: RunUsage, wait_ms: int | None, *, started_at: datetime, ended_at: datetime | None, run_no: int,
         attempt: int, outcome: str | None) -> JobRun:  # fmt: skip
    return JobRun(
        run_no=run_no,
        attempt=attempt,
        started_at=started_at,
        ended_at=ended_at,
        outcome=outcome,
        cpu_ms=cpu_ms(used.cpu_us),
        peak_memory_mb=used.peak_memory_mb,
        wait_ms=wait_ms,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedRun:
    """A run that was claimed over HTTP."""

    run: str = field(metadata=about("The token of the run; it is the only credential for the calls of the run."))
    job: Job = field(metadata=about("The job; an input too large for a list is null here.", form={"type": "object"}))
    input_json: str
    config: Mapping[str, str] = field(metadata=about("The configuration of the worker, without secrets."))
    timeout_at: datetime = field(metadata=about("When the run times out."))
    has_journal: bool = field(
        metadata=about("True if earlier runs of the job recorded steps, children or waits: read the journal.")
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStop:
    """The response to log lines, progress and steps of a run."""

    stop: bool = field(metadata=about("True if the run must stop, because it was cancelled or timed out."))


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnd:
    """The response to the end of a run."""

    status: Status = field(
        metadata=about(
            "`cancelled` if a cancel was requested; `queued` if the job starts again; `running` if a wait is satisfied "
            "already."
        )
    )
    suspended: bool = field(
        metadata=about("True if the run has ended because its handler waits; false if it continues or ended.")
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunHeartbeats:
    """The response to heartbeats of runs."""

    stop: Sequence[str] = field(metadata=about("The runs that must stop and end."))
    lost: Sequence[str] = field(metadata=about("The runs that no longer own their jobs; their writes are refused."))
