"""Duty: make the jobs of events that match more subscriptions than one transaction takes."""

from __future__ import annotations

import time

from ava.dispatcher.duty import Duty
from ava.services.events.event_jobs import EventJobs
from ava.store.engine.database import Database

#: Seconds for which one call goes on without a pause.
_CALL_SECONDS = 2.0


class EventFanOut(Duty):
    """Makes the next jobs of unfinished events, of one tenant after the other in turn.

    An event's place moves in the transaction that makes its jobs, so no crash makes a job twice or leaves one out.
    """

    name = "event_jobs"
    changes = "jobs of events made"
    #: If `WorkProbe` does not wake it.
    every_seconds = 1.0

    def __init__(self, database: Database, event_jobs: EventJobs) -> None:
        super().__init__()
        self._database = database
        self._event_jobs = event_jobs
        self._last_tenant = ""

    def run_once(self, _now: float) -> int:
        """Make the jobs of events that are due. Returns their number."""
        made, until = 0, time.monotonic() + _CALL_SECONDS
        while time.monotonic() < until:
            with self._database.transaction() as connection:
                done = self._event_jobs.run_next(connection, after_tenant=self._last_tenant)
            if done is None and not self._last_tenant:
                break
            self._last_tenant, count = done or ("", 0)
            made += count
        return made
