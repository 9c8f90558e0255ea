"""Duty: move waiting jobs to the queue, and give open ones the limits, that their worker has now."""

from __future__ import annotations

from datetime import datetime

from ava.dispatcher.duty import Duty
from ava.store.engine.database import Database
from ava.store.fleet import workers
from ava.store.jobs.moves import permits, recall

_JOBS_PER_STATEMENT = 10_000
#: Seconds after a change at which jobs are moved once more: a job that was inserted at that moment may have read the
#: definition of before.
_AGAIN_SECONDS = 10.0


class MovedWorkers(Duty):
    """Moves jobs when a node announces a worker with another queue.

    A job stores the queue that its worker named when it was triggered. Jobs that become due and runs that are rescued
    read the worker's queue anew; this duty is for those that wait.
    """

    name = "moved_workers"
    changes = "jobs moved to another queue or limit"
    every_seconds = 1.0

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._changed_at: datetime | None = None
        self._next_at = 0.0

    def run_once(self, now: float) -> int:
        """Move jobs if a worker has changed. Returns the number of jobs."""
        with self._database.connect() as connection:
            changed_at = workers.changed_at(connection)
        is_new = changed_at != self._changed_at
        if not is_new and now < self._next_at:
            return 0
        moved = self._move() + self._follow_limits()
        self._changed_at, self._next_at = changed_at, now + _AGAIN_SECONDS if is_new else float("inf")
        return moved

    def _follow_limits(self) -> int:
        with self._database.connect() as connection:
            changed = workers.changed_since(connection, self._changed_at)
        followed = 0
        # Each once: what was admitted meanwhile is not held again without end.
        while changed:
            with self._database.connect() as connection:
                count = permits.follow_limits(connection, workers=changed, limit=_JOBS_PER_STATEMENT)
            followed += count
            if count < _JOBS_PER_STATEMENT:
                break
        return followed

    def _move(self) -> int:
        moved = 0
        while True:
            with self._database.connect() as connection:
                count = recall.recall_moved(connection, limit=_JOBS_PER_STATEMENT)
            moved += count
            if count < _JOBS_PER_STATEMENT:
                return moved
