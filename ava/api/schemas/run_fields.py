"""Fields of the requests about runs: bounded numbers, and JSON values."""

from __future__ import annotations

import json
import math
from typing import Any

from marshmallow import ValidationError

from ava.api.http.fields import Number, Plain, WholeNumber
from ava.domain.limits.limit import Limit
from ava.errors import PayloadTooLarge


class BoundedNumber(Number):
    """A JSON number within bounds."""

    def __init__(self, *, minimum: float, maximum: float, **rest: Any) -> None:
        rest["metadata"] = rest.get("metadata", {}) | {"minimum": minimum, "maximum": maximum}
        super().__init__(**rest)
        self.minimum = minimum
        self.maximum = maximum

    def read(self, value: Any) -> float:
        if type(value) not in (int, float) or not self.minimum <= value <= self.maximum:
            raise ValidationError(f"It must be a number from {self.minimum:g} to {self.maximum:g}.")
        return float(value)


class LimitedNumber(WholeNumber):
    """A JSON integer up to a limit; its refusal names the limit."""

    def __init__(self, limit: Limit, *, minimum: int, maximum: int, **rest: Any) -> None:
        super().__init__(minimum=minimum, maximum=maximum, **rest)
        self.limit = limit

    def read(self, value: Any) -> int:
        if type(value) is int and value > self.maximum:
            raise ValidationError(self.limit.message(f"It must be an integer from {self.minimum} to {self.maximum}."))
        return super().read(value)


class BoundedJson(Plain):
    """Any JSON value, stored as ASCII JSON."""

    def __init__(self, *, limit: Limit, what: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.limit = limit
        self.what = what

    def read(self, value: Any) -> str:
        json_string = json.dumps(value, separators=(",", ":"))
        if not _is_finite(value):
            raise ValidationError("It has a number that is too large for a double.")
        if len(json_string) > self.limit.value:
            sentence = f"The {self.what} is too large; at most {self.limit.value:,} bytes are accepted."
            raise PayloadTooLarge(self.limit.message(sentence))
        return json_string


def _is_finite(value: Any) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, float) and not math.isfinite(each):
            return False
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return True
