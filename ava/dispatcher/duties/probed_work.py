"""Duties with rare work: one probe asks the database for all of it. Batches of bulk operations, jobs of events."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ava.dispatcher.loop import Duty
from ava.services.bulk_batches import BulkBatches
from ava.services.events.event_jobs import EventJobs
from ava.store import pending_work
from ava.store.engine.database import Database
from ava.store.pending_work import Work

#: Seconds for which one call runs batches without a pause.
_CALL_SECONDS = 2.0


def wake_duties(database: Database, duties: Mapping[Work, Duty]) -> int:
    """Wake the duties that have something to do. Returns 0, because nothing changes.

    It is called ten times a second, with one statement for all, because most of the time there is nothing to do.
    """
    with database.connect() as connection:
        found = pending_work.find(connection)
    for work in found:
        duties[work].wake()
    return 0


def run_bulk_batches(batches: BulkBatches) -> int:
    """Run due batches of bulk operations, one operation after the other in turn, so that none waits for another's end.

    Returns the number of jobs.
    """
    changed, until = 0, time.monotonic() + _CALL_SECONDS
    while time.monotonic() < until and (count := batches.run_next()) is not None:
        changed += count
    return changed


class EventFanOut:
    """Creates the next jobs of events that match more subscriptions than one transaction takes, by tenant in turn.

    An event's position advances in the transaction that creates its jobs, so no crash creates a job twice or omits one.
    """

    def __init__(self, database: Database, event_jobs: EventJobs) -> None:
        self._database = database
        self._event_jobs = event_jobs
        self._last_tenant = ""

    def run_once(self, _now: float) -> int:
        """Create the jobs of events that are due. Returns their number."""
        created, until = 0, time.monotonic() + _CALL_SECONDS
        while time.monotonic() < until:
            with self._database.transaction() as connection:
                done = self._event_jobs.run_next(connection, after_tenant=self._last_tenant)
            if done is None and not self._last_tenant:
                break
            self._last_tenant, count = done or ("", 0)
            created += count
        return created
