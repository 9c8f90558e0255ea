"""Traces of jobs, from the request that made one to its webhooks, where OpenTelemetry's settings name a collector.

`ava.otel` alone knows OpenTelemetry, and is imported only where traces are wanted; elsewhere each function here is one
`if`. No payload, no error's text and no secret is ever an attribute.

A job's request is the parent of all that follows from it: its row keeps that context, since hours may pass in between.
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
from enum import StrEnum
from typing import TYPE_CHECKING

from ava.domain.job import Job
from ava.settings import Settings

if TYPE_CHECKING:
    from ava.otel import Tracer

__all__ = [
    "NOTHING",
    "Kind",
    "Span",
    "can_report",
    "current",
    "describe",
    "is_on",
    "of_jobs",
    "preload",
    "report_killed",
    "start",
    "start_span",
    "stop",
    "warn_if_unusable",
]

_log = logging.getLogger(__name__)

#: The one way of OpenTelemetry's to send traces that is spoken here.
_PROTOCOL = "http/protobuf"
#: Seconds that the last spans of a process get to be sent.
_FLUSH_SECONDS = 1.5
#: Spans that may be under way at once from a process that traces nothing itself.
_MOST_TOLD = 20
_PARTS = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
_NO_MORE: Mapping[str, str | int] = {}


class Kind(StrEnum):
    """What a span is of, as OpenTelemetry names it."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class Span:
    """A stretch of a trace; this one is of none, and takes whatever is said of it. Within `with` it is the current."""

    #: The context to be given to others, as W3C's header has it; None where nothing is traced.
    traceparent: str | None = None

    def set_attribute(self, name: str, value: str | int) -> None:
        """Add what is known of it."""

    def record_failure(self, reason: str) -> None:
        """Say that it went wrong, in a word or two of ours."""

    def end(self) -> None:
        """It is over; the first time counts."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.record_failure(kind.__name__)
        self.end()


#: The span where nothing is traced.
NOTHING = Span()
#: Set from `start` to `stop`.
_tracer: Tracer | None = None
#: Whether `tell` may; inherited by what is forked.
_may_tell = False
_telling: list[threading.Thread] = []


def is_on() -> bool:
    """Whether this process traces."""
    return _tracer is not None


def start_span(
    name: str,
    kind: Kind = Kind.INTERNAL,
    *,
    parent: Span | str | None,
    state: str = "",
    began_ns: int | None = None,
    about: Mapping[str, str | int] = _NO_MORE,
) -> Span:
    """Begin a span. `parent`: a span of this process, or a context as text, which is ignored where it is malformed.

    `state`: W3C's `tracestate`, which came with the context. `began_ns`: when, in Unix nanoseconds, if before now.
    `about`: what is known of it.
    """
    if _tracer is None:
        return NOTHING
    return _tracer.start_span(name, kind, parent, state, began_ns, about)


def of_jobs(name: str, kind: Kind, jobs: Sequence[Job]) -> AbstractContextManager[object]:
    """A span for each job's trace of what is done for all of them at once."""
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
    """The context of the current span, whoever began it; None where nothing is traced."""
    return None if _tracer is None else _tracer.current()


def describe(job: Job) -> dict[str, str | int]:
    """What spans tell of a job."""
    return {
        "ava.job.id": job.id,
        "ava.worker.id": job.worker_id,
        "ava.tenant.id": job.tenant_id,
        "ava.queue": job.queue,
        "ava.attempt": job.attempt,
    }


def _hindrance(settings: Settings) -> str | None:
    if settings.traces != _PROTOCOL:
        return f"OTEL_EXPORTER_OTLP_PROTOCOL is not {_PROTOCOL}, and nothing else is spoken here"
    try:
        found = [importlib.util.find_spec(name) for name in _PARTS]
    except ImportError:
        found = [None]
    return None if all(found) else "OpenTelemetry is not installed; install it with `pip install 'ava-jobs[otel]'`"


def warn_if_unusable(settings: Settings) -> None:
    """Say so where traces are wanted and cannot be sent; once, in the process that starts the others."""
    if settings.traces and (reason := _hindrance(settings)) is not None:
        _log.warning("No traces are sent: %s.", reason)


def preload(settings: Settings) -> None:
    """Import what tracing needs, so that the processes that are forked from here share it; and let this one `tell`."""
    global _may_tell  # noqa: PLW0603
    if settings.traces and _hindrance(settings) is None:
        try:
            importlib.import_module("ava.otel")
            _may_tell = True
        except Exception:
            _log.exception("Tracing cannot be set up, and is left out.")


def can_report() -> bool:
    """Whether `tell` would do anything."""
    return _may_tell


def report_killed(
    name: str, kind: Kind, *, parent: str | None, began_ns: int, about: Mapping[str, str | int], reason: str
) -> None:
    """Tell of one span that went wrong, in the place of a process that cannot any more; nobody waits for it.

    For a process that forks others, and so keeps no tracer: its thread and its connection would not survive that.
    """
    _telling[:] = [thread for thread in _telling if thread.is_alive()]
    if not _may_tell or len(_telling) >= _MOST_TOLD:
        return

    def act() -> None:
        try:
            from ava.otel import Tracer

            tracer = Tracer("worker", is_brief=True)
            span = tracer.start_span(name, kind, parent, "", began_ns, about)
            span.record_failure(reason)
            span.end()
            tracer.close(_FLUSH_SECONDS)
        except Exception:
            _log.exception("A span could not be told.")

    thread = threading.Thread(target=act, name="ava-traces-tell", daemon=True)
    thread.start()
    _telling.append(thread)


def start(settings: Settings, kind: str) -> None:
    """Begin to trace this process, if that is wanted and can be; after the fork, for what sends the spans is a thread.

    `kind` is which of our processes it is. A collector that is away holds nobody up: spans wait, and are then dropped.
    """
    global _tracer  # noqa: PLW0603 - like a logger, it is the process's own
    if not settings.traces or _hindrance(settings) is not None or _tracer is not None:
        return
    # Those of the process that forked this one.
    _telling.clear()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        # Signals are for the threads that there are; the one that is started here inherits that it hears none.
        from ava.otel import Tracer

        _tracer = Tracer(kind)
    except Exception:
        _log.exception("Tracing cannot be set up, and is left out.")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def stop() -> None:
    """Send what is left, in so far as that is soon done, and trace no more."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.close(_FLUSH_SECONDS)
    deadline = time.monotonic() + _FLUSH_SECONDS
    for thread in _telling:
        thread.join(max(0.0, deadline - time.monotonic()))
