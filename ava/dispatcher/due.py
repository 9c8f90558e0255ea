"""Duty: jobs whose time has come may start."""

from __future__ import annotations

from ava.store.engine.database import Database
from ava.store.jobs import backlog

__all__ = ["Due"]

_BATCH = 5000
#: Batches that one turn makes due without a pause; more than a second's worth.
_MOST_BATCHES = 10


class Due:
    """Lets scheduled jobs, and failed ones whose back-off is over, into the backlog."""

    name = "due"
    every_seconds = 0.1

    def __init__(self, database: Database) -> None:
        self._database = database

    def run_once(self, _now: float) -> int:
        """Make what is due startable; how many."""
        changed = 0
        for _ in range(_MOST_BATCHES):
            with self._database.connect() as connection:
                count = backlog.make_due(connection, limit=_BATCH)
            changed += count
            if count < _BATCH:
                break
        return changed
