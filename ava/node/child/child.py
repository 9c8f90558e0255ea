"""A child of a node: the process that runs handlers, one at a time."""

from __future__ import annotations

import logging
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from billiard.process import current_process

from ava.handler import registry
from ava.handler.errors import Interruption
from ava.metrics import counters
from ava.metrics.counters import ConnectionMeter
from ava.node import machine_use, process_tree
from ava.node.celery_internals.pool_child import TakeAhead
from ava.node.child import run_threads
from ava.node.child.companion import Companion
from ava.node.child.process_run import ProcessRun
from ava.node.child.process_state import ProcessState, is_signal_too_late, other_threads
from ava.node.child.run_steps import RunSteps
from ava.node.outcome import MIB, Retirement
from ava.node.run_board import ProcessBoard
from ava.node.runs import breakpoints, run_reports
from ava.node.runs.ownership_check import OwnershipCheck
from ava.node.runs.run_writer import RunWriter
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.telemetry import tracing

_log = logging.getLogger(__name__)

_THREADS_SECONDS = 0.5


class Child:
    def __init__(self, settings: Settings, node_id: str, take_ahead: TakeAhead, board: ProcessBoard) -> None:
        self._settings = settings
        self._node_id = node_id
        self._take_ahead = take_ahead
        #: Connections that a handler may have closed. Never close them: their descriptors may now belong to other
        #: files.
        self._abandoned: list[object] = []
        self._process_state: ProcessState | None = None
        self._unraisable_hook: Callable[[Any], object] = sys.unraisablehook
        self._pid = 0
        self._ownership = OwnershipCheck()
        self._board = board
        self.steps = RunSteps(settings, take_ahead, board, self._connect())
        self._companion = Companion(settings, node_id, self.steps)
        self._wear = Wear(settings)
        #: Whether any handler captures subprocess output, so that a run may replace descriptors 1 and 2.
        self._may_capture = any(each.spec.captures_subprocesses for each in registry.handlers().values())

    def start(self) -> None:
        """Set up this process, right after the fork, in the main thread."""
        # In a separate session, a Ctrl-C in the terminal reaches only the node, and one kill reaches all processes of a
        # job.
        with suppress(PermissionError):
            os.setsid()
        self._pid = os.getpid()
        self._board.open(self._pid)
        process_tree.adopt_orphans()
        # Celery lets the kernel kill this process with its parent, but that would spare processes that a handler
        # started.
        process_tree.survive_parent()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGCONT, self._on_sigcont)
        self._unraisable_hook = sys.unraisablehook
        sys.unraisablehook = self._on_unraisable
        self._companion.start()
        process_tree.exit_with_parent(current_process()._parent_pid)
        tracing.start(self._settings, "worker")
        self._process_state = ProcessState([self._companion.mailbox.fileno(), *self._take_ahead.pipes])

    def _connect(self) -> RunWriter:
        database = Database.of(self._settings, name="worker", pool_size=2, meter=ConnectionMeter("worker", 2))
        return RunWriter(database, self._node_id)

    def _on_sigterm(self, _signum: int, _frame: Any) -> None:
        run = self.steps.run
        if run is not None:
            run.on_sigterm()

    def _on_sigcont(self, _signum: int, _frame: Any) -> None:
        self.steps.writer.database.forget_silence()
        self._ownership.ask(self.steps.run, self.steps.writer.owns_job)

    def _on_unraisable(self, unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, Interruption) and (run := self.steps.run) is not None:
            run.mark_swallowed()
        elif not is_signal_too_late(unraisable):
            self._unraisable_hook(unraisable)

    # Running -------------------------------------------------------------------------------------------------------

    def call_handler(self, run: ProcessRun) -> None:
        """Call the handler, restore the process, and decide the outcome of the run."""
        assert self._process_state is not None
        run.cpu_before_us = machine_use.own_cpu_us()
        self.steps.publication.running(run)
        self._ownership.ask_if_needed(run, self.steps.writer.may_begin)
        pipes = run.redirect()
        before, began, has_ended = other_threads(), time.monotonic(), False
        try:
            with run.isolated_in(self._process_state) as logger, tracing.start_span("handler", parent=run.span) as at:
                run.call(logger, self._process_state.block_signals, self._process_state.timer_stops())
                has_ended = True
                run.raised = breakpoints.explained(run.raised)
                if run.raised is not None:
                    at.record_failure(run_reports.kind_of(run, run.raised))
                if os.getpid() != self._pid:
                    # The handler forked, and its child returned to this point.
                    os._exit(1)
        except Exception:
            if not has_ended:
                raise
            _log.exception("Process not restored after a run, it will exit", extra={"job_id": run.job.id})
            self._retire()
        self.steps.handler_times.record(run.job.worker_id, time.monotonic() - began)
        if process_tree.has_children():
            counters.ORPHANS_KILLED.labels(run.job.worker_id).inc(process_tree.kill_children())
        run.cpu_us = max(0, machine_use.own_cpu_us() - run.cpu_before_us)
        if pipes is not None:
            pipes.close()
        if run.stopped_for is not None:
            self._await_handler_threads(before)
        self._wear.record_run()
        # Remaining threads would write to the descriptors of a later run that captures them.
        self.steps.is_retiring |= self._wear.is_worn_out or (self._may_capture and run_threads.are_left())
        run.decide_end(draw=random.random())  # noqa: S311 - it spreads retries, and guards nothing

    def _retire(self) -> None:
        """Make this process end after its run, whose end is first written on a new connection."""
        self.steps.is_retiring = True
        # The handler may have closed the connections.
        self._abandoned.append(self.steps.writer)
        self.steps.replace_writer(self._connect())

    def _await_handler_threads(self, before: frozenset[threading.Thread]) -> None:
        """Wait for the threads of a stopped handler. If they do not end in time, this process ends after its run."""
        deadline = time.monotonic() + _THREADS_SECONDS
        while left := other_threads() - before:
            if time.monotonic() >= deadline:
                _log.warning("Stopped handler left %d threads running, process will exit", len(left))
                self.steps.is_retiring = True
                return
            time.sleep(0.01)

    # Ending --------------------------------------------------------------------------------------------------------

    def finish_task(self) -> None:
        """End this process if it must not run another task."""
        if self.steps.run is not None:
            _log.error("Task ended without a decided run, process exits", extra={"job_id": self.steps.run.job.id})
            os._exit(os.EX_SOFTWARE)
        self.steps.publication.nothing()
        if self.steps.is_retiring:
            self.close()
            os._exit(Retirement.after(self.steps.last_end))

    def close(self) -> None:
        tracing.stop()
        self.steps.writer.close()
        self.steps.writer.database.close()


class Wear:
    def __init__(self, settings: Settings) -> None:
        self._max_runs, self._max_mib = settings.max_jobs_per_process, settings.max_memory_per_process
        self._runs = 0
        limits = [each.spec.max_memory_mb or settings.max_memory_mb for each in registry.handlers().values()]
        #: Maximum private bytes after a run: halfway between the current ones and the lowest limit of any worker, which
        #: may have the next run. 0: unlimited.
        self._max_left = 0
        if limit_mb := min(filter(None, limits), default=0):
            self._max_left = (machine_use.own_private_bytes() + limit_mb * MIB) // 2

    def record_run(self) -> None:
        self._runs += 1

    @property
    def is_worn_out(self) -> bool:
        if self._max_runs and self._runs >= self._max_runs:
            return True
        # The peak of the process, in KiB.
        if self._max_mib and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._max_mib * 1024:
            return True
        return bool(self._max_left) and machine_use.own_private_bytes() > self._max_left
