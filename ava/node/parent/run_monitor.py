"""The run_monitor of a node: a thread beside Celery's event loop that knows which child runs what.

It says that the node lives, hears from the database what is to be cancelled or was taken away, has children stop, kills
those that do not, and takes back what a dead child held.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence

from ava.domain.worker import WorkerSpec
from ava.errors import DatabaseUnavailable
from ava.metrics.counters import ConnectionMeter
from ava.node import processes
from ava.node.mailbox import send_stop
from ava.node.outcome import Stop
from ava.node.parent import memory
from ava.node.parent.held_run import HeldRun
from ava.node.parent.orphans import Orphans
from ava.node.parent.rescue import rescue_run
from ava.settings import Settings
from ava.store.engine.database import Connection, Database
from ava.store.fleet import nodes, workers
from ava.store.fleet.nodes import NodeSpec
from ava.store.jobs import client_moves

__all__ = ["RunMonitor"]

_log = logging.getLogger(__name__)

#: Seconds between two looks at the clock.
_TICK_SECONDS = 0.1
#: Seconds between two questions to the database about what is to be cancelled: the second road of a cancel.
_ORDERS_SECONDS = 1.0
#: Seconds that a child gets, beyond what the handler may take, to end a run by itself.
_MARGIN_SECONDS = 0.5
#: Seconds of grace for a handler once a second SIGTERM hurries the node.
_HURRIED_GRACE_SECONDS = 2.0
#: Seconds without the database after which this node believes that it alone is cut off, if it is told so.
_CUT_OFF_SECONDS = 5.0
#: Seconds that a child gets at least to report the end of a run that the database says is over.
_LEAST_REPORT_SECONDS = 2.0


class RunMonitor:
    """What one node knows of its runs; its methods may be called from any thread."""

    def __init__(self, settings: Settings, node_id: str) -> None:
        self._settings = settings
        self._node_id = node_id
        self._node: NodeSpec | None = None
        self._specs: list[WorkerSpec] = []
        self._database = Database(
            settings.database_url, name="node", pool_size=1, statement_seconds=10, meter=ConnectionMeter("node", 1)
        )
        #: Two of them may be of the same run, where its message was heard twice; one of these will drop it.
        self._held: set[HeldRun] = set()
        #: HeldRun while deciding on a process and signalling it, so that it cannot be given another run meanwhile.
        self._lock = threading.Lock()
        self._errands: queue.SimpleQueue[Callable[[Connection], object]] = queue.SimpleQueue()
        #: Wakes the thread. A SimpleQueue, for a signal handler may put into it whatever it has interrupted.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._drain_at: float | None = None
        self._is_hurried = self._is_abandoning = self._is_ending = False
        self._thread = threading.Thread(target=self._keep, name="ava-run-monitor", daemon=True)
        self._next_beat = self._next_orders = 0.0
        self._is_known = self._is_reaching = True
        #: When the database was last reached, and which runs others are about to be given since.
        self._reached_at = time.monotonic()
        self._doomed: set[str] = set()
        self._orphans = Orphans(node_id)
        self._last_begin = time.monotonic()

    def start(self, node: NodeSpec, specs: list[WorkerSpec]) -> None:
        """Introduce the node and its workers, and begin to keep it."""
        self._node, self._specs, self._is_known = node, specs, False
        # Before the first message: what a node runs that nobody knows would be taken from it as from a dead one.
        self._attempt(self._ask)
        self._thread.start()

    # What Celery's event loop tells --------------------------------------------------------------------------------

    def track(self, held: HeldRun) -> None:
        """A child has been given a run."""
        with self._lock:
            self._held.add(held)
            self._last_begin = time.monotonic()

    def untrack(self, held: HeldRun) -> bool:
        """A child has reported a run's end, or has died; False where that was known already."""
        with self._lock:
            was_held = held in self._held
            self._held.discard(held)
            return was_held

    def rescue(self, held: HeldRun, error: str) -> None:
        """Take a run back whose child has died; soon, in this run_monitor's thread."""
        if any(other.task_id == held.task_id for other in self._runs()):
            # The message was heard twice here, and another child may be the one that runs it; if not, it is an orphan.
            return
        self._errands.put(lambda connection: rescue_run(connection, held, node_id=self._node_id, error=error))
        self._bell.put(None)

    def return_to_queue(self, job_id: str) -> None:
        """Leave a job to others whose message came here; soon, in this run_monitor's thread."""
        self._errands.put(lambda connection: client_moves.unpublish(connection, [job_id]))
        self._bell.put(None)

    def check_now(self) -> None:
        """A revoke has come: ask the database at once what is to be cancelled.

        The message is a doorbell. Only what the database says is followed, so that one which comes late, twice or from
        somebody else's hand interrupts nobody.
        """
        self._next_orders = 0.0
        self._bell.put(None)

    @property
    def idle_seconds(self) -> float:
        """For how long this node has had nothing to run; 0 while it has."""
        return 0.0 if self._held else time.monotonic() - self._last_begin

    @property
    def unreachable_seconds(self) -> float:
        """For how long the database has not been reached."""
        return time.monotonic() - self._reached_at

    def release_runs(self, task_ids: Sequence[str]) -> None:
        """Others are about to be given these runs, for the database does not hear this node any more.

        It is followed only where that is so: whoever reaches the database hears everything from there.
        """
        if self.unreachable_seconds > _CUT_OFF_SECONDS:
            self._doomed |= set(task_ids)
            self._bell.put(None)

    # What signal handlers tell: no lock is taken, for the main thread may be holding it ------------------------------

    def drain(self) -> None:
        """Let running jobs end for a while, then have them stop; called again, at once."""
        if self._drain_at is None:
            self._drain_at = time.monotonic() + self._settings.drain_seconds
        else:
            self._is_hurried = True
        self._bell.put(None)

    def abandon(self) -> None:
        """Kill everything that runs, now, and give it back."""
        self._is_abandoning = True
        self._bell.put(None)

    def close(self) -> None:
        """Do what is still to be done, say that the node has ended, and end the thread."""
        self._is_ending = True
        self._bell.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._database.close()

    # The thread ----------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._is_ending:
            self._look()
            self._rest(_TICK_SECONDS)
        self._attempt(self._end)

    def _rest(self, seconds: float) -> None:
        try:
            self._bell.get(timeout=seconds)
            while True:
                self._bell.get_nowait()
        except queue.Empty:
            return

    def _look(self) -> None:
        try:
            self._stop_when_due()
            self._kill_when_due()
            if self._is_due():
                self._attempt(self._ask)
        except Exception:
            _log.exception("The run_monitor of this node failed once.")

    def _runs(self) -> list[HeldRun]:
        with self._lock:
            return list(self._held)

    # Stopping ------------------------------------------------------------------------------------------------------

    def _stop_when_due(self) -> None:
        now = time.monotonic()
        is_drained = self._drain_at is not None and now >= self._drain_at
        for held in self._runs():
            if self._is_hurried and not held.is_hurried:
                held.is_hurried = True
                self._stop(held, Stop.SHUTDOWN, min(held.grace_seconds, _HURRIED_GRACE_SECONDS))
            elif held.task_id in self._doomed and held.stop is None:
                _log.warning("This node is cut off from the database; a run lets go.", extra={"job_id": held.job_id})
                self._stop(held, Stop.SHUTDOWN, min(held.grace_seconds, _HURRIED_GRACE_SECONDS))
            elif is_drained and held.stop is None:
                self._stop(held, Stop.SHUTDOWN, held.grace_seconds)
            elif held.stop is None and now >= _end_of_time(held):
                # The child ends a run's time itself; one that does not is stuck where no signal is heard.
                self._stop(held, Stop.TIMEOUT, held.grace_seconds)
            elif held.stop is not None:
                # Said again, for the first time may have been before the child knew of its run.
                self._tell(held, held.stop)

    def _stop(self, held: HeldRun, reason: Stop, grace_seconds: float) -> None:
        if held.stop is None:
            held.stop = reason
        kill_at = time.monotonic() + grace_seconds + _MARGIN_SECONDS
        held.kill_at = kill_at if held.kill_at is None else min(kill_at, held.kill_at)
        self._tell(held, held.stop)

    def _tell(self, held: HeldRun, reason: Stop) -> None:
        send_stop(node_id=self._node_id, pid=held.pid, task_id=held.task_id, reason=reason)

    def _kill_when_due(self) -> None:
        now = time.monotonic()
        for held in self._runs():
            if self._is_abandoning:
                held.stop = held.stop or Stop.SHUTDOWN
                self._kill(held)
            elif held.kill_at is not None and now >= held.kill_at:
                self._kill(held)

    def _kill(self, held: HeldRun) -> None:
        with self._lock:
            # As long as the run is held, its process cannot have been given another.
            if held in self._held and not held.is_killed:
                held.is_killed = True
                _log.warning("The process of a run that must end now is killed.", extra={"job_id": held.job_id})
                _kill_child(held.pid)

    # Asking the database -------------------------------------------------------------------------------------------

    def _attempt(self, act: Callable[[Connection], None]) -> None:
        """Do something in the database, and say once that it is away and once that it is back."""
        try:
            with self._database.connect() as connection:
                act(connection)
            self._reached_at = time.monotonic()
            self._doomed.clear()
            if not self._is_reaching:
                _log.warning("The database is back.")
            self._is_reaching = True
        except DatabaseUnavailable:
            if self._is_reaching:
                _log.warning("The database is out of reach; what runs goes on.")
            self._is_reaching = False
            if not self._is_ending:
                time.sleep(0.5)

    def _is_due(self) -> bool:
        now = time.monotonic()
        return not self._errands.empty() or now >= self._next_beat or (bool(self._held) and now >= self._next_orders)

    def _ask(self, connection: Connection) -> None:
        self._run_errands(connection)
        now = time.monotonic()
        if now >= self._next_beat:
            self._beat(connection)
            self._next_beat = now + self._settings.heartbeat_seconds
        if (held := self._runs()) and now >= self._next_orders:
            # First, so that a bell which rings while we ask has us ask again.
            self._next_orders = now + _ORDERS_SECONDS
            self._follow_orders(connection, held)

    def _beat(self, connection: Connection) -> None:
        assert self._node is not None
        if not self._is_known:
            workers.announce(connection, self._specs)
        quiet_seconds = time.monotonic() - self._last_begin
        if not self._is_known or not nodes.heartbeat(
            connection,
            self._node_id,
            # One may have its next run already while it writes the end of the one before.
            busy=len({held.pid for held in self._runs()}),
            quiet_seconds=quiet_seconds,
            memory_bytes=memory.held_bytes(),
        ):
            nodes.register(connection, self._node)
            self._is_known = True
        for orphan in self._orphans.find(connection, {(held.job_id, held.run_no) for held in self._runs()}):
            self._orphans.rescue(connection, orphan)

    def _follow_orders(self, connection: Connection, runs: list[HeldRun]) -> None:
        told = nodes.check_runs(connection, [(held.job_id, held.run_no) for held in runs])
        for held in runs:
            run = (held.job_id, held.run_no)
            if held.claimed_at is None and run in told.running_seconds:
                held.claimed_at = time.monotonic() - told.running_seconds[run]
            if held.stop is not None:
                continue
            if run in told.over:
                self._stop(held, Stop.LOST, max(held.grace_seconds, _LEAST_REPORT_SECONDS))
            elif run in told.cancelled:
                self._stop(held, Stop.CANCEL, held.grace_seconds)

    def _run_errands(self, connection: Connection) -> None:
        while not self._errands.empty():
            errand = self._errands.get()
            try:
                errand(connection)
            except DatabaseUnavailable:
                self._errands.put(errand)
                raise

    def _end(self, connection: Connection) -> None:
        self._run_errands(connection)
        for held in self._runs():
            _kill_child(held.pid)
            held.stop = held.stop or Stop.SHUTDOWN
            rescue_run(connection, held, node_id=self._node_id, error="WorkerLost: the worker was shut down")
        nodes.deregister(connection, self._node_id)


def _end_of_time(held: HeldRun) -> float:
    """When a run's time is over for certain, as the stopwatch shows it."""
    return float("inf") if held.claimed_at is None else held.claimed_at + held.timeout_seconds + _MARGIN_SECONDS


def _kill_child(pid: int) -> None:
    # A number may have gone to a stranger since; a child of ours keeps it until we have heard of its death.
    if pid in processes.children(os.getpid()):
        processes.kill_tree(pid)
