"""How often and after which delays failed attempts are repeated: what clients send and get back."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, post_load, validates_schema

from ava.api.http.fields import Number, WholeNumber
from ava.api.http.strict import Strict
from ava.domain.jobs.retry import MAX_DELAYS, MAX_RETRIES, MAX_SECONDS, Retry, text

_DELAYS = "0 to 31,622,400 seconds"


class _Within(Number):
    """A JSON number from one bound to another; `"2"` and `true` are refused."""

    def __init__(self, minimum: float, maximum: float, description: str) -> None:
        super().__init__(metadata={"minimum": minimum, "maximum": maximum, "description": description})
        self._bounds = minimum, maximum

    def read(self, value: Any) -> float:
        low, high = self._bounds
        # A number that is not finite is within nothing.
        if type(value) not in (int, float) or not low <= value <= high:
            raise ValidationError(f"It must be a number from {low:,} to {high:,}.")
        return float(value)


class RetryDelaysBody(Strict):
    """How often a failed attempt is repeated, and after which delays: `delays`, or `first`, `factor` and `ceiling`."""

    max = WholeNumber(
        minimum=0, maximum=MAX_RETRIES, required=True, metadata={"description": "Attempts after the first."}
    )
    delays = fields.List(
        _Within(0, MAX_SECONDS, _DELAYS),
        metadata={
            "minItems": 1,
            "maxItems": MAX_DELAYS,
            "description": "The seconds before each further attempt; the last one repeats.",
        },
    )
    first = _Within(0, MAX_SECONDS, "Without `delays`: the first delay in seconds (1).")
    factor = _Within(1, 1000, "Without `delays`: by how much each further one is longer (2).")
    ceiling = _Within(0, MAX_SECONDS, "Without `delays`: the longest one in seconds (3600).")
    jitter = _Within(0, 1, "By how large a part of it each is spread, in both directions (0.2).")

    @validates_schema
    def _check(self, values: dict[str, Any], **_: Any) -> None:
        if "delays" in values and (both := {"first", "factor", "ceiling"} & values.keys()):
            raise ValidationError("It must not be sent together with delays.", min(both))
        if "delays" in values and not 1 <= len(values["delays"]) <= MAX_DELAYS:
            raise ValidationError(f"It must have 1 to {MAX_DELAYS} numbers.", "delays")

    @post_load
    def _retry(self, values: dict[str, Any], **_: Any) -> Retry:
        return Retry(**values)


def write_retry(given: Retry | None) -> str:
    """Returns retries as JSON text."""
    return text(given) or "null"
