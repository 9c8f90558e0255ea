"""The use cases of nodes, queues and the broker: list, pause, resume, recall; and asking nodes to stop runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.fleet import NodeLiveness, NodeView, Queue, QueueCounts, QueuesInUse
from ava.domain.jobs.job import Job, Status
from ava.errors import BrokerUnavailable, NodeNotFound, QueueNotFound
from ava.store.engine.database import Connection, Database
from ava.store.fleet import node_reads, nodes, queues, workers
from ava.store.fleet.node_reads import NodeFilter
from ava.store.jobs.feed import published
from ava.store.jobs.transitions import recall
from ava.store.reports import queue_counts


class Nodes:
    """Use cases of nodes."""

    def __init__(self, database: Database, *, node_dead_seconds: float) -> None:
        self._database = database
        self._node_dead_seconds = node_dead_seconds

    def page(
        self,
        caller: Caller,
        *,
        limit: int,
        offset: int = 0,
        after: tuple[bool, str] | None = None,
        is_paused: bool | None = None,
    ) -> tuple[list[NodeView], int]:
        """Return nodes, each with the tenant's jobs that it runs, and the total.

        Platform roles see all nodes with their hosts, workers and numbers; tenants only the nodes that they can use.
        `is_paused`: only paused nodes, or only others. `after` is as in `node_reads.page`.
        """
        wanted = NodeFilter(tenant_id=caller.tenant_id, has_all=caller.is_operator, is_paused=is_paused)
        with self._database.connect() as connection:
            found = self._read(connection, wanted, limit=limit, offset=offset, after=after)
            total = node_reads.count(connection, wanted)
            if not caller.is_operator:
                found = node_reads.only_visible(connection, found, tenant_id=caller.tenant_id)
        return found, total

    def pause(self, caller: Caller, node_id: str, /, *, reason: str | None = None) -> tuple[bool, NodeView]:
        """Stop a node from taking jobs, from its next heartbeat on. Raise `NodeNotFound`."""
        with self._database.transaction() as connection:
            is_new = nodes.pause(connection, _uuid(node_id), by=caller.actor, reason=reason)
            return not is_new, self._show(connection, caller, node_id)

    def resume(self, caller: Caller, node_id: str, /) -> tuple[bool, NodeView]:
        """Let a node take jobs again, from its next heartbeat on. Raise `NodeNotFound`."""
        with self._database.transaction() as connection:
            was_paused = nodes.resume(connection, _uuid(node_id))
            return was_paused, self._show(connection, caller, node_id)

    def _show(self, connection: Connection, caller: Caller, node_id: str) -> NodeView:
        wanted = NodeFilter(tenant_id=caller.tenant_id, has_all=True, node_id=_uuid(node_id))
        found = self._read(connection, wanted, limit=1)
        if not found or found[0].state is NodeLiveness.STOPPED:
            raise NodeNotFound
        return found[0]

    def _read(self, connection: Connection, wanted: NodeFilter, **chosen: Any) -> list[NodeView]:
        return node_reads.page(connection, wanted, dead_after_seconds=self._node_dead_seconds, **chosen)


def _uuid(node_id: str) -> str:
    if (uuid := ids.decode("node", node_id)) is None:
        raise NodeNotFound
    return str(uuid)


class Queues:
    """Use cases of queues."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def counts(self, caller: Caller, *, is_paused: bool | None = None) -> QueuesInUse:
        """Return the tenant's waiting and running jobs by worker, and the queues of its workers.

        Platform roles also see the paused queues of other tenants' workers. `is_paused`: only the queues with or
        without a pause. The jobs of each worker are counted up to `ava.domain.counts.MAX_COUNTED_OF_WORKER`.
        """
        with self._database.connect() as connection:
            counts, found = _read(connection, caller, has_all_paused=caller.is_operator)
        shown = [each for each in found if is_paused in (None, each.paused is not None)]
        return QueuesInUse(counts=counts, queues=shown)

    def pause(self, caller: Caller, queue: str, /, *, reason: str | None = None) -> tuple[bool, Queue]:
        """Pause a queue: the dispatcher recalls its published jobs. Raise `QueueNotFound`."""
        with self._database.transaction() as connection:
            if queue not in workers.queues(connection):
                raise QueueNotFound
            is_new = queues.pause(connection, queue=queue, by=caller.actor, reason=reason)
            return not is_new, _show(connection, caller, queue)

    def resume(self, caller: Caller, queue: str, /) -> tuple[bool, Queue]:
        """Resume a queue. Raise `QueueNotFound`."""
        with self._database.transaction() as connection:
            was_paused = queues.resume(connection, queue=queue)
            if not was_paused and queue not in workers.queues(connection):
                raise QueueNotFound
            return was_paused, _show(connection, caller, queue)


def _read(connection: Connection, caller: Caller, **chosen: Any) -> tuple[QueueCounts, list[Queue]]:
    counts = queue_counts.queue_counts(connection, tenant_id=caller.tenant_id)
    of_queues = queue_counts.by_queue(connection, counts, tenant_id=caller.tenant_id)
    found = queues.visible(connection, tenant_id=caller.tenant_id, **chosen)
    return counts, [replace(each, **of_queues.get(each.queue, {})) for each in found]


def _show(connection: Connection, caller: Caller, queue: str) -> Queue:
    _, found = _read(connection, caller, has_all_paused=True, queue=queue)
    # Another tenant's workers may use it.
    return next(iter(found), Queue(queue=queue, paused=None))


def revoke_all(database: Database, control: Control, cancelled: Sequence[Job]) -> None:
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


#: Maximum time of the recall; it covers the full windows of many queues.
_RECALL_SECONDS = 600.0


def reset_broker(database: Database, publisher: Publisher) -> int:
    """Return every published but unstarted job to the backlog, and delete the messages of the broker's queues.

    The active dispatcher publishes the jobs again. Messages that remain anywhere are refused at the claim, because
    their run number is outdated. Running jobs continue.

    Returns the number of jobs. If the broker is unreachable, its messages stay.
    """
    with database.connect() as connection:
        queues = {*workers.queues(connection), *published.queues(connection)}
    # Delete the messages first: jobs published before that are recalled afterwards.
    for queue in sorted(queues):
        publisher.purge(queue)
    with database.transaction() as connection:
        return recall.recall_all(connection, max_seconds=_RECALL_SECONDS)
