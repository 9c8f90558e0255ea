"""Rate limits: how many jobs of a key may start per period, and when the next one may.

The algorithm is GCRA, the generic cell rate algorithm (ITU-T I.371): a key has a *theoretical arrival time*. A start is
allowed if that time is at most a tolerance ahead, and advances it by one interval. The interval is slightly longer than
the period divided by the number of jobs, so that no period, wherever it begins, sees more starts, although a start may
be slightly late.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

#: Max earliness or lateness of a start, as a fraction of the period.
_TOLERANCE = 0.01
_SPANS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_RATE = re.compile(r"([1-9]\d{0,8})/(?:([1-9]\d{0,3})\s*)?(second|minute|hour|day)s?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    jobs: int
    seconds: float

    def __str__(self) -> str:
        name = next((name for name, seconds in _SPANS.items() if seconds == self.seconds), f"{self.seconds:g} seconds")
        return f"{self.jobs}/{name}"

    @property
    def unstarted(self) -> int:
        """Return how many admitted jobs may wait to start; more could later start together."""
        return max(1, round(self.jobs * _TOLERANCE))

    @property
    def _interval(self) -> float:
        return self.seconds * (1 + 2 * _TOLERANCE) / self.jobs

    def admit(self, state: RateState, wanted: int) -> tuple[int, RateState]:
        """Return how many of the `wanted` jobs may start now, and the next state."""
        tolerance = timedelta(seconds=self.seconds * _TOLERANCE)
        interval = timedelta(seconds=self._interval)
        # An idle key saves up no more than the tolerance.
        next_at = max(state.next_at, state.now - tolerance)
        admitted = 0
        while admitted < wanted and next_at <= state.now:
            next_at += interval
            admitted += 1
        return admitted, RateState(now=state.now, next_at=next_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class RateState:
    now: datetime
    next_at: datetime

    @property
    def wait_seconds(self) -> float:
        return max(0.0, (self.next_at - self.now).total_seconds())


def parse(string: str) -> Rate:
    """Parse a rate such as `100/minute` or `5/10 seconds`. Raise `ValueError`."""
    found = _RATE.fullmatch(string.strip()) if isinstance(string, str) else None
    if found is None:
        raise ValueError("it must look like 100/minute (or /second, /hour, /day, /10 seconds)")
    jobs, count, unit = found.groups()
    return Rate(jobs=int(jobs), seconds=int(count or 1) * _SPANS[unit])
