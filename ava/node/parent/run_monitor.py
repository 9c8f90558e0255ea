"""The run monitor: a thread of a node's parent, in addition to Celery's event loop.

It sends the node's heartbeat, asks the database which runs are cancelled or lost, asks children to stop, kills children
that do not, and rescues the runs of dead children.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ava.broker.refused_queues import Refusals
from ava.domain.jobs.job import RunKey
from ava.domain.worker import WorkerSpec
from ava.errors import DatabaseUnavailable
from ava.metrics import counters
from ava.metrics.counters import ConnectionMeter
from ava.node import process_tree
from ava.node.intake import Intake
from ava.node.outcome import Stop
from ava.node.parent import loop_liveness
from ava.node.parent.deadlines import NodeState
from ava.node.parent.node_row import NodeRow
from ava.node.parent.oom_kills import OOM_ERROR, OomKills
from ava.node.parent.orphans import Orphans
from ava.node.parent.pool_runs import DeadProcess, GivenRuns, PoolRuns
from ava.node.parent.run_rescue import rescue_runs
from ava.node.run_board import RunBoard
from ava.settings import Settings
from ava.store.engine.database import Connection, Database
from ava.store.fleet import nodes
from ava.store.fleet.nodes import NodeSpec
from ava.store.jobs.transitions import contain

_log = logging.getLogger(__name__)

_TICK_SECONDS = 0.1
#: Seconds between checks of current runs in the database, which also find cancels with a lost revoke.
_CHECK_SECONDS = 1.0
#: Without the database for longer, a node that is asked to release runs assumes that only itself is cut off.
_CUT_OFF_SECONDS = 5.0
#: Seconds that such a node has to reach the database; normally it takes milliseconds. The thread of a slot process may
#: wait longer, for a server that does not answer.
_ANSWER_SECONDS = 1.5
_RETRY_SECONDS = 0.5
#: Seconds between merges of ended processes' counters, and between polls of out-of-memory kills.
_MERGE_SECONDS = 1.0
_START_SECONDS = 10.0
_KILLED_ERROR = "WorkerLost: the worker process died (signal 9)"
_CLOSE_SECONDS = 5.0


class RunMonitor:
    """Monitors the runs of one node. All methods are thread-safe."""

    def __init__(self, settings: Settings, node_id: str, refusals: Refusals, runs: PoolRuns) -> None:
        self._settings = settings
        self._refusals = refusals
        self.intake = Intake()
        self._node_id = node_id
        self._row: NodeRow | None = None
        self._database = Database.of(
            settings, name="node", pool_size=1, statement_seconds=10, meter=ConnectionMeter("node", 1)
        )
        self._pool_runs = runs
        self._deferred_writes: queue.SimpleQueue[Callable[[Connection], object]] = queue.SimpleQueue()
        #: Wakes the thread. A signal handler may put into a SimpleQueue regardless of the code that it interrupts.
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._state = NodeState()
        self._is_ending = False
        self._thread = threading.Thread(target=self._loop, name="ava-run-monitor", daemon=True)
        self._next_check_at = self._next_merge_at = 0.0
        self._is_reachable = True
        self._reached_at = time.monotonic()
        #: Task ids of runs that the dispatcher has asked this node to release, and when it first did. They are stopped
        #: once an attempt to reach the database has failed or taken too long.
        self._released: set[str] = set()
        self._asked_at = 0.0
        #: Processes that were killed while the event loop was blocked, until they are dead.
        self._killed: set[int] = set()
        self._orphans = Orphans(node_id)
        self._oom_kills = OomKills()
        #: Why the node ends itself; None for a normal shutdown.
        self._failure: str | None = None

    def watch(self, board: RunBoard) -> None:
        self._pool_runs.watch(board)

    def start(self, node: NodeSpec, specs: list[WorkerSpec]) -> None:
        """Register the node and its workers, and start the thread.

        Raises `DatabaseUnavailable` after `_START_SECONDS`, so that the supervisor notices.
        """
        self._row = NodeRow(node, specs, self._refusals, self.intake)
        self._pool_runs.processes = node.processes
        # Before the first message: runs of a node without a row are rescued like those of a dead node.
        deadline = time.monotonic() + _START_SECONDS
        while not self._row.is_registered:
            self._with_database(self._check_in)
            if not self._row.is_registered and time.monotonic() >= deadline:
                raise DatabaseUnavailable
        self._thread.start()

    # Called from Celery's event loop -------------------------------------------------------------------------------

    def give(self, given: GivenRuns) -> None:
        self._pool_runs.give(given)

    def take_back(self, given: GivenRuns) -> bool:
        return self._pool_runs.take_back(given)

    def rescue(self, given: GivenRuns, error: str) -> None:
        """Rescue the runs of a dead child's message, soon, in the monitor's thread.

        `error` names the cause of death. Called before another process replaces the child.
        """
        # If a message was delivered twice, the other child may have the run; otherwise it is an orphan.
        wanted = [run for run in given.runs if not self._pool_runs.is_given(run)]
        process = self._pool_runs.bury(given.pid)
        if error == _KILLED_ERROR and process.stop is None and self._oom_kills.take():
            error = OOM_ERROR
        if process.was_claiming and process.current is not None and self._pool_runs.is_given(process.current.key):
            process = replace(process, current=None)
        self._rescue(wanted, process, error)

    def _rescue(self, wanted: Sequence[RunKey], process: DeadProcess, error: str) -> None:
        self._deferred_writes.put(
            lambda connection: rescue_runs(connection, wanted, process, node_id=self._node_id, error=error)
        )
        self._wakeups.put(None)

    def check_now(self) -> None:
        """Check the current runs in the database immediately, after a revoke.

        Only the database is trusted, so a late, duplicate or forged revoke interrupts no run.
        """
        self._next_check_at = 0.0
        self._wakeups.put(None)

    def release_runs(self, task_ids: Sequence[str]) -> None:
        """Stop these runs: the database has no heartbeat of this node, and other nodes will soon get the runs.

        Ignored within `_CUT_OFF_SECONDS` after the last contact with the database. Otherwise the node, which may have
        been frozen, tries once more, and stops the runs only if that fails or takes longer than `_ANSWER_SECONDS`.
        """
        if self.unreachable_seconds > _CUT_OFF_SECONDS:
            if not self._released:
                self._asked_at = time.monotonic()
            self._released |= set(task_ids)
            self._wakeups.put(None)

    @property
    def idle_seconds(self) -> float:
        """Return the seconds since the last run started; 0 during a run."""
        return 0.0 if self._pool_runs.has_runs else self._pool_runs.quiet_seconds

    @property
    def unreachable_seconds(self) -> float:
        return time.monotonic() - self._reached_at

    def has_runs(self, connection: Connection) -> bool:
        """Return True if the database has an unended run of this node whose process was not killed."""
        return bool(nodes.runs_of(connection, self._node_id) - self._pool_runs.killed_keys())

    # Called from signal handlers: no lock is taken, because the main thread may hold it ----------------------------

    def drain(self) -> None:
        """Let running jobs end for `AVA_DRAIN_SECONDS`, then ask them to stop. A second call stops them immediately."""
        if self._state.drained_at is None:
            self._state = self._state.drained(time.monotonic() + self._settings.drain_seconds)
        else:
            self._state = self._state.hurried()
        self._wakeups.put(None)

    def abandon(self) -> None:
        """Kill all runs immediately; they return to the queue."""
        self._state = self._state.abandoned()
        self._wakeups.put(None)

    def close(self, failure: str | None = None) -> None:
        """Execute the deferred writes, deregister the node and end the thread.

        Remaining runs are killed: lost if the node ends by a `failure`, otherwise interrupted.
        """
        self._failure = failure
        self._is_ending = True
        self._wakeups.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=_CLOSE_SECONDS)
        self._database.close()

    # The thread ----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._is_ending:
            self._run_once()
            self._await_wakeup(_TICK_SECONDS)
        # Once more if the response of a commit was lost: runs that it left would count as lost.
        if not self._with_database(self._check_out):
            self._with_database(self._check_out)

    def _await_wakeup(self, seconds: float) -> None:
        try:
            self._wakeups.get(timeout=seconds)
            while True:
                self._wakeups.get_nowait()
        except queue.Empty:
            return

    def _run_once(self) -> None:
        try:
            if not self._pool_runs.has_watch:
                self.apply_deadlines()
            self._rescue_killed()
            self._count()
            if self._is_check_in_due():
                self._with_database(self._check_in)
        except Exception:
            _log.exception("Run monitor: iteration failed, will retry")

    def apply_deadlines(self) -> None:
        is_cut_off = not self._is_reachable or time.monotonic() > self._asked_at + _ANSWER_SECONDS
        released = self._released if is_cut_off else ()
        self._killed |= {run.pid for run in self._pool_runs.apply_deadlines(self._state, released)}

    def _rescue_killed(self) -> None:
        """Rescue the runs of killed processes while the event loop, which reports deaths, is blocked."""
        if loop_liveness.is_turning():
            self._killed.clear()
        for pid in [pid for pid in self._killed if process_tree.has_ended(pid)]:
            self._killed.discard(pid)
            self._rescue(self._pool_runs.runs_of(pid), self._pool_runs.bury(pid), _KILLED_ERROR)

    def _count(self) -> None:
        if (now := time.monotonic()) >= self._next_merge_at:
            self._next_merge_at = now + _MERGE_SECONDS
            counters.merge_ended()
            self._oom_kills.poll()

    # In the database -----------------------------------------------------------------------------------------------

    def _with_database(self, act: Callable[[Connection], None]) -> bool:
        """Call `act` with a connection. Returns False if the database is unreachable.

        Logs the start and the end of an outage once.
        """
        try:
            with self._database.connect() as connection:
                act(connection)
            self._reached_at = time.monotonic()
            self._released.clear()
            if not self._is_reachable:
                _log.warning("Database is reachable again")
            self._is_reachable = True
            return True
        except DatabaseUnavailable:
            if self._is_reachable:
                _log.warning("Database is unreachable: running jobs continue")
            self._is_reachable = False
            if not self._is_ending:
                time.sleep(_RETRY_SECONDS)
            return False

    def _is_check_in_due(self) -> bool:
        assert self._row is not None
        is_check_due = self._pool_runs.has_runs and time.monotonic() >= self._next_check_at
        return not self._deferred_writes.empty() or self._row.is_heartbeat_due or is_check_due

    def _check_in(self, connection: Connection) -> None:
        self._write_deferred(connection)
        assert self._row is not None
        if self._row.is_heartbeat_due:
            self._row.heartbeat(
                connection,
                busy=self._pool_runs.busy,
                free_seconds=self._pool_runs.free_seconds,
                every_seconds=self._settings.heartbeat_seconds,
            )
            for orphan in self._orphans.find(connection, self._pool_runs.keys()):
                self._orphans.rescue(connection, orphan, has_begun=orphan in self._pool_runs.left())
        now = time.monotonic()
        if now >= self._next_check_at:
            # Before the query, so that a concurrent `check_now` causes another check.
            self._next_check_at = now + _CHECK_SECONDS
            if current := self._pool_runs.poll():
                entered = {run.key for run in current if run.is_entered}
                directives = nodes.check_runs(connection, self._node_id, [run.key for run in current], entered)
                self._pool_runs.apply_directives(current, directives)
                contain.record_entered(connection, self._node_id, directives.unrecorded)

    def _write_deferred(self, connection: Connection) -> None:
        while not self._deferred_writes.empty():
            write = self._deferred_writes.get()
            try:
                write(connection)
            except DatabaseUnavailable:
                self._deferred_writes.put(write)
                raise

    def _check_out(self, connection: Connection) -> None:
        self._write_deferred(connection)
        error = f"WorkerLost: {self._failure or 'the worker was shut down'}"
        for process in self._pool_runs.kill_all(None if self._failure else Stop.SHUTDOWN):
            wanted = self._pool_runs.runs_of(process.pid)
            rescue_runs(connection, wanted, process, node_id=self._node_id, error=error)
        nodes.deregister(connection, self._node_id)
