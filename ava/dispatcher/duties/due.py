"""Duty: move jobs whose time has come into the backlog."""

from __future__ import annotations

from ava.dispatcher.duty import Duty
from ava.store.engine.database import Database
from ava.store.jobs.moves import park

_JOBS_PER_STATEMENT = 5000
#: Statements of one call without a pause; they move more than a second's worth of due jobs.
_MAX_STATEMENTS = 10


class DueJobs(Duty):
    """Moves scheduled jobs, and failed ones whose back-off is over, into the backlog."""

    name = "due"
    changes = "jobs due"
    #: If `WorkProbe` does not wake it.
    every_seconds = 1.0

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    def run_once(self, _now: float) -> int:
        """Make due jobs startable. Returns the number of jobs."""
        changed = 0
        for _ in range(_MAX_STATEMENTS):
            with self._database.connect() as connection:
                count = park.make_due(connection, limit=_JOBS_PER_STATEMENT)
            changed += count
            if count < _JOBS_PER_STATEMENT:
                break
        return changed
