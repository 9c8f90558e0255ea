"""The run monitor: a thread beside Celery's event loop in a node's parent.

It sends the node's heartbeat, asks the database which runs are cancelled or lost, asks children to stop, kills those
that do not, and rescues the runs of a dead child. What each child runs is read in `ava.node.parent.pool_runs`, and what
time asks of a run is decided in `ava.node.parent.deadlines`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ava.broker.refusals import Refusals
from ava.domain.jobs.job import RunKey
from ava.domain.worker import WorkerSpec
from ava.errors import DatabaseUnavailable
from ava.metrics import counters
from ava.metrics.counters import ConnectionMeter
from ava.node import processes
from ava.node.intake import Intake
from ava.node.outcome import Stop
from ava.node.parent import loop_liveness
from ava.node.parent.deadlines import NodeState
from ava.node.parent.node_row import NodeRow
from ava.node.parent.oom_kills import OOM_ERROR, OomKills
from ava.node.parent.orphans import Orphans
from ava.node.parent.pool_runs import PoolRuns
from ava.node.parent.rescue import rescue_runs
from ava.node.parent.tracked_run import DeadProcess, GivenRuns
from ava.node.run_board import RunBoard
from ava.settings import Settings
from ava.store.engine.database import Connection, Database
from ava.store.fleet import nodes
from ava.store.fleet.nodes import NodeSpec

_log = logging.getLogger(__name__)

#: Seconds between two iterations.
_TICK_SECONDS = 0.1
#: Seconds between two checks of the current runs in the database, which find a cancel whose revoke was lost.
_CHECK_SECONDS = 1.0
#: Seconds without the database after which a node that is asked to release runs takes itself to be cut off alone.
_CUT_OFF_SECONDS = 5.0
#: Seconds between two attempts to reach a database that is away.
_RETRY_SECONDS = 0.5
#: Seconds between two merges of the counters of processes that have ended, and two looks at those that were killed.
_MERGE_SECONDS = 1.0
#: Seconds for which a node that starts tries to register.
_START_SECONDS = 10.0
#: The error of a job whose process was killed.
_KILLED_ERROR = "WorkerLost: the worker process died (signal 9)"
#: Seconds that the thread gets for its last iteration and its last writes.
_CLOSE_SECONDS = 5.0


class RunMonitor:
    """Watches over the runs of one node. Its methods may be called from any thread."""

    def __init__(self, settings: Settings, node_id: str, refusals: Refusals, runs: PoolRuns) -> None:
        self._settings = settings
        self._refusals = refusals
        #: Whether this node takes jobs.
        self.intake = Intake()
        self._node_id = node_id
        self._row: NodeRow | None = None
        self._database = Database.of(
            settings, name="node", pool_size=1, statement_seconds=10, meter=ConnectionMeter("node", 1)
        )
        self._pool_runs = runs
        #: Writes that wait for the database, in order.
        self._deferred_writes: queue.SimpleQueue[Callable[[Connection], object]] = queue.SimpleQueue()
        #: Ends the thread's wait. A SimpleQueue, because a signal handler may put into it whatever it has interrupted.
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._state = NodeState()
        self._is_ending = False
        self._thread = threading.Thread(target=self._loop, name="ava-run-monitor", daemon=True)
        self._next_check_at = self._next_merge_at = 0.0
        self._is_reachable = True
        #: When the database was last reached.
        self._reached_at = time.monotonic()
        #: The task ids of the runs that the dispatcher has asked this node to release since then. They are stopped once
        #: an attempt to reach the database has failed.
        self._released: set[str] = set()
        #: The processes that were killed while the event loop stood still, until they are dead.
        self._killed: set[int] = set()
        self._orphans = Orphans(node_id)
        self._oom_kills = OomKills()
        #: Why the node ends itself; None if it is shut down.
        self._failure: str | None = None

    def watch(self, board: RunBoard) -> None:
        """Look at the board of the pool's processes; called before they are started."""
        self._pool_runs.watch(board)

    def start(self, node: NodeSpec, specs: list[WorkerSpec]) -> None:
        """Register the node and its workers, and start the thread.

        Raises `DatabaseUnavailable` if the node cannot be registered for so long that its supervisor should know.
        """
        self._row = NodeRow(node, specs, self._refusals, self.intake)
        # Before the first message: the runs of a node that has no row are rescued, as those of a dead node are.
        deadline = time.monotonic() + _START_SECONDS
        while not self._row.is_registered:
            self._with_database(self._check_in)
            if not self._row.is_registered and time.monotonic() >= deadline:
                raise DatabaseUnavailable
        self._thread.start()

    # Called from Celery's event loop -------------------------------------------------------------------------------

    def give(self, given: GivenRuns) -> None:
        """A child has accepted the runs of a message."""
        self._pool_runs.give(given)

    def take_back(self, given: GivenRuns) -> bool:
        """A child has reported the end of a message, or has died. Returns False if it has been taken back before."""
        return self._pool_runs.take_back(given)

    def rescue(self, given: GivenRuns, error: str) -> None:
        """Rescue the runs of a message whose child has died, soon, in the monitor's thread.

        `error` says what the child died of. It is called before another process takes the child's place.
        """
        # If a message was delivered twice, the other child may have the run. If it has not, the run is an orphan.
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
        """Check the current runs in the database at once, because a revoke has come.

        Only what the database says is followed, so that a revoke which is late, doubled or forged interrupts no run.
        """
        self._next_check_at = 0.0
        self._wakeups.put(None)

    def release_runs(self, task_ids: Sequence[str]) -> None:
        """Stop these runs: the database has no heartbeat of this node, and soon the runs are given to other nodes.

        Ignored if this node reached the database a moment ago. Otherwise the node asks it once more, because its
        process may have been frozen, and the runs are stopped only if that fails.
        """
        if self.unreachable_seconds > _CUT_OFF_SECONDS:
            self._released |= set(task_ids)
            self._wakeups.put(None)

    @property
    def idle_seconds(self) -> float:
        """Returns the seconds since the last run started; 0 while there is one."""
        return 0.0 if self._pool_runs.has_runs else self._pool_runs.quiet_seconds

    @property
    def unreachable_seconds(self) -> float:
        """Returns the seconds since the database was last reached."""
        return time.monotonic() - self._reached_at

    def has_runs(self, connection: Connection) -> bool:
        """Returns True if by the database a run of this node has not ended, and its process was not killed."""
        return bool(nodes.runs_of(connection, self._node_id) - self._pool_runs.killed_keys())

    # Called from signal handlers: no lock is taken, because the main thread may hold it ------------------------------

    def drain(self) -> None:
        """Let running jobs end for `AVA_DRAIN_SECONDS`, then ask them to stop. A second call asks them at once."""
        if self._state.drained_at is None:
            self._state = self._state.drained(time.monotonic() + self._settings.drain_seconds)
        else:
            self._state = self._state.hurried()
        self._wakeups.put(None)

    def abandon(self) -> None:
        """Kill everything that runs now; the runs return to the queue."""
        self._state = self._state.abandoned()
        self._wakeups.put(None)

    def close(self, failure: str | None = None) -> None:
        """Do the deferred writes, deregister the node and end the thread.

        What still runs is killed. It is lost if the node ends by a `failure`, and interrupted if not.
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
        """Stop or end what has to end now."""
        released = () if self._is_reachable else self._released
        self._killed |= {run.pid for run in self._pool_runs.apply_deadlines(self._state, released)}

    def _rescue_killed(self) -> None:
        """Rescue the runs of killed processes while the event loop, which reports deaths, stands still."""
        if loop_liveness.is_turning():
            self._killed.clear()
        for pid in [pid for pid in self._killed if processes.has_ended(pid)]:
            self._killed.discard(pid)
            self._rescue(self._pool_runs.runs_of(pid), self._pool_runs.bury(pid), _KILLED_ERROR)

    def _count(self) -> None:
        if (now := time.monotonic()) >= self._next_merge_at:
            self._next_merge_at = now + _MERGE_SECONDS
            counters.merge_ended()
            self._oom_kills.look()

    # In the database -----------------------------------------------------------------------------------------------

    def _with_database(self, act: Callable[[Connection], None]) -> None:
        """Do something in the database. Logs once that it is unreachable, and once that it is reachable again."""
        try:
            with self._database.connect() as connection:
                act(connection)
            self._reached_at = time.monotonic()
            self._released.clear()
            if not self._is_reachable:
                _log.warning("Database is reachable again")
            self._is_reachable = True
        except DatabaseUnavailable:
            if self._is_reachable:
                _log.warning("Database is unreachable: running jobs go on")
            self._is_reachable = False
            if not self._is_ending:
                time.sleep(_RETRY_SECONDS)

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
                quiet_seconds=self._pool_runs.quiet_seconds,
                every_seconds=self._settings.heartbeat_seconds,
            )
            for orphan in self._orphans.find(connection, self._pool_runs.keys()):
                self._orphans.rescue(connection, orphan, has_begun=orphan in self._pool_runs.left())
        now = time.monotonic()
        if now >= self._next_check_at:
            # Set before the database is asked, so that a `check_now` that comes meanwhile causes another check.
            self._next_check_at = now + _CHECK_SECONDS
            if current := self._pool_runs.look():
                directives = nodes.check_runs(connection, self._node_id, [run.key for run in current])
                self._pool_runs.apply_directives(current, directives)

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
