"""Duty: create the partitions of log lines days ahead, and drop those that no job needs any more."""

from __future__ import annotations

from math import ceil

from ava.store.engine.database import Database
from ava.store.jobs import log_days, old_jobs

__all__ = ["LogDays"]

#: Days for which there are partitions ahead. Without one, lines are in the partition for the rest, and nothing is lost.
_DAYS_AHEAD = 7
#: About so many partitions are kept; if jobs are kept for more days, a partition has several.
_MOST_PARTITIONS = 60
#: A partition that old jobs hold is dropped if they have fewer lines, which are copied under a lock.
_MOST_MOVED_LINES = 5_000


class LogDays:
    """Adds and drops partitions; each is bounded, and waits for a lock for a tenth of a second only."""

    name = "log_days"
    changes = "partitions of log lines added, detached or dropped"
    every_seconds = 60.0

    def __init__(self, database: Database, *, retention_days: float) -> None:
        """`retention_days`: of the jobs whose worker and tenant have none of their own."""
        self._database = database
        self._retention_days = retention_days

    def run_once(self, _now: float) -> int:
        """Add what is missing, and detach or drop one. Returns the number of partitions."""
        with self._database.connect() as connection:
            longest = old_jobs.days_kept(connection, default=self._retention_days).longest
            width = max(1, ceil(longest / _MOST_PARTITIONS))
            added = log_days.add(connection, days_ahead=_DAYS_AHEAD, width_days=width)
            return added + log_days.drop(connection, kept_days=longest, most_lines=_MOST_MOVED_LINES)
