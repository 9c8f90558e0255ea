"""Traces of jobs, from the request that made one to its webhooks, where OpenTelemetry's settings name a collector.

This module alone knows OpenTelemetry, and imports it only where traces are wanted; everywhere else each function here
is one `if`. No payload, no error's text and no secret is ever an attribute.

A job's request is the parent of all that follows from it: its row keeps that context, since hours may pass in between.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ava.domain.job import Job
from ava.settings import Settings
from ava.version import VERSION

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = [
    "NOTHING",
    "Kind",
    "Span",
    "begin",
    "complain",
    "current",
    "describe",
    "is_on",
    "of_jobs",
    "preload",
    "start",
    "stop",
]

_log = logging.getLogger(__name__)

#: The one way of OpenTelemetry's to send traces that is spoken here.
_PROTOCOL = "http/protobuf"
#: Seconds that the last spans of a process get to be sent.
_FLUSH_SECONDS = 1.5
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

    def note(self, name: str, value: str | int) -> None:
        """Add what is known of it."""

    def fail(self, reason: str) -> None:
        """Say that it went wrong, in a word or two of ours."""

    def end(self) -> None:
        """It is over; the first time counts."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.fail(kind.__name__)
        self.end()


#: The span where nothing is traced.
NOTHING = Span()
#: Set from `start` to `stop`.
_tracer: _Tracer | None = None


def is_on() -> bool:
    """Whether this process traces."""
    return _tracer is not None


def begin(
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
    return _tracer.begin(name, kind, parent, state, began_ns, about)


def of_jobs(name: str, kind: Kind, jobs: Sequence[Job]) -> AbstractContextManager[object]:
    """A span for each job's trace of what is done for all of them at once."""
    return nullcontext() if _tracer is None else _together(name, kind, jobs)


@contextmanager
def _together(name: str, kind: Kind, jobs: Sequence[Job]) -> Iterator[None]:
    spans = [
        begin(name, kind, parent=job.traceparent, about=describe(job)) for job in jobs if job.traceparent is not None
    ]
    try:
        yield
    except BaseException as error:
        for span in spans:
            span.fail(type(error).__name__)
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


def complain(settings: Settings) -> None:
    """Say so where traces are wanted and cannot be sent; once, in the process that starts the others."""
    if settings.traces and (reason := _hindrance(settings)) is not None:
        _log.warning("No traces are sent: %s.", reason)


def preload(settings: Settings) -> None:
    """Import what tracing needs, so that the processes that are forked from here share it."""
    if settings.traces and _hindrance(settings) is None:
        _import()


def start(settings: Settings, kind: str) -> None:
    """Begin to trace this process, if that is wanted and can be; after the fork, for what sends the spans is a thread.

    `kind` is which of our processes it is. A collector that is away holds nobody up: spans wait, and are then dropped.
    """
    global _tracer  # noqa: PLW0603 - like a logger, it is the process's own
    if not settings.traces or _hindrance(settings) is not None or _tracer is not None:
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        # Signals are for the threads that there are; the one that is started here inherits that it hears none.
        _tracer = _Tracer(kind)
    except Exception:
        _log.exception("Tracing cannot be set up, and is left out.")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def stop() -> None:
    """Send what is left, in so far as that is soon done, and trace no more."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.close()


def _import() -> None:
    import opentelemetry.exporter.otlp.proto.http.trace_exporter
    import opentelemetry.sdk.trace.export  # noqa: F401


class _Tracer:
    """OpenTelemetry, set up for one process."""

    def __init__(self, kind: str) -> None:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._context, self._trace = context, trace
        self._propagator = TraceContextTextMapPropagator()
        self._provider = _make_provider(kind)
        # What handlers use of OpenTelemetry joins, unless somebody has set it up before us.
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self._provider)
        self._tracer = self._provider.get_tracer("ava", VERSION)

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: Span | str | None,
        state: str,
        began_ns: int | None,
        about: Mapping[str, str | int],
    ) -> Span:
        if isinstance(parent, _TracedSpan):
            within = parent.within
        else:
            # An empty context, and not the current one: this is nobody's child but who is named.
            within = self._context.Context()
            if isinstance(parent, str):
                within = self._propagator.extract({"traceparent": parent, "tracestate": state}, context=within)
        span = self._tracer.start_span(
            name, context=within, kind=self._trace.SpanKind[kind.value], attributes=about,
            start_time=began_ns,
        )  # fmt: skip
        return _TracedSpan(span, self._trace.set_span_in_context(span, within))

    def current(self) -> str | None:
        return _text_of(self._trace.get_current_span())

    def close(self) -> None:
        # The library's own patience is half a minute.
        ending = threading.Thread(target=self._provider.shutdown, name="ava-traces-end", daemon=True)
        ending.start()
        ending.join(_FLUSH_SECONDS)


class _TracedSpan(Span):
    def __init__(self, span: trace.Span, within: Context) -> None:
        self._span = span
        self.within = within
        self.traceparent = _text_of(span)
        self._token: Any = None

    def note(self, name: str, value: str | int) -> None:
        self._span.set_attribute(name, value)

    def fail(self, reason: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_status(StatusCode.ERROR, reason)

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()

    def __enter__(self) -> Span:
        from opentelemetry import context

        self._token = context.attach(self.within)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        from opentelemetry import context

        context.detach(self._token)
        super().__exit__(kind, *rest)


def _text_of(span: trace.Span) -> str | None:
    of = span.get_span_context()
    return f"00-{of.trace_id:032x}-{of.span_id:016x}-{of.trace_flags:02x}" if of.is_valid else None


def _make_provider(kind: str) -> TracerProvider:
    """A provider that listens to OpenTelemetry's own settings: the service's name, sampler, limits, headers."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = {
        "service.name": f"ava-{kind}",
        "service.version": VERSION,
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_make_exporter()))
    return provider


def _make_exporter() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http import trace_exporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    # It says every few seconds that the collector is away; we say so once.
    logging.getLogger(trace_exporter.__name__).setLevel(logging.CRITICAL)

    class Exporter(trace_exporter.OTLPSpanExporter):
        is_away = False

        def export(self, spans: Any) -> SpanExportResult:
            result = super().export(spans)
            if (is_away := result is not SpanExportResult.SUCCESS) is not self.is_away:
                self.is_away = is_away
                _log.warning("The traces' collector %s.", "takes none; spans are dropped" if is_away else "is back")
            return result

    return Exporter()
