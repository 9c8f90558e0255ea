"""The companion thread of the handler: it stores log lines, enforces the timeout and reads the node's datagrams."""

from __future__ import annotations

import logging
import signal
import threading
import time

from ava.errors import DatabaseUnavailable
from ava.node.child.process_run import ProcessRun
from ava.node.child.run_steps import RunSteps
from ava.node.mailbox import Mailbox
from ava.node.outcome import Stop
from ava.node.process_tree import BLOCKABLE_SIGNALS
from ava.node.runs.run import LINES_SECONDS
from ava.settings import Settings
from ava.store.fleet import nodes

_log = logging.getLogger(__name__)

#: Seconds between two checks of the heartbeat of the node's parent.
_PARENT_CHECK_SECONDS = 2.0


class Companion:
    def __init__(self, settings: Settings, node_id: str, steps: RunSteps) -> None:
        self.mailbox = Mailbox(node_id)
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._node_id = node_id
        self._steps = steps
        self._check_parent_at = 0.0
        #: Connections opened when the database last confirmed that the run owns its job.
        self._opened = 0

    def start(self) -> None:
        self.mailbox.open()
        threading.Thread(target=self._repeat, name="ava-companion", daemon=True).start()

    def _repeat(self) -> None:
        # The main thread handles signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE_SIGNALS)
        while True:
            try:
                self._read_mailbox()
                if (run := self._steps.run) is not None and run.is_entered:
                    self._steps.publication.entered(run)
                if self._steps.must_requeue:
                    self._steps.requeue()
                if self._steps.must_write_ends:
                    with self._steps.storing:
                        self._steps.write_buffered_ends()
                if (run := self._steps.run) is not None:
                    self._check_run(run)
            except DatabaseUnavailable:
                # Lines stay buffered until the database is back or the parent ends the node; the parent repeats a stop.
                # The database may have failed over, so check ownership immediately.
                self._opened = -1
                time.sleep(LINES_SECONDS)
            except Exception:
                _log.exception("Companion thread: iteration failed, will retry")
                time.sleep(LINES_SECONDS)

    def _read_mailbox(self) -> None:
        if (request := self.mailbox.receive(self._steps.poll_seconds)) is None:
            return
        task_id, reason = request
        run = self._steps.run
        if run is not None and run.task_id == task_id:
            self._stop(run, reason)

    def _stop(self, run: ProcessRun, reason: Stop) -> None:
        # The database, not a datagram, decides whether a run has lost its job.
        if reason is not Stop.LOST or not self._store_lines(run, force=True):
            run.stop(reason)

    def _check_run(self, run: ProcessRun) -> None:
        if run.is_overdue:
            run.stop(Stop.TIMEOUT)
        run.interrupt_again_if_swallowed()
        # After a failover, a new connection may lead to a server that has lost the claim.
        opened = self._steps.writer.database.opened
        if not self._store_lines(run, force=opened != self._opened):
            run.stop(Stop.LOST)
        self._opened = opened
        self._heartbeat_for_frozen_parent()

    def _heartbeat_for_frozen_parent(self) -> None:
        if time.monotonic() >= self._check_parent_at:
            self._check_parent_at = time.monotonic() + _PARENT_CHECK_SECONDS
            with self._steps.writer.database.connect() as connection:
                nodes.heartbeat_if_silent(connection, self._node_id, silent_seconds=2 * self._heartbeat_seconds)

    def _store_lines(self, run: ProcessRun, *, force: bool = False) -> bool:
        """Store buffered lines and progress. Returns False if the run has lost its job."""
        with self._steps.storing:
            if self._steps.run is not run or not (run.has_lines or force):
                return True
            return self._steps.writer.store_lines(run)
