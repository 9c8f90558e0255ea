"""Run slow scans for rare rows less often.

A long-running transaction (a dump, a report, a forgotten session) blocks vacuum, so such a scan passes all dead entries
of its index: after an hour at 1,000 jobs per second, millions.
"""

from __future__ import annotations

#: Maximum rest in seconds of scans that must find things soon.
MAX_REST_SECONDS = 10.0
#: Ratio of rest to preceding work, which therefore takes a tenth of the time.
_FACTOR = 9


class Rest:
    def __init__(self, max_seconds: float = MAX_REST_SECONDS) -> None:
        self._max_seconds = max_seconds
        self._last_seconds = 0.0

    def after(self, seconds: float) -> float:
        """Return the seconds to rest after work that took `seconds`.

        Uses the shorter of the last two durations, because a single one may be due to a busy server.
        """
        shorter, self._last_seconds = min(seconds, self._last_seconds), seconds
        return min(_FACTOR * shorter, self._max_seconds)
