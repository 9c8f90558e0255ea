"""Duty: the events of webhooks that are past retention go, with their deliveries."""

from __future__ import annotations

from ava.store.engine.database import Database
from ava.store.webhooks import events

__all__ = ["OldEvents"]

_BATCH = 500


class OldEvents:
    """Deletes events and their deliveries, and what is left of deleted webhooks."""

    name = "old_events"
    every_seconds = 1.0

    def __init__(self, database: Database, *, retention_days: float) -> None:
        self._database = database
        self._retention_days = retention_days

    def run_once(self, _now: float) -> int:
        """Delete one batch; how many events."""
        with self._database.connect() as connection:
            return events.delete_old(connection, retention_days=self._retention_days, limit=_BATCH)
