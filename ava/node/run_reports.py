"""What a child says of each attempt that has ended: one line, and a count."""

from __future__ import annotations

import logging

from ava import tracing
from ava.domain.job import Job, Status
from ava.metrics import counters
from ava.node.child.run import Run
from ava.node.outcome import Stop
from ava.store.engine.database import Connection
from ava.store.jobs import runs
from ava.tracing import Kind

__all__ = ["begin_span", "report_end", "report_killed"]

_log = logging.getLogger(__name__)


def begin_span(job: Job, began_ns: int) -> tracing.Span:
    """Begin the span of a run, and tell of its claim. `began_ns`: when that was sent, in Unix nanoseconds."""
    if not tracing.is_on():
        return tracing.NOTHING
    span = tracing.start_span(
        "run", Kind.CONSUMER, parent=job.traceparent, began_ns=began_ns, about=tracing.describe(job)
    )
    tracing.start_span("claim", parent=span, began_ns=began_ns).end()
    return span


def report_end(run: Run, status: Status | None) -> None:
    """Log and count the end of an attempt, once what became of the job has been written.

    `status` is the job's then: `queued` where another attempt follows; None where the run had no say any more.
    """
    result = "given up" if status is None else "to be repeated" if status is Status.QUEUED else status.value
    _tell_trace(run, status, result)
    counters.ATTEMPTS.labels(run.job.worker_id, result.replace(" ", "_")).inc()
    _log.info(
        "An attempt of %s is %s after %d ms.",
        run.job.worker_id,
        result,
        run.log.elapsed_ms,
        extra={"job_id": run.job.id, "tenant_id": run.job.tenant_id, "attempt": run.job.attempt},
    )


def report_killed(connection: Connection, job_id: str, *, stop: Stop | None, began_ns: int) -> None:
    """Tell, in the place of a process that was killed, of the span of its run; once that is written off."""
    if tracing.can_report() and (job := runs.show(connection, job_id)) is not None:
        # Whether the attempt was given back is in its status; its number is not known here.
        about = {name: value for name, value in tracing.describe(job).items() if name != "ava.attempt"}
        tracing.report_killed(
            "run",
            Kind.CONSUMER,
            parent=job.traceparent,
            began_ns=began_ns,
            about=about | {"ava.job.status": job.status.value},
            reason="lost" if stop is None else f"{stop.value}, killed",
        )


def _tell_trace(run: Run, status: Status | None, result: str) -> None:
    run.span.set_attribute("ava.job.status", "" if status is None else status.value)
    if status is not Status.COMPLETED:
        run.span.record_failure(result)
