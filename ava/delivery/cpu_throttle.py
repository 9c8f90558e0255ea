"""How a sender gives way to those who run jobs on its machine, where the processors are short.

The system's own priorities do too little of that: what a sender does in every gap that jobs leave, with PostgreSQL and
with its receivers, takes from them what they share with it.
"""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["CpuThrottle"]

#: Nanoseconds for which our thread ran, and for which it was ready to run and did not (Linux, `sched-stats.rst`).
_SCHEDSTAT = Path("/proc/self/schedstat")
#: Processors are short where we wait for one at least this part of the time for which we run.
_SHORT = 0.4
#: Seconds that an event may be late for this; then it is sent, whoever waits.
_PATIENCE_SECONDS = 30.0
#: The longest rest, and the longest that is owed.
_MOST_SECONDS = 1.0


class CpuThrottle:
    """Tells a sender how long to rest so that it takes no more than its share of a processor."""

    def __init__(self, niceness: int, *, stat: Path = _SCHEDSTAT) -> None:
        """`niceness`: with 0 there is no rest; with more, the share is one part of so many."""
        self._niceness = niceness
        self._stat = stat
        self._at = time.monotonic()
        self._ran, self._waited = self._read()
        self._owed_seconds = 0.0

    def rest_seconds(self, oldest_seconds: float | None) -> float:
        """How long to rest now, where the oldest event that is to be sent is so old; 0 where processors are not short.

        What was run since this was last asked is paid for by rest, and rest counts as such.
        """
        at, (ran, waited) = time.monotonic(), self._read()
        elapsed, run, wait = at - self._at, ran - self._ran, waited - self._waited
        self._at, self._ran, self._waited = at, ran, waited
        if wait < _SHORT * run or (oldest_seconds or 0.0) > _PATIENCE_SECONDS:
            self._owed_seconds = 0.0
        else:
            owed = self._owed_seconds + run * self._niceness - elapsed
            self._owed_seconds = min(max(0.0, owed), _MOST_SECONDS)
        return self._owed_seconds

    def _read(self) -> tuple[float, float]:
        """Seconds that we ran and that we waited for a processor; none where the system does not tell."""
        try:
            ran, waited, _ = map(int, self._stat.read_text().split())
        except (OSError, ValueError):
            return 0.0, 0.0
        return ran / 1e9, waited / 1e9
