"""Retry rules: whether and when a failed attempt is repeated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

#: How often a job with a lost process returns to the queue before it fails with `WorkerLost`.
MAX_LOSSES = 2
#: The same for a lost node, which is seldom the job's fault: the node's other jobs were lost, too.
MAX_NODE_LOSSES = 10
MAX_RETRIES = 25
#: Max delay in seconds (366 days), and max number of listed delays.
MAX_SECONDS, MAX_DELAYS = 31_622_400, 25


@dataclass(frozen=True)
class Retry:
    """Number and delays of the retries of failed attempts: `worker(retry=Retry(max=3, delays_seconds=[5, 60]))`.

    The last of `delays_seconds` repeats. Without them, the backoff begins with `first_seconds` and grows by `factor` up
    to `max_delay_seconds`. `jitter` is the max variation of a delay, as a fraction, in both directions.
    """

    max: int = 0
    delays_seconds: Sequence[float] | None = None
    first_seconds: float = 1
    factor: float = 2
    max_delay_seconds: float = 3600
    jitter: float = 0.2

    def __post_init__(self) -> None:
        """Raise `ValueError` that names the invalid value."""
        if self.delays_seconds is not None:
            object.__setattr__(self, "delays_seconds", tuple(self.delays_seconds))
        for is_right, reason in (
            (type(self.max) is int and 0 <= self.max <= MAX_RETRIES, f"max must be from 0 to {MAX_RETRIES}"),
            (
                self.delays_seconds is None or 1 <= len(self.delays_seconds) <= MAX_DELAYS,
                f"delays_seconds must be 1 to {MAX_DELAYS} numbers",
            ),
            (
                all(_is_within(each, 0, MAX_SECONDS) for each in self.delays_seconds or ()),
                f"delays_seconds must be numbers from 0 to {MAX_SECONDS}",
            ),
            (_is_within(self.first_seconds, 0, MAX_SECONDS), f"first_seconds must be from 0 to {MAX_SECONDS}"),
            (_is_within(self.factor, 1, 1000), "factor must be from 1 to 1000"),
            (_is_within(self.max_delay_seconds, 0, MAX_SECONDS), f"max_delay_seconds must be from 0 to {MAX_SECONDS}"),
            (_is_within(self.jitter, 0, 1), "jitter must be from 0 to 1"),
        ):
            if not is_right:
                raise ValueError(reason)

    def unspread_seconds(self, attempt: int) -> float:
        """Return the seconds from the given attempt to the next, without jitter."""
        if self.delays_seconds is not None:
            return float(self.delays_seconds[min(attempt, len(self.delays_seconds)) - 1])
        return float(min(self.max_delay_seconds, self.first_seconds * self.factor ** min(attempt - 1, MAX_RETRIES)))

    def delay_seconds(self, *, attempt: int, draw: float) -> float:
        """Return the seconds from the given attempt to the next; `draw` (0 to 1) decides the jitter."""
        return self.unspread_seconds(attempt) * (1 - self.jitter + 2 * self.jitter * draw)


def read(json_string: str | None) -> Retry | None:
    """Read a retry rule from the JSON object that `write` wrote; None for None."""
    return None if json_string is None else Retry(**json.loads(json_string))


def write(given: Retry | None) -> str | None:
    """Return a retry rule as a serialized JSON object; None for None."""
    if given is None:
        return None
    backoff = ("first_seconds", "factor", "max_delay_seconds")
    delays = backoff if given.delays_seconds is None else ("delays_seconds",)
    return json.dumps({name: getattr(given, name) for name in ("max", *delays, "jitter")})


def _is_within(value: object, low: float, high: float) -> bool:
    # NaN and infinity fail these comparisons.
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


#: The rule of a worker without one.
DEFAULT = Retry()


def may_retry(*, attempt: int, max_attempts: int) -> bool:
    """Return True if another attempt follows the given one (counted from 1)."""
    return attempt < max_attempts
