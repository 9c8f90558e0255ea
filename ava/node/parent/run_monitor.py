"""The run monitor: a thread beside Celery's event loop in a node's parent, which knows which child runs what.

It sends the node's heartbeat, asks the database which runs are cancelled or lost, asks children to stop, kills those
that do not, and rescues what a dead child held. What time asks of a run is decided in `ava.node.parent.deadlines`.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from ava.broker.refusals import Refusals
from ava.domain.worker import WorkerSpec
from ava.errors import DatabaseUnavailable
from ava.metrics import counters
from ava.metrics.counters import ConnectionMeter
from ava.node import processes
from ava.node.intake import Intake
from ava.node.mailbox import send_stop
from ava.node.outcome import Stop
from ava.node.parent import deadlines, memory
from ava.node.parent.deadlines import Decision, NodeState
from ava.node.parent.held_run import HeldRun
from ava.node.parent.orphans import Orphans
from ava.node.parent.rescue import rescue_run
from ava.settings import Settings
from ava.store.engine.database import Connection, Database
from ava.store.fleet import nodes, workers
from ava.store.fleet.nodes import NodeSpec
from ava.store.jobs import passed_places

__all__ = ["RunMonitor"]

_log = logging.getLogger(__name__)

#: Seconds between two iterations.
_TICK_SECONDS = 0.1
#: Seconds between two checks of the held runs in the database, which find a cancel whose revoke was lost.
_CHECK_SECONDS = 1.0
#: Seconds without the database after which a node that is asked to release runs takes itself to be cut off alone.
_CUT_OFF_SECONDS = 5.0
#: Seconds between two attempts to reach a database that is away.
_RETRY_SECONDS = 0.5
#: Seconds between two merges of the counters of processes that have ended.
_MERGE_SECONDS = 1.0
#: Seconds for which a node that starts tries to register.
_START_SECONDS = 10.0
#: Seconds that the thread gets for its last iteration and its last writes.
_CLOSE_SECONDS = 5.0


class RunMonitor:
    """What one node knows of its runs. Its methods may be called from any thread."""

    def __init__(self, settings: Settings, node_id: str, refusals: Refusals) -> None:
        self._settings = settings
        self._refusals = refusals
        #: Whether this node takes jobs.
        self.intake = Intake()
        self._queues: Sequence[str] = ()
        self._node_id = node_id
        self._node: NodeSpec | None = None
        self._specs: list[WorkerSpec] = []
        self._database = Database.of(
            settings, name="node", pool_size=1, statement_seconds=10, meter=ConnectionMeter("node", 1)
        )
        #: Two of them may be of the same run, if its message was delivered twice; the claim lets one of them run.
        self._held: set[HeldRun] = set()
        #: Held while a process is chosen and killed, so that it cannot be given another run meanwhile.
        self._lock = threading.Lock()
        #: Writes that wait for the database, in order.
        self._deferred_writes: queue.SimpleQueue[Callable[[Connection], object]] = queue.SimpleQueue()
        #: Ends the thread's wait. A SimpleQueue, because a signal handler may put into it whatever it has interrupted.
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._drained_at: float | None = None
        self._is_hurried = self._is_abandoning = self._is_ending = False
        self._thread = threading.Thread(target=self._loop, name="ava-run-monitor", daemon=True)
        self._next_heartbeat_at = self._next_check_at = self._next_merge_at = 0.0
        self._is_registered = self._is_reachable = True
        #: When the database was last reached.
        self._reached_at = time.monotonic()
        #: The task ids of the runs that the dispatcher has asked this node to release since then.
        self._released: set[str] = set()
        self._orphans = Orphans(node_id)
        #: Why the node ends itself; None if it is shut down.
        self._failure: str | None = None
        self._last_started_at = time.monotonic()

    def start(self, node: NodeSpec, specs: list[WorkerSpec]) -> None:
        """Register the node and its workers, and start the thread.

        Raises `DatabaseUnavailable` if the node cannot be registered for so long that its supervisor should know.
        """
        self._node, self._specs, self._is_registered = node, specs, False
        self._queues = node.queues
        # Before the first message: the runs of a node that has no row are rescued, as those of a dead node are.
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_registered:
            self._with_database(self._check_in)
            if not self._is_registered and time.monotonic() >= deadline:
                raise DatabaseUnavailable
        self._thread.start()

    # Called from Celery's event loop -------------------------------------------------------------------------------

    def track(self, held: Collection[HeldRun]) -> None:
        """A child has been given the runs of a message."""
        with self._lock:
            self._held.update(held)
            self._last_started_at = time.monotonic()

    def untrack(self, held: HeldRun) -> bool:
        """A child has reported a run's end, or has died. Returns False if the run is not tracked any more."""
        with self._lock:
            was_held = held in self._held
            self._held.discard(held)
            return was_held

    def rescue(self, held: HeldRun, error: str) -> None:
        """Rescue a run whose child has died, soon, in the monitor's thread. `error` says what the child died of."""
        if any(other.task_id == held.task_id for other in self._runs()):
            # The message was delivered twice, and the other child may run it. If it does not, the run is an orphan.
            return
        self._deferred_writes.put(lambda connection: rescue_run(connection, held, node_id=self._node_id, error=error))
        self._wakeups.put(None)

    def check_now(self) -> None:
        """Check the held runs in the database at once, because a revoke has come.

        Only what the database says is followed, so that a revoke which is late, doubled or forged interrupts no run.
        """
        self._next_check_at = 0.0
        self._wakeups.put(None)

    def release_runs(self, task_ids: Sequence[str]) -> None:
        """Stop these runs: the database has no heartbeat of this node, and soon the runs are given to other nodes.

        Ignored unless the database is unreachable from here: a node that reaches it asks it for the truth.
        """
        if self.unreachable_seconds > _CUT_OFF_SECONDS:
            self._released |= set(task_ids)
            self._wakeups.put(None)

    @property
    def idle_seconds(self) -> float:
        """Returns the seconds since the last run started; 0 while one is held."""
        return 0.0 if self._held else time.monotonic() - self._last_started_at

    @property
    def unreachable_seconds(self) -> float:
        """Returns the seconds since the database was last reached."""
        return time.monotonic() - self._reached_at

    def has_runs(self, connection: Connection) -> bool:
        """Returns True if by the database a run of this node has not ended, and its process was not killed."""
        killed = {held.key for held in self._runs() if held.is_killed}
        return bool(nodes.runs_of(connection, self._node_id) - killed)

    # Called from signal handlers: no lock is taken, because the main thread may hold it ------------------------------

    def drain(self) -> None:
        """Let running jobs end for `AVA_DRAIN_SECONDS`, then ask them to stop. A second call asks them at once."""
        if self._drained_at is None:
            self._drained_at = time.monotonic() + self._settings.drain_seconds
        else:
            self._is_hurried = True
        self._wakeups.put(None)

    def abandon(self) -> None:
        """Kill everything that runs now; the runs return to the queue."""
        self._is_abandoning = True
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
            self._apply_deadlines()
            self._merge_counters()
            if self._is_check_in_due():
                self._with_database(self._check_in)
        except Exception:
            _log.exception("Run monitor: iteration failed, will retry")

    def _merge_counters(self) -> None:
        if (now := time.monotonic()) >= self._next_merge_at:
            self._next_merge_at = now + _MERGE_SECONDS
            counters.merge_ended()

    def _runs(self) -> list[HeldRun]:
        with self._lock:
            return list(self._held)

    # Stopping ------------------------------------------------------------------------------------------------------

    def _apply_deadlines(self) -> None:
        now = time.monotonic()
        node = NodeState(drained_at=self._drained_at, is_hurried=self._is_hurried, is_abandoning=self._is_abandoning)
        for held in self._runs():
            is_released = held.task_id in self._released
            if is_released and held.stop is None:
                _log.warning("Node is cut off from the database: run is stopped", extra={"job_id": held.job_id})
            decision = deadlines.decide(replace(held.state, is_released=is_released), now, node)
            self._follow(held, decision)
            if decision.is_kill_due and self._is_current(held):
                self._kill(held)

    def _is_current(self, held: HeldRun) -> bool:
        """Returns False if the process of a run has another one by now, which a shutdown would kill as well.

        That is one of the same message, as far as is known, or one with the same place of a limit.
        """
        if held.stop is Stop.SHUTDOWN:
            return True
        if held.may_pass_place and self._has_passed_place(held):
            return False
        if len(held.group) <= 1:
            return True
        self._next_check_at = 0.0
        self._with_database(self._check_in)
        return held in self._held and self._is_reachable

    def _has_passed_place(self, held: HeldRun) -> bool:
        found: list[object] = []
        self._with_database(
            lambda connection: found.append(
                passed_places.passed_by(connection, job_id=held.job_id, run_no=held.run_no, node_id=self._node_id)
            )
        )
        return any(found)

    def _follow(self, held: HeldRun, decision: Decision) -> None:
        held.state = decision.run
        if decision.send is not None:
            send_stop(node_id=self._node_id, pid=held.pid, task_id=held.task_id, reason=decision.send)

    def _kill(self, held: HeldRun) -> None:
        with self._lock:
            # As long as the run is held, its process cannot have been given another.
            if held in self._held and not held.is_killed:
                held.is_killed = True
                _log.warning("Run has to end now: its process is killed", extra={"job_id": held.job_id})
                _kill_child(held.pid)

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
        now = time.monotonic()
        return (
            not self._deferred_writes.empty()
            or now >= self._next_heartbeat_at
            or (bool(self._held) and now >= self._next_check_at)
        )

    def _check_in(self, connection: Connection) -> None:
        self._write_deferred(connection)
        now = time.monotonic()
        if now >= self._next_heartbeat_at:
            self._heartbeat(connection)
            self._next_heartbeat_at = now + self._settings.heartbeat_seconds
        if (held := self._runs()) and now >= self._next_check_at:
            # Set before the database is asked, so that a `check_now` that comes meanwhile causes another check.
            self._next_check_at = now + _CHECK_SECONDS
            self._apply_directives(connection, held)

    def _heartbeat(self, connection: Connection) -> None:
        assert self._node is not None
        if not self._is_registered:
            workers.announce(connection, self._specs)
        takes_jobs = self._write_heartbeat(connection) if self._is_registered else None
        if takes_jobs is not None:
            self._follow_intake(takes_jobs)
        self._note_queues(connection, self._node)
        if takes_jobs is None:
            nodes.register(connection, self._node)
            self._is_registered = True
        for orphan in self._orphans.find(connection, {held.key for held in self._runs()}):
            self._orphans.rescue(connection, orphan)

    def _write_heartbeat(self, connection: Connection) -> bool | None:
        return nodes.heartbeat(
            connection,
            self._node_id,
            # A process that still writes the end of one run may hold its next already.
            busy=len({held.pid for held in self._runs()}),
            quiet_seconds=time.monotonic() - self._last_started_at,
            memory_bytes=memory.held_bytes(),
        )

    def _follow_intake(self, takes_jobs: bool) -> None:
        if takes_jobs == self.intake.is_open:
            return
        self.intake.is_open = takes_jobs
        if takes_jobs:
            _log.warning("Node takes jobs again")
        else:
            _log.warning("Node is drained: it finishes what runs, and takes no more jobs")

    def _note_queues(self, connection: Connection, known: NodeSpec) -> None:
        """Write which queues this node consumes. A drained node consumes none, so it counts nowhere as serving one."""
        wanted = self._queues if self.intake.is_consuming else ()
        self._node = known.consuming(wanted, refused=self._refusals.names())
        if self._is_registered and self._node != known:
            nodes.write_queues(connection, self._node)

    def _apply_directives(self, connection: Connection, runs: list[HeldRun]) -> None:
        directives = nodes.check_runs(connection, self._node_id, [held.key for held in runs])
        now = time.monotonic()
        for held in runs:
            seconds = directives.running_seconds.get(held.key)
            if held.state.claimed_at is None and seconds is not None:
                # PostgreSQL's clock may have jumped since the claim.
                held.state = replace(held.state, claimed_at=min(max(now - seconds, held.began_at), now))
            is_over, is_cancelled = held.key in directives.over, held.key in directives.cancelled
            if is_over and any(each.key in directives.running_seconds for each in held.group):
                # The process has gone on to another run of the message, or has given this one back.
                self.untrack(held)
                continue
            self._follow(held, deadlines.decide_directive(held.state, now, is_over=is_over, is_cancelled=is_cancelled))

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
        for held in self._runs():
            _kill_child(held.pid)
            if self._failure is None:
                held.state = replace(held.state, stop=held.stop or Stop.SHUTDOWN)
            error = f"WorkerLost: {self._failure or 'the worker was shut down'}"
            rescue_run(connection, held, node_id=self._node_id, error=error)
        nodes.deregister(connection, self._node_id)


def _kill_child(pid: int) -> None:
    # The kernel may have given the number to another process; that of a child which is not reaped yet stays its own.
    if pid in processes.children(os.getpid()):
        processes.kill_tree(pid)
