"""Duty: fire schedules that are due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ava.dispatcher.duty import Duty
from ava.domain.schedules.firing import Outcome
from ava.metrics import counters
from ava.services.due_firings import DueFirings
from ava.store.engine.database import Database
from ava.store.schedules import due as due_schedules

#: Schedules of one transaction.
_SCHEDULES_PER_TRANSACTION = 500
#: Transactions of one call without a pause.
_MAX_TRANSACTIONS = 40


class ScheduleFirings(Duty):
    """Writes the firings of due schedules, with their jobs and the next firing.

    Any number of dispatchers may do this at once. A transaction that is not committed has done nothing.
    """

    name = "schedules"
    changes = "firings of schedules"
    #: If `WorkProbe` does not wake it.
    every_seconds = 1.0

    def __init__(
        self, database: Database, due: DueFirings, *, clock: Callable[[], datetime | None] = lambda: None
    ) -> None:
        """`due` decides the firing times; `clock` returns what counts as now; None: the database's time."""
        super().__init__()
        self._database = database
        self._due = due
        self._clock = clock
        # All series exist from the start on, so that the first missed firing is an increase.
        for outcome in Outcome:
            counters.SCHEDULE_FIRINGS.labels(outcome.value)

    def run_once(self, _now: float) -> int:
        """Fire what is due. Returns the number of firings."""
        now = self._clock()
        with self._database.connect() as connection:
            is_due = due_schedules.are_due(connection, now=now)
        firings = 0
        for _ in range(_MAX_TRANSACTIONS if is_due else 0):
            written, has_more = self._fire_batch(now)
            firings += written
            if not has_more:
                break
        return firings

    def _fire_batch(self, now: datetime | None) -> tuple[int, bool]:
        """Returns the firings of one transaction, and whether more schedules may be due."""
        with self._database.transaction() as connection:
            found = due_schedules.claim_due(connection, limit=_SCHEDULES_PER_TRANSACTION, now=now)
            batch = self._due.fire(connection, found, now=now)
        self._due.report(batch)
        has_more = len(found) == _SCHEDULES_PER_TRANSACTION or len(batch.decisions) < len(found)
        return batch.firings, has_more
