"""Send spans with OpenTelemetry. Only this module imports it, and it is imported only if traces are sent."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ava.telemetry.span import Kind, Span
from ava.version import VERSION, build

_log = logging.getLogger(__name__)


class Tracer:
    """OpenTelemetry in one process."""

    def __init__(self, kind: str, *, is_brief: bool = False) -> None:
        """`is_brief`: send each span as it ends, for a tracer of one span."""
        self._propagator = TraceContextTextMapPropagator()
        self._provider = _make_provider(kind, is_brief=is_brief)
        # Handlers' spans join these traces, unless a handler module has already set up OpenTelemetry.
        if not is_brief and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self._provider)
        self._tracer = self._provider.get_tracer("ava", VERSION)

    def start_span(
        self,
        name: str,
        kind: Kind,
        parent: Span | str | None,
        state: str,
        began_ns: int | None,
        about: Mapping[str, str | int],
    ) -> Span:
        """See `ava.telemetry.tracing.start_span`."""
        if isinstance(parent, _TracedSpan):
            within = parent.within
        else:
            # An empty context, not the current one: the span's only parent is the named one.
            within = context.Context()
            if isinstance(parent, str):
                within = self._propagator.extract({"traceparent": parent, "tracestate": state}, context=within)
        span = self._tracer.start_span(
            name, context=within, kind=trace.SpanKind[kind.value], attributes=about,
            start_time=began_ns,
        )  # fmt: skip
        return _TracedSpan(span, trace.set_span_in_context(span, within))

    def current(self) -> str | None:
        """See `ava.telemetry.tracing.current`."""
        return _traceparent_of(trace.get_current_span())

    def close(self, seconds: float) -> None:
        """Send the remaining spans within `seconds`."""
        # The library's timeout is 30 s.
        ending = threading.Thread(target=self._provider.shutdown, name="ava-traces-end", daemon=True)
        ending.start()
        ending.join(seconds)


class _TracedSpan(Span):
    def __init__(self, span: trace.Span, within: context.Context) -> None:
        self._span = span
        self.within = within
        self.traceparent = _traceparent_of(span)
        self._token: Any = None

    def set_attribute(self, name: str, value: str | int) -> None:
        self._span.set_attribute(name, value)

    def record_failure(self, reason: str) -> None:
        self._span.set_status(trace.StatusCode.ERROR, reason)

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()

    def __enter__(self) -> Span:
        self._token = context.attach(self.within)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        context.detach(self._token)
        super().__exit__(kind, *rest)


def _traceparent_of(span: trace.Span) -> str | None:
    of = span.get_span_context()
    return f"00-{of.trace_id:032x}-{of.span_id:016x}-{of.trace_flags:02x}" if of.is_valid else None


def _make_provider(kind: str, *, is_brief: bool) -> TracerProvider:
    """Return a provider that follows OpenTelemetry's own settings: service name, sampler, limits, headers."""
    ours = {
        "service.name": f"ava-{kind}",
        "service.version": build(),
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = _Exporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter) if is_brief else BatchSpanProcessor(exporter))
    return provider


class _Exporter(trace_exporter.OTLPSpanExporter):
    """Logs once that the collector is unreachable, and once that it is back; the library logs every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._is_failing = False
        logging.getLogger(trace_exporter.__name__).setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if (is_failing := result is not SpanExportResult.SUCCESS) is not self._is_failing:
            self._is_failing = is_failing
            _log.warning(
                "Span export %s",
                "failed: the collector takes no spans, they are dropped" if is_failing else "works again",
            )
        return result
