"""Duty: count ended jobs, each once, for charts and metrics."""

from __future__ import annotations

from datetime import timedelta

from ava.store.engine import clock
from ava.store.engine.database import Database
from ava.store.reports import audit, statistics

__all__ = ["Statistics"]

_BATCH = 20_000
#: Seconds after which every statement that ended a job has committed.
_LAG_SECONDS = 2.0
#: Seconds for which counted minutes are kept.
_KEEP_SECONDS = 24 * 3600.0
_DELETE_BATCH = 1000


class Statistics:
    """Counts ended jobs by minute, and deletes old counts and old audit entries."""

    name = "statistics"
    changes = "old counts and audit entries deleted"
    every_seconds = 1.0

    def __init__(self, database: Database, *, audit_days: float) -> None:
        self._database = database
        self._audit_days = audit_days

    def run_once(self, _now: float) -> int:
        """Count one batch of ended jobs. Returns the number of deleted rows; counting is not logged as a change."""
        with self._database.connect() as connection:
            statistics.count(connection, lag_seconds=_LAG_SECONDS, limit=_BATCH)
            old = clock.now(connection) - timedelta(days=self._audit_days)
            return statistics.delete_old(
                connection, keep_seconds=_KEEP_SECONDS, limit=_DELETE_BATCH
            ) + audit.delete_old(connection, before=old, limit=_DELETE_BATCH)
