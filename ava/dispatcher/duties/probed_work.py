"""Duties that rarely have work: batches of bulk operations, and jobs of events. One probe detects all such work."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ava.dispatcher.loop import Duty
from ava.services.bulk_batches import BulkBatches
from ava.services.events.event_jobs import EventJobs
from ava.store import pending_work
from ava.store.dead_letters import HalvedBatch
from ava.store.engine.database import Database
from ava.store.events import events
from ava.store.events.events import UnfinishedEvent
from ava.store.pending_work import Work

_CALL_SECONDS = 2.0


def wake_duties(database: Database, duties: Mapping[Work, Duty]) -> int:
    """Wake the duties that have work. Returns 0, because nothing changes.

    One statement, ten times per second, because usually there is no work.
    """
    with database.connect() as connection:
        found = pending_work.find(connection)
    for work in found:
        duties[work].wake()
    return 0


def run_bulk_batches(batches: BulkBatches) -> int:
    """Run due batches of bulk operations, round-robin, so that no operation waits for another to finish.

    Returns the number of jobs.
    """
    changed, until = 0, time.monotonic() + _CALL_SECONDS
    while time.monotonic() < until and (count := batches.run_next()) is not None:
        changed += count
    return changed


class EventFanOut:
    """Creates the remaining jobs of events that match more subscriptions than fit one transaction, round-robin by
    tenant.

    The transaction that creates an event's jobs also advances its position, so a crash neither repeats nor skips a job.
    """

    def __init__(self, database: Database, event_jobs: EventJobs) -> None:
        self._database = database
        self._event_jobs = event_jobs
        self._last_tenant = ""
        self._batch = HalvedBatch("Jobs of events", 1)
        self._claimed: UnfinishedEvent | None = None

    def run_once(self, _now: float) -> int:
        """Create the jobs of due events. Returns the number of jobs."""
        created, until = 0, time.monotonic() + _CALL_SECONDS
        while time.monotonic() < until:
            self._claimed = None
            created += self._batch.run(self._run_next, set_aside=self._set_aside, failed=0)
            if self._claimed is None and not self._last_tenant:
                break
            self._last_tenant = "" if self._claimed is None else self._claimed.event.tenant_id
        return created

    def _run_next(self) -> int:
        with self._database.transaction() as connection:
            self._claimed = events.claim_unfinished(connection, after_tenant=self._last_tenant)
            return 0 if self._claimed is None else self._event_jobs.continue_event(connection, self._claimed)

    def _set_aside(self, error: Exception) -> None:
        if self._claimed is None:
            raise error
        with self._database.transaction() as connection:
            events.set_aside(connection, self._claimed.event, error)
