"""Statements that look for something rare become rarer while they are slow.

While a snapshot is held (by a dump, a report, a session that was forgotten), PostgreSQL keeps each row version since
then, and such a statement passes the dead entries of its index: after an hour of a thousand jobs a second, millions.
"""

from __future__ import annotations

#: The longest rest of what has to be found soon.
MAX_REST_SECONDS = 10.0
#: A rest lasts so many times the work before it, which so takes a tenth of the time.
_FACTOR = 9


class Rest:
    """How long work that has found nothing rests before it looks again."""

    def __init__(self, max_seconds: float = MAX_REST_SECONDS) -> None:
        self._max_seconds = max_seconds
        self._last_seconds = 0.0

    def after(self, seconds: float) -> float:
        """Returns the seconds to rest after work that took `seconds`.

        The shorter one of two in a row counts, because one alone may have waited for a busy server.
        """
        shorter, self._last_seconds = min(seconds, self._last_seconds), seconds
        return min(_FACTOR * shorter, self._max_seconds)
