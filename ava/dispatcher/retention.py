"""Duty: what is past retention goes, in batches too small to disturb anybody."""

from __future__ import annotations

from ava.store.engine.database import Database
from ava.store.fleet import nodes
from ava.store.jobs import backlog, idempotency

__all__ = ["Retention"]

_BATCH = 500
#: Seconds for which the row of a node that has ended is kept.
_NODE_SECONDS = 3600.0


class Retention:
    """Deletes final jobs with their log lines, idempotency keys past their day, and nodes that ended long ago."""

    name = "retention"
    every_seconds = 1.0

    def __init__(self, database: Database, *, retention_days: float) -> None:
        self._database = database
        self._retention_days = retention_days

    def run_once(self, _now: float) -> int:
        """Delete one batch; how many jobs."""
        with self._database.connect() as connection:
            nodes.delete_old(connection, after_seconds=_NODE_SECONDS)
            idempotency.delete_expired(connection, limit=_BATCH)
            return backlog.delete_old_jobs(connection, retention_days=self._retention_days, limit=_BATCH)
