"""Webhook endpoints, and the consequences of each request's result for its delivery."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from ava.domain.delivery import DeliveryStatus
from ava.domain.pause import Pause
from ava.domain.record import about, format_time

#: Seconds from the first, second … failed request of a delivery to the next one. One more failure abandons it.
RETRY_SCHEDULE_SECONDS = (5.0, 30.0, 300.0, 1800.0, 7200.0)
MAX_RETRIES = len(RETRY_SCHEDULE_SECONDS)
#: Max honoured `Retry-After` in seconds.
LONGEST_RETRY_AFTER_SECONDS = 24 * 3600.0
MAX_CONCURRENT = 32
#: Max pause in seconds of an endpoint that times out.
LONGEST_PAUSE_SECONDS = 60.0
_HTTP_GONE = 410
#: Why the system pauses an endpoint.
GONE_REASON = "The endpoint responded 410 (Gone)."


class EndpointStatus(StrEnum):
    """The status of an endpoint."""

    ACTIVE = "active"
    #: A delivery was abandoned and none has succeeded since. Requests are still sent, unless it is paused.
    DEGRADED = "degraded"


class EndpointHealth(StrEnum):
    """The recent responses of an endpoint. Endpoints are served in the order of these values."""

    #: It accepted an event, and no request has timed out since.
    ANSWERING = "answering"
    #: It has accepted no event yet, or none since the last timeout.
    UNKNOWN = "unknown"
    #: The last request timed out.
    SILENT = "silent"


def health_of(*, concurrency: int, timeouts: int) -> EndpointHealth:
    """Return the health of an endpoint with this concurrency and this number of consecutive timeouts."""
    if timeouts > 0:
        return EndpointHealth.SILENT
    return EndpointHealth.ANSWERING if concurrency > 1 else EndpointHealth.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An endpoint of events. Its secret stays in the store."""

    id: str = field(metadata={"prefix": "wh"})
    url: str
    events: list[str]
    status: EndpointStatus = field(
        metadata=about("`degraded`: a delivery was abandoned and none has succeeded since; events are still sent.")
    )
    created_at: datetime
    updated_at: datetime
    paused: Pause | None
    previous_secret_until: datetime | None = field(
        metadata=about("Until then, requests are also signed with the previous secret; null: they are not.")
    )
    roots_only: bool = field(metadata=about("True if it receives no events of jobs that a handler created."))


@dataclass(frozen=True, kw_only=True)
class RequestResult:
    """The result of one request to an endpoint."""

    status: int | None
    elapsed_ms: int
    response_body: str
    #: Why there is no response, or the response is not a success, in one sentence.
    error: str | None
    is_timeout: bool = False
    retry_after_seconds: float | None = None

    @property
    def is_success(self) -> bool:
        """Whether the endpoint accepted the event."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the endpoint asked for no further requests."""
        return self.status == _HTTP_GONE


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The consequence of a request's result."""

    status: DeliveryStatus
    #: Seconds until the next request if the delivery stays pending.
    retry_in_seconds: float | None = None


def judge(result: RequestResult, *, failures: int, draw: float, scale: float = 1.0) -> Verdict:
    """Decide about a delivery after a request, with `failures` earlier failures.

    `draw` (0 to 1) varies the retry schedule by ±10 %. `scale` shortens the schedule in tests, but never a
    `Retry-After`, which is the endpoint's real time.
    """
    if result.is_success:
        return Verdict(status=DeliveryStatus.DELIVERED)
    if result.is_gone or failures >= MAX_RETRIES:
        return Verdict(status=DeliveryStatus.ABANDONED)
    seconds = RETRY_SCHEDULE_SECONDS[failures] * (0.9 + 0.2 * draw) * scale
    return Verdict(status=DeliveryStatus.PENDING, retry_in_seconds=max(seconds, result.retry_after_seconds or 0.0))


def next_concurrency(concurrency: int, result: RequestResult) -> int:
    """Return the max concurrent requests to an endpoint after this result.

    Each success doubles it. A timeout or a `Retry-After` resets it to 1, so that a hanging endpoint occupies a single
    connection, however many events wait for it.
    """
    if result.is_timeout or result.retry_after_seconds:
        return 1
    return min(2 * concurrency, MAX_CONCURRENT) if result.is_success else concurrency


def pause_seconds(*, timeouts: int, scale: float = 1.0) -> float:
    """Return the pause in seconds of an endpoint with this number of consecutive timeouts."""
    return 0.0 if timeouts == 0 else min(LONGEST_PAUSE_SECONDS, 2.0**timeouts) * scale


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Return the seconds of a `Retry-After` in either form; None if it is absent, invalid or past."""
    value = (header or "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_RETRY_AFTER_SECONDS) or None
    try:
        seconds = (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        # Not a date, a date without a time zone, or out of range.
        return None
    return min(seconds, LONGEST_RETRY_AFTER_SECONDS) if seconds > 0 else None


def describe_request(result: RequestResult, sent_at: datetime, number: int) -> dict[str, Any]:
    """Return a request as stored and shown in `attempts` of its delivery."""
    return {
        "number": number,
        "at": format_time(sent_at),
        "status": result.status,
        "duration_ms": result.elapsed_ms,
        "answer": result.response_body,
        "error": result.error,
    }
