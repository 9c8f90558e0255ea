"""The use cases of nodes and queues: list, drain, pause and resume; and asking nodes to stop runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ava.broker.control import Control
from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.jobs.job import Job, Status
from ava.errors import BrokerUnavailable, NodeNotFound, OperatorsOnly, QueueNotFound
from ava.store.engine.database import Database
from ava.store.fleet import node_reads, nodes, queues, workers
from ava.store.fleet.node_reads import NodeView
from ava.store.fleet.queues import PausedQueue
from ava.store.reports import queue_counts
from ava.store.reports.queue_counts import QueueCounts


class Nodes:
    """Use cases of nodes."""

    def __init__(self, database: Database, *, node_dead_seconds: float) -> None:
        self._database = database
        self._node_dead_seconds = node_dead_seconds

    def list(self, caller: Caller) -> list[NodeView]:
        """Return the nodes, each with the tenant's jobs that it runs.

        Platform roles see all nodes with their hosts, workers and numbers; tenants only the nodes that they can use.
        """
        with self._database.connect() as connection:
            found = node_reads.nodes(connection, tenant_id=caller.tenant_id, dead_after_seconds=self._node_dead_seconds)
            if caller.is_operator:
                return found
            return node_reads.only_visible(connection, found, tenant_id=caller.tenant_id)

    def set_drained(self, caller: Caller, node_id: str, *, is_drained: bool) -> tuple[bool, NodeView]:
        """Stop a node from taking jobs, or let it take jobs again, from its next heartbeat on.

        Return True if it was drained before, and the node. Raise `OperatorsOnly`, `NodeNotFound`.
        """
        if not caller.is_operator:
            raise OperatorsOnly
        if (uuid := ids.decode("node", node_id)) is None:
            raise NodeNotFound
        with self._database.connect() as connection:
            was_drained = nodes.set_drained(connection, str(uuid), is_drained=is_drained, user_id=caller.user_id)
            if was_drained is None:
                raise NodeNotFound
        found = next((node for node in self.list(caller) if node.id == node_id), None)
        if found is None:
            raise NodeNotFound
        return was_drained, found


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


def revoke_all(database: Database, control: Control, cancelled: Sequence[Job]) -> None:
    """Ask the nodes of the running jobs to stop them."""
    running = [job for job in cancelled if job.status is Status.RUNNING]
    if not running:
        return
    with database.connect() as connection:
        names = nodes.names_of(connection, {job.node_id for job in running if job.node_id})
    for node_id, name in names.items():
        runs = [job.run for job in running if job.node_id == node_id]
        with suppress(BrokerUnavailable):
            # Nodes that miss the message read the cancel from the database.
            control.revoke_all(runs=runs, node_name=name)
