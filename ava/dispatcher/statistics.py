"""Duty: count ended jobs, each once, for charts and metrics."""

from __future__ import annotations

from ava.store.engine.database import Database
from ava.store.reports import statistics

__all__ = ["Statistics"]

_BATCH = 20_000
#: Seconds after which every statement that ended a job has committed.
_LAG_SECONDS = 2.0


class Statistics:
    """Counts ended jobs by minute."""

    name = "statistics"
    changes = "changes"
    every_seconds = 1.0

    def __init__(self, database: Database) -> None:
        self._database = database

    def run_once(self, _now: float) -> int:
        """Count one batch of ended jobs. Returns 0, because counting is not logged as a change."""
        with self._database.connect() as connection:
            statistics.count(connection, lag_seconds=_LAG_SECONDS, limit=_BATCH)
        return 0
