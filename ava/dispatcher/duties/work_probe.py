"""Duty: ask for several duties at once whether there is something to do, and wake those that have it."""

from __future__ import annotations

from collections.abc import Mapping

from ava.dispatcher.duty import Duty
from ava.store import pending_work
from ava.store.engine.database import Database
from ava.store.pending_work import Work


class WorkProbe(Duty):
    """Asks ten times a second, with one statement for all, because most of the time there is nothing to do."""

    name = "work_probe"
    changes = "duties woken"
    every_seconds = 0.1

    def __init__(self, database: Database, duties: Mapping[Work, Duty]) -> None:
        """`duties`: which duty does each kind of work."""
        super().__init__()
        self._database = database
        self._duties = duties

    def run_once(self, _now: float) -> int:
        """Wake the duties that have something to do. Returns 0, because it changes nothing."""
        with self._database.connect() as connection:
            found = pending_work.find(connection)
        for work in found:
            self._duties[work].wake()
        return 0
