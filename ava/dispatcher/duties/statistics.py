"""Duty: count ended jobs, each once, for charts, analytics, metrics and groups of errors."""

from __future__ import annotations

import time

from ava.dispatcher.duties.error_groups import ErrorGroups
from ava.dispatcher.duty import Duty
from ava.domain.limits.table import ERROR_GROUPS
from ava.store.engine.database import Database
from ava.store.reports import ended

#: Ended jobs that one transaction counts.
_JOBS_PER_TRANSACTION = 5_000
#: Seconds for which one call of the duty goes on while there are more.
_CALL_SECONDS = 3.0


class Statistics(Duty):
    """Counts ended jobs. The counts, the groups of errors, their events and the progress are written by one
    transaction, so that a job counts once, whatever process dies.
    """

    name = "statistics"
    changes = "error groups opened"
    every_seconds = 1.0

    def __init__(
        self, database: Database, *, max_groups: int = ERROR_GROUPS.value, batch: int = _JOBS_PER_TRANSACTION
    ) -> None:
        """`max_groups`: the groups of errors that one tenant may have. `batch`: the jobs of one transaction."""
        super().__init__()
        self._database = database
        self._groups = ErrorGroups(most=max_groups)
        self._batch = batch

    def run_once(self, _now: float) -> int:
        """Count the jobs that have ended. Returns the number of new and returned groups of errors."""
        give_up_at, goal, opened = time.monotonic() + _CALL_SECONDS, None, 0
        while True:
            with self._database.transaction() as connection:
                before, last_no, now = ended.lock(connection)
                after = before.advanced(ended.see(connection), last_no=last_no, now=now, limit=self._batch)
                opened += self._groups.add(connection, ended.count(connection, before, after))
            goal = last_no if goal is None else goal
            if after.counted_to >= goal or after == before or time.monotonic() > give_up_at:
                return opened
