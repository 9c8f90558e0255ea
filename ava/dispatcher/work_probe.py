"""Duty: ask for several duties at once whether there is something to do, and wake those that have it."""

from __future__ import annotations

import threading

from ava.dispatcher.duty import Duty
from ava.store import pending_work
from ava.store.engine.database import Database
from ava.store.pending_work import Work

__all__ = ["WokenDuty", "WorkProbe"]


class WokenDuty:
    """A duty that is called when it is woken, or after its interval."""

    def __init__(self, duty: Duty) -> None:
        self.name, self.changes = duty.name, duty.changes
        self._duty = duty
        self._is_woken = threading.Event()

    @property
    def every_seconds(self) -> float:
        """Returns the seconds until the next call if nothing wakes the duty."""
        return self._duty.every_seconds

    def wake(self) -> None:
        """Have the duty called soon. Any thread may call it."""
        self._is_woken.set()

    def run_once(self, now: float) -> int:
        """Run the duty once. Returns what it returns."""
        return self._duty.run_once(now)

    def wait(self, seconds: float) -> None:
        """Wait so long at most, or until the duty is woken."""
        self._is_woken.wait(seconds)
        self._is_woken.clear()


class WorkProbe:
    """Asks ten times a second, with one statement for all, because most of the time there is nothing to do."""

    name = "work_probe"
    changes = "duties woken"
    every_seconds = 0.1

    def __init__(self, database: Database) -> None:
        self._database = database
        self._duties: dict[Work, WokenDuty] = {}

    def waking(self, work: Work, duty: Duty) -> WokenDuty:
        """Returns a duty that is woken when there is such work."""
        self._duties[work] = woken = WokenDuty(duty)
        return woken

    def run_once(self, _now: float) -> int:
        """Wake the duties that have something to do. Returns 0, because it changes nothing."""
        with self._database.connect() as connection:
            found = pending_work.find(connection)
        for work in found:
            self._duties[work].wake()
        return 0
