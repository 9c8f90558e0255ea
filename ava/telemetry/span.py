"""A span of a trace, independent of OpenTelemetry."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """The kind of a span, by OpenTelemetry's names."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class Span:
    """A span that records nothing. Within `with` it is the current span."""

    #: The context to pass on, as the W3C header `traceparent`; None if nothing is traced.
    traceparent: str | None = None

    def set_attribute(self, name: str, value: str | int) -> None:
        """Set an attribute."""

    def record_failure(self, reason: str) -> None:
        """Mark the span as failed. `reason`: a word or two; never an error message, which may contain a payload."""

    def end(self) -> None:
        """End the span; a second call has no effect."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.record_failure(kind.__name__)
        self.end()


#: The span of a process that does not trace.
NOTHING = Span()
