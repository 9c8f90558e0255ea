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
    """Number and delays of the retries of failed attempts: `worker(retry=Retry(max=3, delays=[5, 60]))`.

    The last of `delays` repeats. Without `delays`, the backoff begins with `first` and grows by `factor` up to
    `ceiling`. `jitter` is the max variation of a delay, as a fraction, in both directions. All times are seconds.
    """

    max: int = 0
    delays: Sequence[float] | None = None
    first: float = 1
    factor: float = 2
    ceiling: float = 3600
    jitter: float = 0.2

    def __post_init__(self) -> None:
        """Raise `ValueError` that names the invalid value."""
        if self.delays is not None:
            object.__setattr__(self, "delays", tuple(self.delays))
        for is_right, reason in (
            (type(self.max) is int and 0 <= self.max <= MAX_RETRIES, f"max must be from 0 to {MAX_RETRIES}"),
            (
                self.delays is None or 1 <= len(self.delays) <= MAX_DELAYS,
                f"delays must be 1 to {MAX_DELAYS} numbers",
            ),
            (
                all(_is_within(each, 0, MAX_SECONDS) for each in self.delays or ()),
                f"delays must be numbers from 0 to {MAX_SECONDS}",
            ),
            (_is_within(self.first, 0, MAX_SECONDS), f"first must be from 0 to {MAX_SECONDS}"),
            (_is_within(self.factor, 1, 1000), "factor must be from 1 to 1000"),
            (_is_within(self.ceiling, 0, MAX_SECONDS), f"ceiling must be from 0 to {MAX_SECONDS}"),
            (_is_within(self.jitter, 0, 1), "jitter must be from 0 to 1"),
        ):
            if not is_right:
                raise ValueError(reason)

    def unspread_seconds(self, attempt: int) -> float:
        """Return the seconds from the given attempt to the next, without jitter."""
        if self.delays is not None:
            return float(self.delays[min(attempt, len(self.delays)) - 1])
        return float(min(self.ceiling, self.first * self.factor ** min(attempt - 1, MAX_RETRIES)))

    def delay_seconds(self, *, attempt: int, chance: float) -> float:
        """Return the seconds from the given attempt to the next; `chance` (0 to 1) decides the jitter."""
        return self.unspread_seconds(attempt) * (1 - self.jitter + 2 * self.jitter * chance)


def read(json_text: str | None) -> Retry | None:
    """Read a retry rule from the JSON object that `text` wrote; None for None."""
    return None if json_text is None else Retry(**json.loads(json_text))


def text(given: Retry | None) -> str | None:
    """Return a retry rule as a serialized JSON object; None for None."""
    if given is None:
        return None
    names = ("max", "delays", "jitter") if given.delays is not None else ("max", "first", "factor", "ceiling", "jitter")
    return json.dumps({name: getattr(given, name) for name in names})


def _is_within(value: object, low: float, high: float) -> bool:
    # NaN and infinity fail these comparisons.
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


#: The rule of a worker without one.
DEFAULT = Retry()


def may_retry(*, attempt: int, max_attempts: int) -> bool:
    """Return True if another attempt follows the given one (counted from 1)."""
    return attempt < max_attempts
