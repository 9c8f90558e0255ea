"""Duty: return parked jobs to the backlog once their queue or worker is resumed, or a node has their handler."""

from __future__ import annotations

from typing import Any

from ava.dispatcher.duty import Duty
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.store.engine.database import Database
from ava.store.jobs.moves import park

_REASONS = (WaitsFor.NODE, WaitsFor.QUEUE, WaitsFor.WORKER)
_JOBS_PER_STATEMENT = 5000
#: Seconds for which jobs are returned again and again after a change: a transaction that parks some at that moment may
#: have read what was before, and end later.
_AFTER_CHANGE_SECONDS = 2.0
#: Seconds between two looks if nothing has changed.
_LONGEST_PAUSE_SECONDS = 10.0


class ParkedJobs(Duty):
    """Returns jobs when a node joins that has their handler, or when a queue or a worker is resumed or has moved.

    The feed parks the jobs of windows, `PausedWorkers` those of a paused worker, and a pool child the job of a message
    that it cannot run. `Wakes` returns those that wait for other jobs.
    """

    name = "parked_jobs"
    changes = "parked jobs returned to the backlog"
    every_seconds = 0.5

    def __init__(self, database: Database, *, node_dead_seconds: float) -> None:
        super().__init__()
        self._database = database
        self._node_dead_seconds = node_dead_seconds
        self._known: tuple[Any, ...] | None = None
        #: Until when each call looks, and when the next one does in any case.
        self._until = self._next_at = float("-inf")

    def run_once(self, now: float) -> int:
        """Return jobs if something has changed. Returns the number of jobs."""
        with self._database.connect() as connection:
            found = park.what_returns(connection, dead_after_seconds=self._node_dead_seconds)
        if found != self._known:
            self._known, self._until = found, now + _AFTER_CHANGE_SECONDS
        elif now > self._until and now < self._next_at:
            return 0
        self._next_at = now + _LONGEST_PAUSE_SECONDS
        return self._return()

    def _return(self) -> int:
        returned, count = 0, _JOBS_PER_STATEMENT
        while count == _JOBS_PER_STATEMENT:
            with self._database.connect() as connection:
                count = park.return_parked(
                    connection, _REASONS, limit=_JOBS_PER_STATEMENT, dead_after_seconds=self._node_dead_seconds
                )
            returned += count
        return returned
