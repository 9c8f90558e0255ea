"""Duty: count ended jobs, each once, for charts, analytics and metrics."""

from __future__ import annotations

from ava.store.engine.database import Database
from ava.store.reports import analytics, ended, job_times, statistics

__all__ = ["Statistics"]

_BATCH = 20_000


class Statistics:
    """Counts ended jobs: by minute, by hour and day, and by how long they waited and ran.

    Each count has its own progress, which moves in the transaction of the count.
    """

    name = "statistics"
    changes = "changes"
    every_seconds = 1.0

    def __init__(self, database: Database) -> None:
        self._database = database

    def run_once(self, _now: float) -> int:
        """Count one batch of ended jobs. Returns 0, because counting is not logged as a change."""
        with self._database.connect() as connection:
            until = ended.complete_until(connection)
            statistics.count(connection, until=until, limit=_BATCH)
            analytics.count(connection, until=until, limit=_BATCH)
            job_times.count(connection, until=until, limit=_BATCH)
        return 0
