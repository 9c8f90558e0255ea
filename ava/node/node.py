"""A node: one Celery worker process with its children. One `Node` per process knows which side of the fork it is on."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Any

from billiard.process import current_process

from ava.broker import untrusted_messages
from ava.broker.refused_queues import Refusals
from ava.domain import ids
from ava.domain.declarations import Declaration, NodeDeclarations
from ava.handler import registry
from ava.node import process_tree
from ava.node.celery_internals.handlers_app import HandlersApp
from ava.node.celery_internals.pool_child import TakeAhead
from ava.node.child.child import Child
from ava.node.parent.pool_runs import PoolRuns
from ava.node.parent.run_monitor import RunMonitor
from ava.node.parent.watchdog import Watchdog
from ava.node.run_board import RunBoard
from ava.node.runs import breakpoints
from ava.settings import Settings
from ava.store.engine import timeouts
from ava.store.fleet.nodes import NodeSpec
from ava.telemetry import tracing
from ava.version import build

_log = logging.getLogger(__name__)


class Node:
    """The role of this process in its node: the parent with its run monitor or, after the fork, one child."""

    def __init__(self, settings: Settings, node_id: str | None = None, runs: PoolRuns | None = None) -> None:
        """`node_id`: if another process has chosen it. `runs`: those of a slot process, if it is one."""
        self._settings = settings
        self._has_slots = runs is not None
        self.id = node_id or str(ids.new_uuid())
        self.refusals = Refusals()
        self.run_monitor = RunMonitor(settings, self.id, self.refusals, runs or PoolRuns(self.id))
        self.handlers_app = HandlersApp()
        #: The workers of each of the author's Celery applications.
        self.celery_workers: Mapping[str, tuple[list[str], list[str]]] = {}
        self.child: Child | None = None
        self._pool: Any = None
        self._board: RunBoard | None = None

    # In the parent -------------------------------------------------------------------------------------------------

    def prepare_processes(self, number: int) -> None:
        """Create the run board, before the pool starts `number` processes."""
        self._board = RunBoard(number)
        self.run_monitor.watch(self._board)

    def start(self, consumer: Any) -> None:
        """Register the node and start the run monitor and the watchdog, once Celery's worker consumes."""
        tracing.warn_if_unusable(self._settings)
        # The parent adopts a killed child's remaining processes, and kills them.
        process_tree.adopt_orphans()
        if not self._has_slots:
            timeouts.install_for_threads()
        self._pool = consumer.pool
        handlers = registry.handlers()
        self._log_handlers()
        queues = sorted(consumer.app.amqp.queues.consume_from)
        self.run_monitor.start(
            NodeSpec(
                id=self.id,
                name=consumer.hostname,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=build(),
                code_version=self._settings.code_version or None,
                queues=queues,
                workers=sorted(handlers),
                processes=consumer.pool.num_processes,
                has_slots=self._has_slots,
                declarations=self._declarations(),
            ),
            [handler.spec for handler in handlers.values()],
        )
        Watchdog(self._settings, self.run_monitor, queues, self.refusals).start()

    def _declarations(self) -> NodeDeclarations:
        specs = [handler.spec for handler in registry.handlers().values()]
        declared = [Declaration(registry.module_of(each.id), each.id, each.schedule) for each in specs if each.schedule]
        return NodeDeclarations(self._settings.handler_modules, declared)

    def _log_handlers(self) -> None:
        for module in self._settings.handler_modules:
            if workers := registry.declared_by(module):
                _log.info("Handler module %s declares %s", module, ", ".join(workers))
            else:
                _log.warning("Handler module %s declares no worker", module)
        for app, (workers, faults) in self.celery_workers.items():
            _log.info("Celery application %s declares %s", app, ", ".join(workers) or "no task")
            for fault in faults:
                _log.warning("Celery application %s: skipped %s", app, fault)
        for handler in registry.handlers().values():
            if handler.doubt is not None:
                _log.warning("%s", handler.doubt)

    def pool_pids(self) -> list[int]:
        """Return the pids of the pool's processes. Only for Celery's own thread, which starts them."""
        pool = getattr(self._pool, "_pool", None)
        return [process.pid for process in pool._pool] if pool is not None else []

    def shut_down(self, *, is_cold: bool) -> None:
        """Handle a shutdown of Celery's worker. Warm: running jobs may end for a while. Cold: they are killed now."""
        if is_cold:
            self.run_monitor.abandon()
        else:
            self.run_monitor.drain()

    def close(self) -> None:
        self.run_monitor.close()
        tracing.stop()

    # In a child ----------------------------------------------------------------------------------------------------

    def start_child(self, take_ahead: TakeAhead) -> None:
        self.hand_over()
        assert self._board is not None
        self.child = Child(self._settings, self.id, take_ahead, self._board.of_process(current_process().index))
        self.child.start()

    def hand_over(self) -> None:
        """Prepare this process for handlers, which use it as an ordinary program does."""
        untrusted_messages.allow_compressed()
        self.handlers_app.make_current()
        timeouts.uninstall()
        breakpoints.refuse()

    def close_child(self) -> None:
        if self.child is not None:
            self.child.close()
