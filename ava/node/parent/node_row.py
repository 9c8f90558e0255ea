"""A node's row in the database: its registration, its heartbeat and the queues that it consumes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from ava.broker.refused_queues import Refusals
from ava.broker.untrusted_messages import DROPPED
from ava.domain.worker import WorkerSpec
from ava.node import machine_use
from ava.node.intake import Intake
from ava.store.engine.database import Connection
from ava.store.fleet import nodes, workers
from ava.store.fleet.nodes import NodeSpec

_log = logging.getLogger(__name__)


class NodeRow:
    def __init__(self, node: NodeSpec, specs: Sequence[WorkerSpec], refusals: Refusals, intake: Intake) -> None:
        self._node = node
        self._specs = specs
        self._queues = node.queues
        self._refusals = refusals
        self._intake = intake
        self.is_registered = False
        self._next_heartbeat_at = 0.0

    @property
    def is_heartbeat_due(self) -> bool:
        return time.monotonic() >= self._next_heartbeat_at

    def heartbeat(self, connection: Connection, *, busy: int, free_seconds: float, every_seconds: float) -> None:
        """Send a heartbeat, or register the node if it has no row.

        `busy`: processes with a run. `free_seconds`: for which a process has been free. `every_seconds`: until the next
        heartbeat.
        """
        if not self.is_registered:
            workers.announce(connection, list(self._specs))
        takes_jobs = None
        if self.is_registered:
            takes_jobs = nodes.heartbeat(
                connection,
                self._node.id,
                busy=busy,
                free_seconds=free_seconds,
                memory_bytes=machine_use.used_bytes(),
                refused_messages=DROPPED.take_reasons(),
            )
        if takes_jobs is not None:
            self._follow_intake(takes_jobs)
        self._record_queues(connection)
        if takes_jobs is None:
            nodes.register(connection, self._node)
            self.is_registered = True
        self._next_heartbeat_at = time.monotonic() + every_seconds

    def _follow_intake(self, takes_jobs: bool) -> None:
        if takes_jobs == self._intake.is_open:
            return
        self._intake.is_open = takes_jobs
        if takes_jobs:
            _log.warning("Node takes jobs again")
        else:
            _log.warning("Node is paused: it finishes its running jobs and takes no new ones")

    def _record_queues(self, connection: Connection) -> None:
        """Write which queues this node consumes: none while paused, so that it does not count as serving them."""
        consumed = self._queues if self._intake.is_consuming else ()
        wanted = self._node.consuming(consumed, refused=self._refusals.names())
        if self.is_registered and wanted != self._node:
            nodes.write_queues(connection, wanted)
        # Only now: if the write fails, the next heartbeat repeats it.
        self._node = wanted
