"""Traces of jobs, from the triggering request to the webhooks, if OpenTelemetry's settings name a collector.

Only `ava.telemetry.otel` imports OpenTelemetry, and it is imported only if traces are sent; otherwise each function
here costs one `if`. Payloads, error messages and secrets are never attributes.

The request that triggers a job is the parent of the job's spans. The job's row stores the request's context, because
hours may pass in between.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from ava.domain.jobs.job import Job
from ava.settings import Settings
from ava.telemetry.span import NOTHING, Kind, Span

if TYPE_CHECKING:
    from ava.telemetry.otel import Tracer

_log = logging.getLogger(__name__)

#: The only supported protocol of OpenTelemetry.
_PROTOCOL = "http/protobuf"
#: Maximum seconds for which an ending process sends its last spans.
_FLUSH_SECONDS = 1.5
#: Maximum reports of killed processes that one process sends concurrently.
_MAX_REPORTS = 20
_PARTS = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
_NO_ATTRIBUTES: Mapping[str, str | int] = {}


#: Set between `start` and `stop`.
_tracer: Tracer | None = None
#: Whether `report_killed` sends anything; forked processes inherit it.
_can_report = False
_reports: list[threading.Thread] = []


def is_on() -> bool:
    return _tracer is not None


def start_span(
    name: str,
    kind: Kind = Kind.INTERNAL,
    *,
    parent: Span | str | None,
    state: str = "",
    began_ns: int | None = None,
    about: Mapping[str, str | int] = _NO_ATTRIBUTES,
) -> Span:
    """Start a span. `parent`: a span of this process, or a context as a string, which is ignored if malformed.

    `state`: the W3C `tracestate` that came with the context. `began_ns`: the start in Unix nanoseconds; None: now.
    `about`: its attributes.
    """
    if _tracer is None:
        return NOTHING
    return _tracer.start_span(name, kind, parent, state, began_ns, about)


def of_jobs(name: str, kind: Kind, jobs: Sequence[Job]) -> AbstractContextManager[object]:
    """Return a context with one span in each job's trace, for an operation on all these jobs."""
    return nullcontext() if _tracer is None else _together(name, kind, jobs)


@contextmanager
def _together(name: str, kind: Kind, jobs: Sequence[Job]) -> Iterator[None]:
    spans = [
        start_span(name, kind, parent=job.traceparent, about=describe(job))
        for job in jobs
        if job.traceparent is not None
    ]
    try:
        yield
    except BaseException as error:
        for span in spans:
            span.record_failure(type(error).__name__)
        raise
    finally:
        for span in spans:
            span.end()


def current() -> str | None:
    """Return the context of the current span, possibly started by a library; None if nothing is traced."""
    return None if _tracer is None else _tracer.current()


def describe(job: Job) -> dict[str, str | int]:
    return {
        "ava.job.id": job.id,
        "ava.worker.id": job.worker_id,
        "ava.tenant.id": job.tenant_id,
        "ava.queue": job.queue,
        "ava.attempt": job.attempt,
    }


def _obstacle(settings: Settings) -> str | None:
    """Return why the traces that the settings request cannot be sent; None if they can."""
    if settings.traces != _PROTOCOL:
        return f"OTEL_EXPORTER_OTLP_PROTOCOL is not {_PROTOCOL}, the only supported protocol"
    try:
        found = [importlib.util.find_spec(name) for name in _PARTS]
    except ImportError:
        found = [None]
    return None if all(found) else "OpenTelemetry is not installed; install it with `pip install 'ava-jobs[otel]'`"


def warn_if_unusable(settings: Settings) -> None:
    """Log a warning if the settings request traces that cannot be sent. For the process that starts the others."""
    if settings.traces and (reason := _obstacle(settings)) is not None:
        _log.warning("Tracing is off: %s.", reason)


def preload(settings: Settings) -> None:
    """Import the tracing modules, so that forked processes share their memory, and enable `report_killed`."""
    global _can_report  # noqa: PLW0603
    if settings.traces and _obstacle(settings) is None:
        try:
            importlib.import_module("ava.telemetry.otel")
            _can_report = True
        except Exception:
            _log.exception("Tracing is off: it cannot be set up")


def can_report() -> bool:
    """Return True if `report_killed` sends spans."""
    return _can_report


def report_killed(
    name: str, kind: Kind, *, parent: str | None, began_ns: int, about: Mapping[str, str | int], reason: str
) -> None:
    """Send the failed span of a killed process in a thread, without waiting for it.

    This process forks others and therefore has no tracer, whose thread and connection would not survive a fork.
    """
    _reports[:] = [thread for thread in _reports if thread.is_alive()]
    if not _can_report or len(_reports) >= _MAX_REPORTS:
        return

    def act() -> None:
        try:
            from ava.telemetry.otel import Tracer

            tracer = Tracer("worker", is_brief=True)
            span = tracer.start_span(name, kind, parent, "", began_ns, about)
            span.record_failure(reason)
            span.end()
            tracer.close(_FLUSH_SECONDS)
        except Exception:
            _log.exception("Span export failed")

    thread = threading.Thread(target=act, name="ava-traces-report", daemon=True)
    thread.start()
    _reports.append(thread)


def start(settings: Settings, kind: str) -> None:
    """Start tracing this process if the settings request it. Call after the fork, because a thread sends the spans.

    `kind`: the process kind. An unreachable collector blocks nothing: spans wait in memory and are then dropped.
    """
    global _tracer  # noqa: PLW0603 - like a logger, it is the process's own
    if not settings.traces or _obstacle(settings) is not None or _tracer is not None:
        return
    # The reports belong to the process that forked this one.
    _reports.clear()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        # The tracer's thread inherits the mask, so that it receives no signal.
        from ava.telemetry.otel import Tracer

        _tracer = Tracer(kind)
    except Exception:
        _log.exception("Tracing is off: it cannot be set up")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def stop() -> None:
    """Stop tracing; send the remaining spans within `_FLUSH_SECONDS`."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.close(_FLUSH_SECONDS)
    deadline = time.monotonic() + _FLUSH_SECONDS
    for thread in _reports:
        thread.join(max(0.0, deadline - time.monotonic()))
