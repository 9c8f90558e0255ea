"""Duty: park the jobs that wait when their worker is paused."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ava.dispatcher.duty import Duty
from ava.store.engine.database import Database
from ava.store.fleet import worker_settings
from ava.store.fleet.worker_settings import PLATFORM, WorkerStatusChange
from ava.store.jobs.moves import park
from ava.store.jobs.moves.park import ListPosition

_JOBS_PER_STATEMENT = 5000
#: Changes of status, and tenants, that are read at once.
_MAX_READ = 1000
#: Seconds after which the jobs of a change are looked at once more: a job that was inserted at that moment may have
#: read the status of before.
_AGAIN_SECONDS = 10.0


class PausedWorkers(Duty):
    """Parks the jobs that wait when a worker is paused, for one tenant or for all; `ParkedJobs` returns them.

    A new dispatcher begins with all changes there ever were. No job of a paused worker starts meanwhile, because the
    claim reads the status too.
    """

    name = "paused_workers"
    changes = "jobs parked, because a worker was paused"
    every_seconds = 0.5

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._last: WorkerStatusChange | None = None
        #: The changes to look at once more, and when.
        self._again: deque[tuple[float, WorkerStatusChange]] = deque()

    def run_once(self, now: float) -> int:
        """Park the jobs of each pair whose status has changed. Returns the number of jobs."""
        with self._database.connect() as connection:
            found = worker_settings.status_changes(connection, after=self._last, limit=_MAX_READ)
        due = list(found)
        while self._again and self._again[0][0] <= now:
            due.append(self._again.popleft()[1])
        parked = sum(self._park(change) for change in dict.fromkeys(due))
        self._again.extend((now + _AGAIN_SECONDS, change) for change in found)
        self._last = found[-1] if found else self._last
        return parked

    def _park(self, change: WorkerStatusChange) -> int:
        return sum(self._park_of(tenant_id, change.worker_id) for tenant_id in self._tenants(change))

    def _tenants(self, change: WorkerStatusChange) -> Iterator[str]:
        if change.tenant_id != PLATFORM:
            yield change.tenant_id
            return
        after, found = "", [""]
        while found:
            with self._database.connect() as connection:
                found = park.tenants(connection, after=after, limit=_MAX_READ)
            yield from found
            after = found[-1] if found else after

    def _park_of(self, tenant_id: str, worker_id: str) -> int:
        parked, count, position = 0, _JOBS_PER_STATEMENT, ListPosition()
        while count == _JOBS_PER_STATEMENT:
            with self._database.connect() as connection:
                count, position = park.park_of_worker(
                    connection, tenant_id=tenant_id, worker_id=worker_id, after=position, limit=_JOBS_PER_STATEMENT
                )
            parked += count
        return parked
