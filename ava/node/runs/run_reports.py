"""Write the ends of runs, and what a process reports of each: its span, printed lines, log line and count."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from ava.domain.jobs.job import Job, JobKey, LogLevel, Status
from ava.domain.secrets.masking import SecretMask
from ava.metrics import counters
from ava.node import outcome
from ava.node.runs.job_log import JobLog
from ava.node.runs.run import Run
from ava.node.runs.run_writer import RunWriter
from ava.store.jobs.transitions import log_lines
from ava.store.jobs.transitions.ended_runs import EndedRun
from ava.telemetry import tracing
from ava.telemetry.span import NOTHING, Kind, Span

_log = logging.getLogger(__name__)


def start_run_span(job: Job, began_ns: int) -> Span:
    """Start the span of a run, with the claim as its first child. `began_ns`: when the claim was sent, in Unix ns."""
    if not tracing.is_on():
        return NOTHING
    span = tracing.start_span(
        "run", Kind.CONSUMER, parent=job.traceparent, began_ns=began_ns, about=tracing.describe(job)
    )
    tracing.start_span("claim", parent=span, began_ns=began_ns).end()
    return span


def make_log(job: Job, *, is_printed: bool = False, mask: SecretMask | None = None) -> JobLog:
    """Return the log of a newly claimed run. `is_printed`: whether this process also prints its lines."""
    assert job.started_at is not None
    echo = _printer(job) if is_printed else None
    return JobLog(first_seq=job.run_no * log_lines.SEQ_PER_RUN, started_at=job.started_at, echo=echo, mask=mask)


def open_log(run: Run) -> None:
    """Insert a run's first line, which a claim of several runs has not stored."""
    run.log.put_back([log_lines.opening_line(run.job)])


def _printer(job: Job) -> Callable[[LogLevel, str], None]:
    """Return a function that prints a line of a job's log, without terminal control characters."""
    prefix = f"{job.worker_id} {job.id}"

    def print_line(level: LogLevel, message: str) -> None:
        for line in message.split("\n"):
            printable = "".join(char if char.isprintable() else " " for char in line)
            # The handler may have replaced or closed the streams.
            with suppress(OSError):
                os.write(2, f"{prefix} {level.value.upper():<5} {printable}\n".encode(errors="replace"))

    return print_line


def report_end(run: Run, status: Status | None) -> None:
    """Log and count the end of an attempt after it was written.

    `status`: the job's new status; `queued` if another attempt follows, None if the run had lost its claim.
    """
    result = "given up" if status is None else "to be repeated" if status is Status.QUEUED else status.value
    if status is Status.QUEUED and run.end is not None and run.end.wait is not None:
        result = "waiting"
    run.span.set_attribute("ava.job.status", "" if status is None else status.value)
    if status is not Status.COMPLETED:
        run.span.record_failure(result)
    counters.RUNS_ENDED.labels(run.job.worker_id, result.replace(" ", "_")).inc()
    _log.info(
        "Attempt of %s ended: %s after %d ms%s",
        run.job.worker_id,
        result,
        run.log.elapsed_ms if run.end is None else run.end.elapsed_ms,
        _reason(run) if status in (Status.FAILED, Status.QUEUED) else "",
        extra={"job_id": run.job.id, "tenant_id": run.job.tenant_id, "attempt": run.job.attempt},
    )


def kind_of(run: Run, error: BaseException) -> str:
    """Return the name of an error's class, with the run's secrets masked."""
    name = type(error).__name__
    return name if run.mask is None else run.mask.string(name)


def _reason(run: Run) -> str:
    error = None if run.end is None else run.end.error
    return f": {error or ('' if run.raised is None else outcome.explain(run.raised, run.mask))}"


def close_log(run: Run) -> None:
    """Drop further lines of a run that has ended, and record in its span why it has no outcome."""
    run.log.close()
    if run.end is None and run.stopped_for is not None:
        run.span.record_failure(run.stopped_for.value)


def ended_run(run: Run) -> EndedRun:
    """Return a run's decided end, with its buffered log lines."""
    assert run.end is not None
    closing = run.end.closing
    assert closing is not None
    *lines, last = run.log.take_with_closing(*closing)
    return EndedRun.of(
        run.job,
        run.end,
        claim_id=run.claim_id,
        lines=lines,
        closing=last,
        progress_json=run.progress_json,
        began_at=run.began_at,
    )


def write_single(run: Run, writer: RunWriter, write: Callable[[EndedRun], Status | None]) -> None:
    """Write the end of a run, by `write` if it is decided; otherwise its job returns to the queue."""
    try:
        if run.end is not None:
            report_end(run, write(ended_run(run)))
        else:
            writer.end_undecided(run)
    finally:
        run.span.end()


def report_written(runs: Iterable[Run], statuses: Mapping[JobKey, Status]) -> None:
    """Report the ends that one statement has written. `statuses`: the jobs that the runs still owned."""
    for run in runs:
        report_end(run, statuses.get(run.job.key))
        run.span.end()
