"""Duty: set jobs aside whose worker is paused, and return them when it is active again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ava.dispatcher.duty import Duty
from ava.store.engine.database import Database
from ava.store.fleet import worker_settings
from ava.store.fleet.worker_settings import PLATFORM, WorkerStatusChange
from ava.store.jobs import pauses
from ava.store.jobs.pauses import Place

__all__ = ["PausedWorkers"]

_JOBS_PER_STATEMENT = 5000
#: Changes of status, and tenants, that are read at once.
_MAX_READ = 1000
#: Seconds after which the jobs of a change are looked at once more: a job that was inserted at that moment may have
#: read the status of before.
_AGAIN_SECONDS = 10.0


class PausedWorkers(Duty):
    """Moves the jobs that wait when the status of a worker changes, for one tenant or for all.

    A new dispatcher begins with all changes there ever were. No job of a paused worker starts meanwhile, because the
    claim reads the status too.
    """

    name = "paused_workers"
    changes = "jobs set aside or returned, because a worker was paused or resumed"
    every_seconds = 0.5

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._last: WorkerStatusChange | None = None
        #: The changes to look at once more, and when.
        self._again: deque[tuple[float, WorkerStatusChange]] = deque()

    def run_once(self, now: float) -> int:
        """Move the jobs of each pair whose status has changed. Returns the number of jobs."""
        with self._database.connect() as connection:
            found = worker_settings.status_changes(connection, after=self._last, limit=_MAX_READ)
        due = list(found)
        while self._again and self._again[0][0] <= now:
            due.append(self._again.popleft()[1])
        moved = sum(self._move(change) for change in dict.fromkeys(due))
        self._again.extend((now + _AGAIN_SECONDS, change) for change in found)
        self._last = found[-1] if found else self._last
        return moved

    def _move(self, change: WorkerStatusChange) -> int:
        return sum(
            self._move_all(step, tenant_id, change.worker_id)
            for tenant_id in self._tenants(change)
            for step in (pauses.set_aside, pauses.return_resumed)
        )

    def _tenants(self, change: WorkerStatusChange) -> Iterator[str]:
        if change.tenant_id != PLATFORM:
            yield change.tenant_id
            return
        after, found = "", [""]
        while found:
            with self._database.connect() as connection:
                found = pauses.tenants(connection, after=after, limit=_MAX_READ)
            yield from found
            after = found[-1] if found else after

    def _move_all(self, step: pauses.Step, tenant_id: str, worker_id: str) -> int:
        moved, count, place = 0, _JOBS_PER_STATEMENT, Place()
        while count == _JOBS_PER_STATEMENT:
            with self._database.connect() as connection:
                count, place = step(
                    connection, tenant_id=tenant_id, worker_id=worker_id, after=place, limit=_JOBS_PER_STATEMENT
                )
            moved += count
        return moved
