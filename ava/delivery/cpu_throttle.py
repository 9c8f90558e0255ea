"""How a sender yields the processors of its machine to the processes that run jobs, while processors are short.

The system's own priorities do too little of that. In every gap that jobs leave, a sender keeps PostgreSQL and its
receivers busy, and jobs share PostgreSQL and the machine with them.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from ava import processor_time

__all__ = ["CpuThrottle"]

#: Processors are short if our thread waits for one at least this fraction of the time for which it runs.
_SHORTAGE_RATIO = 0.4
#: The age of an event, in seconds, from which on the sender no longer pauses.
_MOST_DELAY_SECONDS = 30.0
#: The longest single pause, and the largest debt.
_LONGEST_PAUSE_SECONDS = 1.0


class CpuThrottle:
    """Computes how long a sender pauses so that it takes no more than its share of a processor."""

    def __init__(self, niceness: int, *, stat: Path = processor_time.SCHEDSTAT) -> None:
        """With a `niceness` of n > 0 the sender's share is one part in n; 0 switches the throttle off."""
        self._niceness = niceness
        self._read = partial(processor_time.read, stat)
        self._at = time.monotonic()
        self._ran, self._waited = self._read()
        self._debt_seconds = 0.0

    def pause_seconds(self, oldest_event_seconds: float | None) -> float:
        """Returns the seconds to pause now; 0 if processors are not short.

        Time that ran since the last call adds to the debt, and all time that passed pays it off.
        `oldest_event_seconds` is the age of the oldest event that is not fanned out.
        """
        at, (ran, waited) = time.monotonic(), self._read()
        elapsed, run, wait = at - self._at, ran - self._ran, waited - self._waited
        self._at, self._ran, self._waited = at, ran, waited
        if wait < _SHORTAGE_RATIO * run or (oldest_event_seconds or 0.0) > _MOST_DELAY_SECONDS:
            self._debt_seconds = 0.0
        else:
            debt = self._debt_seconds + run * self._niceness - elapsed
            self._debt_seconds = min(max(0.0, debt), _LONGEST_PAUSE_SECONDS)
        return self._debt_seconds
