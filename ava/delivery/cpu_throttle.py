"""How a sender yields the processors of its machine to the processes that run jobs, while processors are short.

The system's own priorities do too little of that. In every gap that jobs leave, a sender keeps PostgreSQL and its
receivers busy, and jobs share PostgreSQL and the machine with them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Nanoseconds for which our thread ran, and for which it was ready to run and waited (Linux, `sched-stats.rst`).
_SCHEDSTAT = Path("/proc/self/schedstat")
#: Processors are short if our thread waits for one at least this fraction of the time for which it runs.
_SHORTAGE_RATIO = 0.4
#: Seconds for which events have waited from which on the sender no longer pauses.
_MAX_DELAY_SECONDS = 30.0
#: The longest single pause, and the largest debt.
_LONGEST_PAUSE_SECONDS = 1.0


class CpuThrottle:
    """Computes how long a sender pauses so that it takes no more than its share of a processor."""

    def __init__(self, niceness: int, *, stat: Path = _SCHEDSTAT) -> None:
        """With a `niceness` of n > 0 the sender's share is one part in n; 0 switches the throttle off."""
        self._niceness = niceness
        self._stat = stat
        self._at = time.monotonic()
        self._ran, self._waited = self._read()
        self._debt_seconds = 0.0
        self._statement_seconds = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the time of statements that keep a processor of PostgreSQL busy as if the sender ran for as long."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._statement_seconds += time.monotonic() - began

    def pause_seconds(self, delay_seconds: float) -> float:
        """Returns the seconds to pause now; 0 if processors are not short.

        Time that ran since the last call adds to the debt, and all time that passed pays it off.
        `delay_seconds` is for how long the first events that are not fanned out have waited, those of the tenant that
        is least behind. So a tenant with more events than its share of the sender's time does not end the pauses while
        others have events.
        """
        at, (ran, waited) = time.monotonic(), self._read()
        elapsed, run, wait = at - self._at, ran - self._ran, waited - self._waited
        self._at, self._ran, self._waited = at, ran, waited
        busy, self._statement_seconds = run + self._statement_seconds, 0.0
        if wait < _SHORTAGE_RATIO * run or delay_seconds > _MAX_DELAY_SECONDS:
            self._debt_seconds = 0.0
        else:
            debt = self._debt_seconds + busy * self._niceness - elapsed
            self._debt_seconds = min(max(0.0, debt), _LONGEST_PAUSE_SECONDS)
        return self._debt_seconds

    def _read(self) -> tuple[float, float]:
        """Returns the seconds that the thread ran and waited for a processor; zeros if the system does not report."""
        try:
            ran, waited, _ = map(int, self._stat.read_bytes().split())
        except (OSError, ValueError):
            return 0.0, 0.0
        return ran / 1e9, waited / 1e9
