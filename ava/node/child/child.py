"""A child of a node: the process in which handlers run, one at a time, with its companion thread."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from billiard.process import current_process

from ava import tracing
from ava.domain.job import RunEnd
from ava.domain.messages import Message
from ava.errors import DatabaseUnavailable
from ava.handler.errors import Interruption
from ava.metrics import counters
from ava.metrics.counters import ConnectionMeter
from ava.node import processes
from ava.node.celery_internals.take_ahead import TakeAhead
from ava.node.child import run_reports
from ava.node.child.ownership_check import OwnershipCheck
from ava.node.child.process_state import BLOCKABLE_SIGNALS, ProcessState, is_signal_too_late, other_threads
from ava.node.child.run import Run
from ava.node.child.run_steps import RunSteps
from ava.node.child.run_writer import RunWriter
from ava.node.child.wear import Wear
from ava.node.mailbox import Mailbox
from ava.node.outcome import Retirement, Stop
from ava.node.run_board import ProcessBoard
from ava.settings import Settings
from ava.store.engine import timeouts
from ava.store.engine.database import Database
from ava.store.fleet import nodes
from ava.store.jobs.moves import log_lines

__all__ = ["Child"]

_log = logging.getLogger(__name__)

#: Seconds between two checks for lines to store and for a handler that exceeds its time-out.
_TICK_SECONDS = 0.1
#: Seconds between two checks of the heartbeat of the node's parent.
_PARENT_CHECK_SECONDS = 2.0
#: Seconds that the threads of a stopped handler have to end.
_THREADS_SECONDS = 0.5


class Child:
    """This process, if it is a child of a node."""

    def __init__(self, settings: Settings, node_id: str, take_ahead: TakeAhead, board: ProcessBoard) -> None:
        self._settings = settings
        self._node_id = node_id
        self._take_ahead = take_ahead
        self._connect()
        self._run: Run | None = None
        #: Held while lines are stored, so that no line is stored after the end of its run.
        self._storing = threading.Lock()
        self._mailbox = Mailbox(node_id)
        #: Connections that a handler may have closed. We never close them: the numbers may be other files by now.
        self._abandoned: list[object] = []
        self._process_state: ProcessState | None = None
        self._pid = self._parent_pid = 0
        self._check_parent_at = 0.0
        #: The number of connections that were opened when the database last said that the run holds its job.
        self._opened = 0
        self._ownership = OwnershipCheck()
        self._board = board
        self._steps = RunSteps(settings, take_ahead, board)
        self._wear = Wear(settings)
        #: Whether this process ends after its run, because no other handler may run in it.
        self._is_to_retire = False
        #: The end of the last run.
        self._last_end: RunEnd | None = None

    def start(self) -> None:
        """Set this process up; called once, right after the fork, in the main thread."""
        # A session of its own: a Ctrl-C in the terminal reaches the node alone, and one kill reaches all of a job.
        with suppress(PermissionError):
            os.setsid()
        self._pid, self._parent_pid = os.getpid(), current_process()._parent_pid
        self._board.open(self._pid)
        processes.adopt_orphans()
        # Celery has the kernel kill this process with its parent, which spares the processes that a handler started.
        processes.survive_parent()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGCONT, self._on_sigcont)
        timeouts.uninstall()
        sys.unraisablehook = self._on_unraisable
        self._mailbox.open()
        for name, target in (("companion", self._run_companion), ("exit-with-parent", self._exit_with_parent)):
            threading.Thread(target=target, name=f"ava-{name}", daemon=True).start()
        tracing.start(self._settings, "worker")
        self._process_state = ProcessState([self._mailbox.fileno(), *self._take_ahead.pipes])

    def _connect(self) -> None:
        self._database = Database.of(self._settings, name="worker", pool_size=2, meter=ConnectionMeter("worker", 2))
        self._run_writer = RunWriter(self._database, self._node_id)

    def _on_sigterm(self, _signum: int, _frame: Any) -> None:
        run = self._run
        if run is not None:
            run.on_sigterm()

    def _on_sigcont(self, _signum: int, _frame: Any) -> None:
        self._database.forget_silence()
        self._ownership.ask(self._run, self._run_writer.owns_job)

    def _on_unraisable(self, unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, Interruption) and (run := self._run) is not None:
            run.mark_swallowed()
        elif not is_signal_too_late(unraisable):
            sys.__unraisablehook__(unraisable)

    @property
    def run(self) -> Run | None:
        """Returns the run that this process holds, or None."""
        return self._run

    # Claiming ------------------------------------------------------------------------------------------------------

    def claim(self, message: Message) -> None:
        """Start the first run of a message if it can be claimed; waits for a database that is away.

        The claim fails if the job's row names another worker: the row decides which handler runs, not the message.
        """
        self._run = self._steps.claim(message, self._run_writer)

    def defer(self, message: Message) -> None:
        """Put off the jobs of a worker whose handler this node does not have."""
        for run in message.runs:
            self._run_writer.defer(run, message.worker_id, dead_after_seconds=self._settings.node_dead_seconds)

    def may_follow(self, run: Run | None) -> bool:
        """Decide how the current run ends. Returns True if another one may follow it within its message."""
        return self._steps.decide_way(run, goes_on=self._goes_on)

    @property
    def following(self) -> Message | None:
        """Returns the next run of the message, as one of its own; None if there is none."""
        return self._steps.following

    @property
    def _goes_on(self) -> bool:
        """Returns False if this process may have to end after its run, because the handler was stopped, say."""
        return not self._is_to_retire and (self._run is None or self._run.stopped_for is None)

    # Running -------------------------------------------------------------------------------------------------------

    def call_handler(self, run: Run) -> None:
        """Call the handler, undo what it changed in this process, and decide the end of its run."""
        assert self._process_state is not None
        self._steps.publication.running(run)
        self._ownership.ask_if_late(run, self._run_writer.owns_job)
        pipes = run.redirect()
        before, began, is_over = other_threads(), time.monotonic(), False
        try:
            with run.isolated_in(self._process_state) as logger, tracing.start_span("handler", parent=run.span) as at:
                run.call(logger, self._process_state.block_signals, self._process_state.timer_stops())
                is_over = True
                if run.raised is not None:
                    at.record_failure(run_reports.kind_of(run, run.raised))
                if os.getpid() != self._pid:
                    # The handler forked, and its child returned up to here.
                    os._exit(1)
        except Exception:
            if not is_over:
                raise
            _log.exception("Process not restored after a run, it will exit", extra={"job_id": run.job.id})
            self._retire()
        self._steps.handler_times.record(run.job.worker_id, time.monotonic() - began)
        if processes.has_children():
            counters.ORPHANS_KILLED.labels(run.job.worker_id).inc(processes.kill_children())
        if pipes is not None:
            pipes.close()
        if run.stopped_for is not None:
            self._await_handler_threads(before)
        self._wear.note_run()
        self._is_to_retire |= self._wear.is_worn_out
        run.decide_end(chance=random.random())  # noqa: S311 - it spreads retries, and guards nothing

    def _retire(self) -> None:
        """Have this process end after its run, whose end is written first, on a new connection."""
        self._is_to_retire = True
        # The handler may have closed the connections, and the companion thread may wait for one without end.
        is_free = self._storing.acquire(timeout=_THREADS_SECONDS)
        self._abandoned += [self._database, self._run_writer]
        self._connect()
        if is_free:
            self._storing.release()
        else:
            self._storing = threading.Lock()

    def _await_handler_threads(self, before: frozenset[threading.Thread]) -> None:
        """Wait for the threads of a stopped handler. If they do not end in time, this process ends after its run."""
        deadline = time.monotonic() + _THREADS_SECONDS
        while left := other_threads() - before:
            if time.monotonic() >= deadline:
                _log.warning("Stopped handler left %d threads running, process will exit", len(left))
                self._is_to_retire = True
                return
            time.sleep(0.01)

    # Ending --------------------------------------------------------------------------------------------------------

    def write_end(self) -> None:
        """Write the end of the run if it is decided; waits for a database that is away. The run is over either way."""
        run = self._run if self._run is not None and self._run.is_decided else None
        if run is not None:
            run.log.close()
            if run.end is None and run.stopped_for is not None:
                run.span.record_failure(run.stopped_for.value)
        try:
            with self._storing:
                self._steps.write_end(run, self._run_writer, goes_on=self._goes_on)
                if run is not None:
                    self._run, self._last_end = None, run.end
        except Exception:
            # The node rescues the job of a process that ends without writing the end.
            _log.exception("End of run not written, process exits", extra={"job_id": run.job.id if run else None})
            os._exit(os.EX_SOFTWARE)
        if self._steps.following is None:
            # Not before, because the next message, which has been asked for, may be urgent. The companion thread
            # requeues what is left of this one if the database is away.
            with suppress(DatabaseUnavailable):
                self._steps.requeue(self._database)
        if run is not None:
            self._steps.publication.ended(run)
            run.forget_error()

    def finish_task(self) -> None:
        """End this process if it must not run another task; the node replaces it."""
        if self._run is not None:
            _log.error("Task ended without a decided run, process exits", extra={"job_id": self._run.job.id})
            os._exit(os.EX_SOFTWARE)
        self._steps.publication.nothing()
        if self._is_to_retire:
            self.close()
            os._exit(Retirement.after(self._last_end))

    # The companion thread ------------------------------------------------------------------------------------------

    def _run_companion(self) -> None:
        """Store the handler's lines, enforce its time-out and read the node's datagrams, while this process lives."""
        # The main thread handles the signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE_SIGNALS)
        while True:
            try:
                self._read_mailbox()
                if self._steps.has_late_runs:
                    self._steps.requeue(self._database)
                if self._steps.has_late_ends:
                    with self._storing:
                        self._steps.write_late_ends(self._database)
                if (run := self._run) is not None:
                    self._check_run(run)
            except DatabaseUnavailable:
                # The lines are kept until the database is back, or until the parent ends the node; a stop comes again.
                # The server that is back may be another, so it is asked at once.
                self._opened = -1
                time.sleep(_TICK_SECONDS)
            except Exception:
                _log.exception("Companion thread: iteration failed, will retry")
                time.sleep(_TICK_SECONDS)

    def _read_mailbox(self) -> None:
        if (request := self._mailbox.receive(_TICK_SECONDS)) is None:
            return
        task_id, reason = request
        run = self._run
        if run is not None and run.task_id == task_id:
            self._stop(run, reason)

    def _stop(self, run: Run, reason: Stop) -> None:
        # The database decides whether a run has lost its job, not a datagram.
        if reason is not Stop.LOST or not self._store_lines(run, force=True):
            run.stop(reason)

    def _check_run(self, run: Run) -> None:
        if run.is_overdue:
            run.stop(Stop.TIMEOUT)
        run.interrupt_again_if_swallowed()
        # A new connection may lead to a server that has lost the claim, after a failover.
        opened = self._database.opened
        if not self._store_lines(run, force=opened != self._opened):
            run.stop(Stop.LOST)
        self._opened = opened
        self._heartbeat_for_frozen_parent()

    def _heartbeat_for_frozen_parent(self) -> None:
        """Write the node's heartbeat if its parent is frozen and does not write it."""
        if time.monotonic() >= self._check_parent_at:
            self._check_parent_at = time.monotonic() + _PARENT_CHECK_SECONDS
            silent_seconds = 2 * self._settings.heartbeat_seconds
            with self._database.connect() as connection:
                nodes.heartbeat_for_frozen_parent(connection, self._node_id, silent_seconds=silent_seconds)

    def _store_lines(self, run: Run, *, force: bool = False) -> bool:
        """Store the waiting lines and the progress. Returns False if the run has lost its job."""
        with self._storing:
            if self._run is not run or (run.log.is_empty and run.progress_json is None and not force):
                return True
            lines, progress_json = run.log.take(), run.progress_json
            run.progress_json = None
            try:
                with self._database.connect() as connection:
                    return log_lines.append(
                        connection,
                        run=run.job.run,
                        claim_id=run.claim_id,
                        lines=lines,
                        progress_json=progress_json,
                    )
            except DatabaseUnavailable:
                run.log.put_back(lines)
                run.progress_json = run.progress_json or progress_json
                raise

    def _exit_with_parent(self) -> None:
        """Kill this process and what its handler started when the parent ends: another node gets its job."""
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE_SIGNALS)
        processes.await_parent_exit(self._parent_pid)
        processes.kill_self_and_descendants()

    def close(self) -> None:
        """Close the connections; the process ends now, and its mailbox with it."""
        tracing.stop()
        self._run_writer.close()
        self._database.close()
