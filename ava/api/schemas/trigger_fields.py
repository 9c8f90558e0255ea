"""Fields that several triggers share (start time, expiry, retry delays, keys), and retries of jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from ava.api.http.fields import (
    STORABLE,
    BoundedNumber,
    BoundedString,
    Choice,
    Instant,
    JsonObject,
    WholeNumber,
)
from ava.api.http.strict import Strict
from ava.domain.jobs import priority, retry
from ava.domain.jobs.graphs import RetryFrom
from ava.domain.jobs.retry import MAX_DELAYS, MAX_RETRIES, MAX_SECONDS, Retry
from ava.domain.jobs.trigger_options import (
    LONGEST_DEBOUNCE_SECONDS,
    LONGEST_KEY,
    LONGEST_WAIT_SECONDS,
    MAX_EXPIRY_SECONDS,
    Debounce,
    Dedupe,
    DedupeMode,
    Keep,
)
from ava.domain.limits.table import DAYS_AHEAD

_KEY = "The deduplication key of the job, per tenant and worker."


class DedupeBody(Strict):
    """Deduplication: at most one unfinished job per worker and key."""

    key = BoundedString(LONGEST_KEY, characters=STORABLE, required=True, metadata={"description": _KEY})
    mode = Choice(
        DedupeMode,
        load_default=DedupeMode.RETURN,
        metadata={
            "description": "If an earlier job with the key is not final: `return` returns it, `replace` cancels it "
            "while it is queued, `refuse` is an error. A job that runs, or waits while a job below it runs, cannot be "
            "replaced: 409."
        },
    )

    @post_load
    def _dedupe(self, values: dict[str, Any], **_: Any) -> Dedupe:
        return Dedupe(**values)


class DebounceBody(Strict):
    """Debounce: one job per burst of triggers."""

    key = BoundedString(LONGEST_KEY, characters=STORABLE, required=True, metadata={"description": _KEY})
    seconds = WholeNumber(
        minimum=1,
        maximum=LONGEST_DEBOUNCE_SECONDS,
        required=True,
        metadata={"description": "Seconds from the last trigger to the start."},
    )
    max_seconds = WholeNumber(
        minimum=1,
        maximum=LONGEST_WAIT_SECONDS,
        load_default=None,
        allow_none=True,
        metadata={
            "description": "Max seconds from the first trigger to the start, at least `seconds`. The value of the "
            "first trigger applies."
        },
    )
    keep = Choice(
        Keep,
        load_default=Keep.LAST,
        metadata={
            "description": "The trigger that determines the job's input, priority, tags, `trigger` and user: "
            "the first or the last."
        },
    )

    @post_load
    def _debounce(self, values: dict[str, Any], **_: Any) -> Debounce:
        if values["max_seconds"] is not None and values["max_seconds"] < values["seconds"]:
            raise ValidationError({"max_seconds": ["It must not be less than seconds."]})
        return Debounce(**values)


def dedupe_field() -> fields.Nested:
    """The field `dedupe` of a trigger."""
    return fields.Nested(DedupeBody(), load_default=None, allow_none=False)


def debounce_field() -> fields.Nested:
    """The field `debounce` of a trigger."""
    return fields.Nested(DebounceBody(), load_default=None, allow_none=False)


def refuse_two_rules(values: dict[str, Any]) -> None:
    """Raise `ValidationError` if a trigger has two rules for when its job is created or starts."""
    if values["debounce"] is None:
        return
    for name in ("dedupe", "scheduled_at"):
        if values[name] is not None:
            raise ValidationError({"debounce": [f"It must not be sent together with {name}."]})


class StartTime(Instant):
    """A job's start time, within the max time ahead."""

    def read(self, value: Any) -> datetime:
        timestamp = super().read(value)
        if timestamp - datetime.now(UTC) > timedelta(days=DAYS_AHEAD.value):
            raise ValidationError(DAYS_AHEAD.message(f"It must be at most {DAYS_AHEAD.value} days from now."))
        return timestamp


def expiry_field(description: str, **rest: Any) -> WholeNumber:
    """The field `expires_in_seconds`."""
    given = {"load_default": None, "allow_none": True} | rest
    return WholeNumber(minimum=1, maximum=MAX_EXPIRY_SECONDS, metadata={"description": description}, **given)


def refuse_two_expiries(values: dict[str, Any]) -> None:
    """Raise `ValidationError` if a trigger has two expiries, or its job would expire before its start time."""
    timestamp, date = values["start_before"], values["scheduled_at"]
    if timestamp is None:
        return
    for name in ("expires_in_seconds", "debounce"):
        if values[name] is not None:
            raise ValidationError({"start_before": [f"It must not be sent together with {name}."]})
    if date is not None and timestamp <= date:
        raise ValidationError({"start_before": ["It must be later than scheduled_at."]})


def _within(minimum: float, maximum: float, description: str) -> BoundedNumber:
    return BoundedNumber(minimum=minimum, maximum=maximum, metadata={"description": description})


class RetryDelaysBody(Strict):
    """Max retries of a failed attempt, and the delays: a list, or a growing backoff."""

    max = WholeNumber(
        minimum=0,
        maximum=MAX_RETRIES,
        required=True,
        metadata={"description": "Max number of attempts after the first."},
    )
    delays_seconds = fields.List(
        _within(0, MAX_SECONDS, "0 to 31,622,400 seconds"),
        validate=validate.Length(1, MAX_DELAYS, error=f"It must have 1 to {MAX_DELAYS} numbers."),
        metadata={"description": "Retry delays in seconds, one per attempt; the last one repeats."},
    )
    first_seconds = _within(0, MAX_SECONDS, "Without `delays_seconds`: the first delay (default 1).")
    factor = _within(1, 1000, "Without `delays_seconds`: the factor from one delay to the next (default 2).")
    max_delay_seconds = _within(0, MAX_SECONDS, "Without `delays_seconds`: the max delay (default 3600).")
    jitter = _within(0, 1, "Random jitter as a fraction of each delay, in both directions (default 0.2).")

    @validates_schema
    def _check(self, values: dict[str, Any], **_: Any) -> None:
        backoff = {"first_seconds", "factor", "max_delay_seconds"}
        if "delays_seconds" in values and (both := backoff & values.keys()):
            raise ValidationError("It must not be sent together with delays_seconds.", min(both))

    @post_load
    def _retry(self, values: dict[str, Any], **_: Any) -> Retry:
        return Retry(**values)


def write_retry(given: Retry | None) -> str:
    return retry.write(given) or "null"


class RetryBody(Strict):
    """Differences from the retried job."""

    from_ = Choice(
        RetryFrom,
        data_key="from",
        load_default=None,
        metadata={
            "description": "`failed`, for a bulk entry that did not complete: create new jobs for it and for each of "
            "its direct and indirect followers that did not complete, with the same edges. Completed entries are "
            "reused, not rerun."
        },
    )

    @validates_schema
    def _check_from(self, values: dict[str, Any], **_: Any) -> None:
        if values.get("from_") is None:
            return
        for name in ("input", "priority"):
            if values.get(name) is not None:
                raise ValidationError("It must not be sent together with from.", name)

    input = JsonObject(
        load_default=None,
        metadata={"description": "The input of the new job. Default: the input of the earlier job."},
    )
    priority = WholeNumber(
        minimum=priority.FIRST,
        maximum=priority.LAST,
        load_default=None,
        metadata={"description": "The priority of the new job. Default: the priority of the earlier job."},
    )
