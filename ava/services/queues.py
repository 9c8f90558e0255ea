"""The use cases of queues: how many jobs wait and run, pause and resume."""

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
    """The use cases of queues, over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def counts(self, caller: Caller) -> tuple[QueueCounts, Sequence[PausedQueue]]:
        """Returns the tenant's waiting and running jobs by worker, and the paused queues. Raises `DatabaseUnavailable`.

        A role of the platform sees all of these, and who has paused them; a tenant those that its workers use.
        The jobs of each worker are counted up to `ava.domain.counts.MAX_COUNTED_OF_WORKER`.
        """
        with self._database.connect() as connection:
            counts = queue_counts.queue_counts(connection, tenant_id=caller.tenant_id)
            visible_to = None if caller.is_operator else caller.tenant_id
            return counts, queues.paused(connection, visible_to=visible_to)

    def pause(self, caller: Caller, queue: str) -> tuple[PausedQueue, bool]:
        """Pause a queue: the dispatcher recalls what is published of it. Raises `QueueNotFound`, `DatabaseUnavailable`.

        Returns who has paused it and since when, and True if an earlier call has set that.
        """
        with self._database.connect() as connection:
            if queue not in workers.queues(connection):
                raise QueueNotFound
            return queues.pause(connection, queue=queue, user_id=caller.user_id)

    def resume(self, queue: str) -> bool:
        """Resume a queue. Returns False if it was not paused. Raises `QueueNotFound`, `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            was_paused = queues.resume(connection, queue=queue)
            if not was_paused and queue not in workers.queues(connection):
                raise QueueNotFound
            return was_paused
