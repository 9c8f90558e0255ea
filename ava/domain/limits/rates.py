"""Rates: how many jobs of a key may start in a span of time, and when the next one may.

The generic cell rate algorithm (ITU-T I.371): a key has a moment, its *theoretical arrival time*. A start is allowed if
that moment is no more than a tolerance ahead, and moves it on by one interval. The interval is a little longer than the
span over the number, so that no span of that length sees more starts, wherever it begins and although a start may come
a little later than it was allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

#: The part of the span by which a start may come earlier or later than its moment.
_TOLERANCE = 0.01
_SPANS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_TEXT = re.compile(r"([1-9]\d{0,8})/(?:([1-9]\d{0,3})\s*)?(second|minute|hour|day)s?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """So many jobs in a span of seconds."""

    jobs: int
    seconds: float

    def __str__(self) -> str:
        name = next((name for name, seconds in _SPANS.items() if seconds == self.seconds), f"{self.seconds:g} seconds")
        return f"{self.jobs}/{name}"

    @property
    def unstarted(self) -> int:
        """Returns how many admitted jobs may wait for their start at once; more could start together later."""
        return max(1, round(self.jobs * _TOLERANCE))

    @property
    def _interval(self) -> float:
        return self.seconds * (1 + 2 * _TOLERANCE) / self.jobs

    def admit(self, state: RateState, wanted: int) -> tuple[int, RateState]:
        """Returns how many of `wanted` jobs may start now, up to that many, and the state that follows."""
        tolerance = timedelta(seconds=self.seconds * _TOLERANCE)
        interval = timedelta(seconds=self._interval)
        # A key that has been idle has saved no more than the tolerance.
        next_at = max(state.next_at, state.now - tolerance)
        admitted = 0
        while admitted < wanted and next_at <= state.now:
            next_at += interval
            admitted += 1
        return admitted, RateState(now=state.now, next_at=next_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class RateState:
    """The state of one key at the moment `now`."""

    now: datetime
    #: The moment of its next start.
    next_at: datetime

    @property
    def wait_seconds(self) -> float:
        """Returns the seconds until the next start is allowed."""
        return max(0.0, (self.next_at - self.now).total_seconds())


def parse(text: str) -> Rate:
    """Returns the rate of a text such as `100/minute` or `5/10 seconds`. Raises `ValueError`."""
    found = _TEXT.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError("it must look like 100/minute (or /second, /hour, /day, /10 seconds)")
    jobs, count, unit = found.groups()
    return Rate(jobs=int(jobs), seconds=int(count or 1) * _SPANS[unit])
