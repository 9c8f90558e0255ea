"""Duty: cancel jobs that have expired."""

from __future__ import annotations

from ava.dispatcher.duty import Duty
from ava.store.engine.database import Database
from ava.store.jobs.moves import expire

_JOBS_PER_STATEMENT = 1000
#: Statements of one call without a pause.
_MAX_STATEMENTS = 10


class ExpiredJobs(Duty):
    """Cancels queued jobs whose handler was not entered in time. A claim refuses them before that."""

    name = "expired_jobs"
    changes = "jobs expired"
    #: If `WorkProbe` does not wake it.
    every_seconds = 1.0

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    def run_once(self, _now: float) -> int:
        """Cancel what has expired. Returns the number of jobs."""
        changed = 0
        for _ in range(_MAX_STATEMENTS):
            with self._database.connect() as connection:
                count = expire.expire(connection, limit=_JOBS_PER_STATEMENT)
            changed += count
            if count < _JOBS_PER_STATEMENT:
                break
        return changed
