"""Duties that end the waits of jobs for a time, a queue, a worker or a node."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime

from ava.broker.control import Control
from ava.domain.jobs import run_outcome
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.services.fleet import revoke_all
from ava.store.engine.database import Connection, Database
from ava.store.fleet import worker_settings, workers
from ava.store.fleet.worker_settings import PLATFORM, WorkerStatusChange
from ava.store.jobs import approvals
from ava.store.jobs.transitions import cancel, park, permits, recall
from ava.store.jobs.transitions.cancel import CancelRequest
from ava.store.jobs.transitions.park import ListPosition

#: Maximum jobs of one statement that returns or parks them, moves them to another queue or limit, or expires them, and
#: of one transaction that stops them.
_JOBS_PER_STATEMENT = 5000
_MOVED_PER_STATEMENT = 10_000
_EXPIRED_PER_STATEMENT = 1000
_STOPPED_PER_TRANSACTION = 500
#: Maximum statements of one call that returns due jobs: enough for more than one second's worth of jobs.
_MAX_STATEMENTS = 10
#: Seconds after a change until jobs are moved or parked once more: a transaction that was inserting a job during the
#: change may have read the old state.
_AGAIN_SECONDS = 10.0
_MAX_READ = 1000
#: Seconds after a change during which jobs are returned repeatedly: a concurrent transaction that parks jobs may have
#: read the old state and commit later.
_AFTER_CHANGE_SECONDS = 2.0
#: Seconds between two polls for parked jobs while nothing changes.
_LONGEST_PAUSE_SECONDS = 10.0
_PARKED_FOR = (WaitsFor.NODE, WaitsFor.QUEUE, WaitsFor.WORKER)


def repeat(
    database: Database, run: Callable[[Connection, int], int], *, limit: int, max_statements: int = sys.maxsize
) -> int:
    """Repeat a statement that changes up to `limit` jobs until it changes fewer. Returns the number of jobs."""
    changed = 0
    for _ in range(max_statements):
        with database.connect() as connection:
            count = run(connection, limit)
        changed += count
        if count < limit:
            break
    return changed


class ReleaseTimes:
    """The times to release waiting jobs: each pass for some seconds after a change, and rare passes otherwise."""

    def __init__(self, *, after_change_seconds: float, pause_seconds: float) -> None:
        self._after_change_seconds = after_change_seconds
        self._pause_seconds = pause_seconds
        self._known: object = None
        self._until = self._next_at = float("-inf")

    def is_due(self, conditions: object, now: float) -> bool:
        """Return True if a pass is due. `conditions` decide which jobs it releases."""
        if conditions != self._known:
            self._known, self._until = conditions, now + self._after_change_seconds
        elif now > self._until and now < self._next_at:
            return False
        self._next_at = now + self._pause_seconds
        return True


def move_due_jobs(database: Database) -> int:
    """Requeue due scheduled jobs and due retries. Returns the number of jobs."""
    return repeat(
        database,
        lambda connection, limit: park.make_due(connection, limit=limit),
        limit=_JOBS_PER_STATEMENT,
        max_statements=_MAX_STATEMENTS,
    )


def cancel_expired_jobs(database: Database) -> int:
    """Cancel queued jobs that expired before their handler started. Claims already refuse them.

    Returns the number of jobs.
    """
    return repeat(
        database,
        lambda connection, limit: cancel.expire(connection, limit=limit),
        limit=_EXPIRED_PER_STATEMENT,
        max_statements=_MAX_STATEMENTS,
    )


def stop_overdue_jobs(database: Database, control: Control) -> int:
    """Stop jobs past their deadline, with their descendants. Returns the number of jobs.

    A job that is not running fails immediately, a running one when its process has ended it.
    """
    with database.transaction() as connection:
        requests = [
            CancelRequest(
                tenant_id=each.tenant_id,
                job_id=each.job_id,
                cancelled_by=None,
                error=run_outcome.overdue(each.seconds),
                is_overdue=True,
            )
            for each in cancel.overdue(connection, limit=_STOPPED_PER_TRANSACTION)
        ]
        stopped = cancel.cancel_each(connection, requests)
    revoke_all(database, control, stopped)
    return len(stopped)


def follow_approvals(database: Database) -> int:
    """Send due reminders, and end approvals that were not decided in time. Returns the number of both.

    `Wakes` continues the jobs.
    """
    with database.transaction() as connection:
        changed = approvals.remind(connection, limit=_STOPPED_PER_TRANSACTION)
    for _ in range(_MAX_STATEMENTS):
        with database.transaction() as connection:
            count = len(approvals.expire(connection, limit=_STOPPED_PER_TRANSACTION))
        changed += count
        if count < _STOPPED_PER_TRANSACTION:
            break
    return changed


class MovedWorkers:
    """Moves waiting jobs to the queue that nodes announce for their worker, and applies its limits to unfinished jobs.

    A job stores the queue that its worker had when it was triggered. Jobs that become due and rescued runs read the
    worker's current queue; this duty moves all others.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed_at: datetime | None = None
        self._next_at = 0.0

    def run_once(self, now: float) -> int:
        """Move jobs if a worker has changed. Returns the number of jobs."""
        with self._database.connect() as connection:
            changed_at = workers.changed_at(connection)
        is_new = changed_at != self._changed_at
        if not is_new and now < self._next_at:
            return 0
        moved = repeat(
            self._database,
            lambda connection, limit: recall.recall_moved(connection, limit=limit),
            limit=_MOVED_PER_STATEMENT,
        )
        moved += self._follow_limits()
        self._changed_at, self._next_at = changed_at, now + _AGAIN_SECONDS if is_new else float("inf")
        return moved

    def _follow_limits(self) -> int:
        with self._database.connect() as connection:
            changed = workers.changed_since(connection, self._changed_at)
        if not changed:
            return 0
        return repeat(
            self._database,
            # Each job once, so that jobs that are admitted in between are not parked repeatedly.
            lambda connection, limit: permits.follow_limits(connection, workers=changed, limit=limit),
            limit=_MOVED_PER_STATEMENT,
        )


class ParkedJobs:
    """Requeues parked jobs when a node with their handler joins, or when their queue or worker is resumed or moved.

    The feed parks the jobs of windows, `PausedWorkers` those of a paused worker, and a pool child a job whose message
    it cannot run. `Wakes` returns jobs that wait for other jobs.
    """

    def __init__(self, database: Database, *, node_dead_seconds: float) -> None:
        self._database = database
        self._node_dead_seconds = node_dead_seconds
        self._times = ReleaseTimes(after_change_seconds=_AFTER_CHANGE_SECONDS, pause_seconds=_LONGEST_PAUSE_SECONDS)

    def run_once(self, now: float) -> int:
        """Return jobs if something has changed. Returns the number of jobs."""
        with self._database.connect() as connection:
            found = park.unpark_conditions(connection, dead_after_seconds=self._node_dead_seconds)
        if not self._times.is_due(found, now):
            return 0
        return repeat(self._database, self._return, limit=_JOBS_PER_STATEMENT)

    def _return(self, connection: Connection, limit: int) -> int:
        return park.return_parked(connection, _PARKED_FOR, limit=limit, dead_after_seconds=self._node_dead_seconds)


def tenants_of(database: Database, tenant_id: str) -> Iterator[str]:
    """Yield the tenant of a setting; for the platform (`*`) all tenants that have jobs."""
    if tenant_id != PLATFORM:
        yield tenant_id
        return
    after, found = "", [""]
    while found:
        with database.connect() as connection:
            found = park.tenants(connection, after=after, limit=_MAX_READ)
        yield from found
        after = found[-1] if found else after


class PausedWorkers:
    """Parks the waiting jobs of a worker that is paused for one tenant or for all. `ParkedJobs` returns them.

    A new dispatcher starts with all changes in the history. Until they are parked, the claim refuses them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: WorkerStatusChange | None = None
        #: The changes to apply once more, with their times.
        self._again: list[tuple[float, WorkerStatusChange]] = []

    def run_once(self, now: float) -> int:
        """Park the jobs of each tenant and worker with a new status. Returns the number of jobs."""
        with self._database.connect() as connection:
            found = worker_settings.status_changes(connection, after=self._last, limit=_MAX_READ)
        again = [change for at, change in self._again if at <= now]
        parked = sum(self._park(change) for change in dict.fromkeys([*found, *again]))
        # Only now: if the database is unreachable, the next call repeats all of them.
        self._again = [(at, change) for at, change in self._again if at > now]
        self._again += [(now + _AGAIN_SECONDS, change) for change in found]
        self._last = found[-1] if found else self._last
        return parked

    def _park(self, change: WorkerStatusChange) -> int:
        tenants = tenants_of(self._database, change.tenant_id)
        return sum(self._park_of(tenant_id, change.worker_id) for tenant_id in tenants)

    def _park_of(self, tenant_id: str, worker_id: str) -> int:
        position = ListPosition()

        def park_next(connection: Connection, limit: int) -> int:
            nonlocal position
            count, position = park.park_of_worker(
                connection, tenant_id=tenant_id, worker_id=worker_id, after=position, limit=limit
            )
            return count

        return repeat(self._database, park_next, limit=_JOBS_PER_STATEMENT)
