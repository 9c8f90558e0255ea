"""A child of a node: the process in which handlers run, one at a time, and the thread that accompanies them."""

from __future__ import annotations

import json
import logging
import os
import random
import select
import signal
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from billiard.process import current_process

from ava import tracing
from ava.domain.job import Job, RunEnd, Status
from ava.errors import DatabaseUnavailable
from ava.handler import registry
from ava.handler.errors import Interruption
from ava.handler.registry import Handler
from ava.metrics.counters import ConnectionMeter
from ava.node import mailbox, processes
from ava.node.celery_internals.take_ahead import TakeAhead
from ava.node.child import run_reports
from ava.node.child.job_log import JobLog
from ava.node.child.process_state import WAITING_SIGNALS, ProcessState, foreign_threads
from ava.node.child.run import Run
from ava.node.child.run_writer import RunWriter
from ava.node.outcome import Stop
from ava.settings import Settings
from ava.store.engine import timeouts
from ava.store.engine.database import Database
from ava.store.fleet import nodes
from ava.store.jobs import runs

__all__ = ["RETIRED", "Child"]

_log = logging.getLogger(__name__)

#: Seconds between two looks at what is to be stored or is overdue.
_TICK_SECONDS = 0.1
#: Seconds between two looks at whether the node's parent says that it lives.
_VOUCH_SECONDS = 2.0
#: Seconds below which a handler takes but a moment: less than it takes to fetch the next message.
_BRIEF_SECONDS = 0.002
#: Seconds that the threads of a handler that was stopped get to end.
_THREADS_SECONDS = 0.5
#: The exit code of a process that has written its run's end and must not run another.
RETIRED = 75
#: The credentials of a Unix datagram's sender: pid, uid, gid (unix(7), SCM_CREDENTIALS).
_CREDENTIALS = struct.Struct("iII")


def _is_signal_too_late(unraisable: Any) -> bool:
    """Whether CPython tells of a signal whose handler was taken away meanwhile, as we do when a job's is over."""
    return isinstance(unraisable.exc_value, OSError) and "ignored due to race condition" in str(unraisable.exc_value)


class Child:
    """This process, where it is a child of a node."""

    def __init__(self, settings: Settings, node_id: str, take_ahead: TakeAhead) -> None:
        self._settings = settings
        self._node_id = node_id
        self._take_ahead = take_ahead
        self._database = Database(settings.database_url, name="worker", pool_size=2, meter=ConnectionMeter("worker", 2))
        self._moves = RunWriter(self._database, node_id)
        self._run: Run | None = None
        #: The next run, where it was claimed when this one's end was written.
        self._following: Run | None = None
        #: Held while lines are on their way into the database, so that none comes after its run's end.
        self._storing = threading.Lock()
        self._mailbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._process_state: ProcessState | None = None
        self._pid = self._parent_pid = 0
        self._vouch_at = 0.0
        #: How long runs of each worker's handler take, as far as the last ones tell.
        self._took_seconds: dict[str, float] = {}
        #: Whether this process ends after its run, for threads of a stopped handler still run in it.
        self._is_to_retire = False

    def start(self) -> None:
        """Take this process over; called once, right after the fork, in the main thread."""
        # A session of its own: a Ctrl-C in the node's terminal is the node's, and a kill reaches all of a job.
        with suppress(PermissionError):
            os.setsid()
        self._pid, self._parent_pid = os.getpid(), current_process()._parent_pid
        processes.adopt_orphans()
        # Celery has the kernel kill us with our parent, which would leave alone what a handler has started.
        processes.survive_parent()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGCONT, self._on_sigcont)
        timeouts.uninstall()
        sys.unraisablehook = self._on_unraisable
        self._mailbox.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._mailbox.bind(mailbox.address(self._node_id, os.getpid()))
        for act in (self._accompany, self._exit_with_parent):
            threading.Thread(target=act, name=f"ava-{act.__name__.strip('_')}", daemon=True).start()
        tracing.start(self._settings, "worker")
        self._process_state = ProcessState()

    def _on_sigterm(self, _signum: int, _frame: Any) -> None:
        run = self._run
        if run is not None:
            run.on_sigterm()

    def _on_sigcont(self, _signum: int, _frame: Any) -> None:
        """This process was stopped for nobody knows how long: before its handler goes on, see whether it still may."""
        run = self._run
        if run is None or not run.is_open:
            return
        with suppress(DatabaseUnavailable):
            if not self._moves.is_held(run):
                run.lose()

    def _on_unraisable(self, unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, Interruption) and (run := self._run) is not None:
            run.on_swallowed()
        elif not _is_signal_too_late(unraisable):
            sys.__unraisablehook__(unraisable)

    @property
    def run(self) -> Run | None:
        """The run that this process holds."""
        return self._run

    # Claiming ------------------------------------------------------------------------------------------------------

    def claim(self, *, job_id: str, run_no: int, handler: Handler) -> None:
        """Start a run, if it is to be had; a database that is away is waited for."""
        following, self._following = self._following, None
        if following is not None and (following.job.id, following.job.run_no) == (job_id, run_no):
            self._run = following
            return
        began_ns = time.time_ns()
        if (job := self._moves.claim(job_id, run_no)) is not None:
            self._run = self._begin(job, handler, began_ns)

    def _begin(self, job: Job, handler: Handler, began_ns: int) -> Run:
        """Make the run of a job that has been claimed just now; `began_ns`: when that was asked for."""
        assert job.started_at is not None
        prefix = f"{handler.slug.upper()}_"
        config = self._settings.worker_config
        return Run(
            job=job,
            handler=handler,
            log=JobLog(first_seq=job.run_no * runs.SEQ_PER_RUN, started_at=job.started_at),
            config={key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)},
            main_thread=threading.main_thread(),
            span=run_reports.start_run_span(job, began_ns),
        )

    def defer(self, *, job_id: str, run_no: int) -> None:
        """Put a job off whose handler this node does not have."""
        self._moves.defer(job_id, run_no)

    # Running -------------------------------------------------------------------------------------------------------

    def perform(self, run: Run) -> None:
        """Run the handler; what it returned or raised is kept in its run. Nothing it started or changed is left."""
        assert self._process_state is not None
        before, began = foreign_threads(), time.monotonic()
        with self._process_state.of_run(run.log) as logger, tracing.start_span("handler", parent=run.span) as span:
            run.call(logger, self._process_state.block_signals)
            if run.raised is not None:
                span.record_failure(type(run.raised).__name__)
            if os.getpid() != self._pid:
                # A handler that forked, and whose child came back up to here.
                os._exit(1)
        self._note_seconds(run.job.worker_id, time.monotonic() - began)
        if processes.has_children():
            processes.kill_children()
        if run.stopped_for is not None:
            self._await_handler_threads(before)
        run.decide_end(chance=random.random())  # noqa: S311 - it spreads retries, and guards nothing

    def _await_handler_threads(self, before: frozenset[threading.Thread]) -> None:
        """Have a stopped handler's threads end with it; those that do not end soon do so with this process."""
        deadline = time.monotonic() + _THREADS_SECONDS
        while left := foreign_threads() - before:
            if time.monotonic() >= deadline:
                _log.warning("A stopped handler left %d threads running; its process ends.", len(left))
                self._is_to_retire = True
                return
            time.sleep(0.01)

    # Ending --------------------------------------------------------------------------------------------------------

    def record(self) -> None:
        """Write the run's end once it is decided, waiting for a database that is away. The run is over either way."""
        if (run := self._run) is None or not run.is_decided:
            return
        run.log.close()
        if run.end is None and run.stopped_for is not None:
            run.span.record_failure(run.stopped_for.value)
        try:
            with self._storing:
                if run.end is not None:
                    run_reports.report_end(run, self._write_end(run, run.end))
                elif run.stopped_for is Stop.SHUTDOWN:
                    self._moves.hand_back(run, run.log.take())
        except Exception:
            # The node takes back what a process leaves behind that ends without a word; nothing stays half-done.
            _log.exception("A run's end cannot be written; its process ends.", extra={"job_id": run.job.id})
            os._exit(os.EX_SOFTWARE)
        finally:
            self._run = None
            run.span.end()

    def leave(self) -> None:
        """The task is over: make sure that this process is fit for the next, or end it; the node replaces it."""
        if self._run is not None:
            _log.error("A run came to no end; its process ends.", extra={"job_id": self._run.job.id})
            os._exit(os.EX_SOFTWARE)
        if self._is_to_retire:
            self.close()
            os._exit(RETIRED)

    def _write_end(self, run: Run, run_end: RunEnd) -> Status | None:
        # A process that may have to end after this run, or was asked to stop, asks for nothing more yet.
        goes_on = run.stopped_for is None and not self._is_to_retire
        if goes_on:
            self._take_ahead.announce_soon_free()
        else:
            self._take_ahead.withdraw()
        lines = run.log.take_with_closing(*run_end.closing)
        message = self._take_ahead.take_next(self._is_brief) if goes_on else None
        handler = registry.find(message[2]) if message is not None else None
        began_ns = time.time_ns()
        if message is None or handler is None:
            return self._moves.end(run_end, lines, run.progress_json)[0]
        status, job = self._moves.end(run_end, lines, run.progress_json, message[:2])
        # One that was not to be had at this moment is asked for once more when its turn comes.
        self._following = None if job is None else self._begin(job, handler, began_ns)
        return status

    def _note_seconds(self, worker_id: str, seconds: float) -> None:
        # One that took longer is trusted again only after a while.
        self._took_seconds[worker_id] = max(seconds, self._took_seconds.get(worker_id, 0.0) / 2)

    def _is_brief(self, worker_id: str) -> bool:
        return self._took_seconds.get(worker_id, _BRIEF_SECONDS) < _BRIEF_SECONDS

    # Accompanying --------------------------------------------------------------------------------------------------

    def _accompany(self) -> None:
        """Store lines while the handler runs, end its time, and hear what the node has to say; in a thread."""
        # Signals are for the main thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITING_SIGNALS)
        while True:
            try:
                self._hear()
                self._take_ahead.check_announcement()
                if (run := self._run) is not None:
                    self._look_after(run)
            except Exception:
                _log.exception("The companion of this process's runs failed once.")
                time.sleep(_TICK_SECONDS)

    def _hear(self) -> None:
        readable, _, _ = select.select([self._mailbox], [], [], _TICK_SECONDS)
        if not readable:
            return
        message, ancillary, _, _ = self._mailbox.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        if not any(_CREDENTIALS.unpack(data)[1] == os.getuid() for *_, data in ancillary):
            return
        task_id, reason = json.loads(message)
        run = self._run
        if run is not None and run.task_id == task_id:
            self._stop(run, Stop(reason))

    def _stop(self, run: Run, reason: Stop) -> None:
        # That a right is lost is for the database to say, not for a message.
        if reason is not Stop.LOST or not self._store(run, force=True):
            run.stop(reason)

    def _look_after(self, run: Run) -> None:
        if run.is_overdue:
            run.stop(Stop.TIMEOUT)
        run.repeat()
        try:
            if not self._store(run):
                run.stop(Stop.LOST)
            self._vouch()
        except DatabaseUnavailable:
            # The lines are held; the database comes back, or the node's end is decided elsewhere.
            time.sleep(_TICK_SECONDS)

    def _vouch(self) -> None:
        """Say for a node whose parent does not, for it is frozen, that one of its processes lives."""
        if time.monotonic() >= self._vouch_at:
            self._vouch_at = time.monotonic() + _VOUCH_SECONDS
            with self._database.connect() as connection:
                nodes.heartbeat_for_frozen_parent(
                    connection, self._node_id, silent_seconds=2 * self._settings.heartbeat_seconds
                )

    def _store(self, run: Run, *, force: bool = False) -> bool:
        """Store what waits; False where the run has lost its right."""
        with self._storing:
            if self._run is not run or (run.log.is_empty and run.progress_json is None and not force):
                return True
            lines, progress_json = run.log.take(), run.progress_json
            run.progress_json = None
            try:
                with self._database.connect() as connection:
                    return runs.append_lines(
                        connection,
                        job_id=run.job.id,
                        run_no=run.job.run_no,
                        lines=lines,
                        progress_json=progress_json,
                    )
            except DatabaseUnavailable:
                run.log.put_back(lines)
                run.progress_json = run.progress_json or progress_json
                raise

    def _exit_with_parent(self) -> None:
        """End with the node, and with us what a handler has started: soon another node has its runs; in a thread."""
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITING_SIGNALS)
        processes.await_parent_exit(self._parent_pid)
        processes.kill_self_and_descendants()

    def close(self) -> None:
        """Take leave of the database; the process ends now, and its mailbox with it."""
        tracing.stop()
        self._moves.close()
        self._database.close()
