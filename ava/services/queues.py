"""Use cases of queues: count waiting and running jobs, pause and resume."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain.access.caller import Caller
from ava.errors import QueueNotFound
from ava.store.engine.database import Database
from ava.store.fleet import queues, workers
from ava.store.fleet.queues import PausedQueue
from ava.store.reports import queue_counts
from ava.store.reports.queue_counts import QueueCounts


class Queues:
    """Use cases of queues."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def counts(self, caller: Caller) -> tuple[QueueCounts, Sequence[PausedQueue]]:
        """Return the tenant's waiting and running jobs by worker, and paused queues.

        Platform roles see all paused queues, and who paused them; tenants see the queues of their workers. The jobs of
        each worker are counted up to `ava.domain.counts.MAX_COUNTED_OF_WORKER`.
        """
        with self._database.connect() as connection:
            counts = queue_counts.queue_counts(connection, tenant_id=caller.tenant_id)
            visible_to = None if caller.is_operator else caller.tenant_id
            return counts, queues.paused(connection, visible_to=visible_to)

    def pause(self, caller: Caller, queue: str) -> tuple[PausedQueue, bool]:
        """Pause a queue: the dispatcher recalls its published jobs. Raise `QueueNotFound`.

        Return who paused it and since when, and True if it was already paused.
        """
        with self._database.connect() as connection:
            if queue not in workers.queues(connection):
                raise QueueNotFound
            return queues.pause(connection, queue=queue, user_id=caller.user_id)

    def resume(self, queue: str) -> bool:
        """Resume a queue. Return False if it was not paused. Raise `QueueNotFound`."""
        with self._database.connect() as connection:
            was_paused = queues.resume(connection, queue=queue)
            if not was_paused and queue not in workers.queues(connection):
                raise QueueNotFound
            return was_paused
