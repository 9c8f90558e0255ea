"""Webhook endpoints, the deliveries to them, and what follows from each attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from ava.domain.record import format_time

__all__ = [
    "RETRY_SCHEDULE_SECONDS",
    "Attempt",
    "Delivery",
    "DeliveryStatus",
    "Endpoint",
    "EndpointHealth",
    "EndpointStatus",
    "Verdict",
    "describe_attempt",
    "health_of",
    "judge",
    "next_concurrency",
    "pause_seconds",
    "retry_after_seconds",
]

#: Seconds after the first, second … failure until the next attempt; after one more failure it is abandoned.
RETRY_SCHEDULE_SECONDS = (5.0, 30.0, 300.0, 1800.0, 7200.0)
#: The longest `Retry-After` that is honoured, in seconds.
LONGEST_RETRY_AFTER_SECONDS = 24 * 3600.0
#: How many attempts go to one endpoint at the same time, at most.
MOST_CONCURRENT = 32
#: The longest pause of an endpoint that does not answer, in seconds.
LONGEST_PAUSE_SECONDS = 60.0
_HTTP_GONE = 410


class EndpointStatus(StrEnum):
    """How an endpoint stands."""

    ACTIVE = "active"
    #: A delivery was abandoned, and none has succeeded since. It is still sent to.
    DEGRADED = "degraded"
    #: Nothing is sent: the client wants it so, or the endpoint answered 410 Gone.
    DISABLED = "disabled"


class EndpointHealth(StrEnum):
    """How an endpoint has behaved lately; the order is that in which they are served."""

    #: It has answered, and not been silent since.
    ANSWERING = "answering"
    #: Nothing is known of it, or nothing good.
    UNKNOWN = "unknown"
    #: It was silent the last time.
    SILENT = "silent"


def health_of(*, concurrency: int, timeouts: int) -> EndpointHealth:
    """How an endpoint with this concurrency has behaved that was silent so many times in a row."""
    if timeouts > 0:
        return EndpointHealth.SILENT
    return EndpointHealth.ANSWERING if concurrency > 1 else EndpointHealth.UNKNOWN


class DeliveryStatus(StrEnum):
    """How a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    ABANDONED = "abandoned"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where events are sent to. Its secret stays in the store."""

    id: str
    url: str
    #: The events that it is told of.
    events: list[str]
    status: EndpointStatus
    created_at: datetime
    updated_at: datetime
    #: `client` or `gone`, where it is disabled.
    disabled_reason: str | None
    #: Until when the secret before the present one is also signed with.
    previous_secret_until: datetime | None


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint."""

    id: str
    webhook_id: str
    event_id: str
    event_type: str
    job_id: str | None
    status: DeliveryStatus
    created_at: datetime
    completed_at: datetime | None
    #: When it is tried next, while it is pending.
    next_attempt_at: datetime | None
    #: The attempts so far, oldest first, as JSON text.
    attempts_json: str


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one attempt brought."""

    #: The status of the answer; None where there was none.
    status: int | None
    #: Milliseconds that it took.
    elapsed_ms: int
    #: The beginning of the answer's body.
    answer: str
    #: Why there was no answer, or why this one does not count, in a sentence.
    error: str | None
    is_timeout: bool = False
    #: Seconds that the endpoint asks us to wait.
    retry_after_seconds: float | None = None

    @property
    def is_success(self) -> bool:
        """Whether the endpoint has taken the event."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the endpoint wants nothing ever again."""
        return self.status == _HTTP_GONE


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What follows from an attempt."""

    status: DeliveryStatus
    #: Seconds until the next attempt, while it is pending.
    retry_in_seconds: float | None = None


def judge(attempt: Attempt, *, failures: int, chance: float, scale: float = 1.0) -> Verdict:
    """Decide what follows from an attempt that came after so many `failures`.

    `chance` (0 to 1) spreads the ladder by ±10 %; `scale` makes it shorter, for tests. A `Retry-After` is the
    endpoint's own clock, and is never made shorter.
    """
    if attempt.is_success:
        return Verdict(status=DeliveryStatus.DELIVERED)
    if attempt.is_gone or failures >= len(RETRY_SCHEDULE_SECONDS):
        return Verdict(status=DeliveryStatus.ABANDONED)
    seconds = RETRY_SCHEDULE_SECONDS[failures] * (0.9 + 0.2 * chance) * scale
    return Verdict(status=DeliveryStatus.PENDING, retry_in_seconds=max(seconds, attempt.retry_after_seconds or 0.0))


def next_concurrency(concurrency: int, attempt: Attempt) -> int:
    """How many attempts at once an endpoint gets after this one.

    One that answers in time gets more and more; one that does not, or asks us to wait, is back at one. So an endpoint
    that hangs holds one connection, however many events wait for it.
    """
    if attempt.is_timeout or attempt.retry_after_seconds:
        return 1
    return min(2 * concurrency, MOST_CONCURRENT) if attempt.is_success else concurrency


def pause_seconds(*, timeouts: int, scale: float = 1.0) -> float:
    """Seconds for which an endpoint that was silent so many times in a row is left alone."""
    return 0.0 if timeouts == 0 else min(LONGEST_PAUSE_SECONDS, 2.0**timeouts) * scale


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """The seconds that a `Retry-After` asks for, of either form; None where it asks for nothing that makes sense."""
    text = (header or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_RETRY_AFTER_SECONDS) or None
    try:
        seconds = (parsedate_to_datetime(text) - now).total_seconds()
    except (ValueError, TypeError):
        # It is no date, or one without a zone.
        return None
    return min(seconds, LONGEST_RETRY_AFTER_SECONDS) if seconds > 0 else None


def describe_attempt(attempt: Attempt, at: datetime, number: int) -> dict[str, Any]:
    """An attempt as it is kept and shown."""
    return {
        "number": number,
        "at": format_time(at),
        "status": attempt.status,
        "duration_ms": attempt.elapsed_ms,
        "answer": attempt.answer,
        "error": attempt.error,
    }
