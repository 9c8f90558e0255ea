"""The keeper of a node: a thread beside Celery's event loop that knows which child runs what.

It says that the node lives, hears from the database what is to be cancelled or was taken away, has children stop, kills
those that do not, and takes back what a dead child held.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ava.domain.worker import WorkerSpec
from ava.errors import DatabaseUnavailable
from ava.execution import processes
from ava.execution.child import send_stop
from ava.execution.outcome import Stop
from ava.settings import Settings
from ava.store import nodes, runs, workers
from ava.store.database import Connection, Database
from ava.store.nodes import NodeSpec

__all__ = ["Held", "Keeper"]

_log = logging.getLogger(__name__)

#: Seconds between two looks at the clock.
_TICK_SECONDS = 0.1
#: Seconds between two questions to the database about what is to be cancelled: the second road of a cancel.
_ORDERS_SECONDS = 1.0
#: Seconds that a child gets, beyond what the handler may take, to end a run by itself.
_MARGIN_SECONDS = 0.5
#: Seconds of grace for a handler once a second SIGTERM hurries the node.
_HURRIED_GRACE_SECONDS = 2.0


@dataclass(kw_only=True, eq=False)
class Held:
    """A run that a child of this node has been given."""

    task_id: str
    job_id: str
    run_no: int
    pid: int
    timeout_seconds: float
    grace_seconds: float
    started: float = field(default_factory=time.monotonic)
    #: Why it was asked to let go, and when it is killed if it has not.
    stop: Stop | None = None
    kill_at: float | None = None
    is_killed: bool = False


class Keeper:
    """What one node knows of its runs; its methods may be called from any thread."""

    def __init__(self, settings: Settings, node_id: str) -> None:
        self._settings = settings
        self._node_id = node_id
        self._node: NodeSpec | None = None
        self._specs: list[WorkerSpec] = []
        self._database = Database(settings.database_url, name="node", pool_size=1, statement_seconds=10)
        self._held: dict[str, Held] = {}
        #: Held while deciding on a process and signalling it, so that it cannot be given another run meanwhile.
        self._lock = threading.Lock()
        self._errands: queue.SimpleQueue[Callable[[Connection], object]] = queue.SimpleQueue()
        self._drain_at: float | None = None
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="ava-keeper", daemon=True)
        self._next_beat = self._next_orders = 0.0
        self._is_known = self._is_reaching = True
        self._last_begin = time.monotonic()

    def start(self, node: NodeSpec, specs: list[WorkerSpec]) -> None:
        """Introduce the node and its workers, and begin to keep it."""
        self._node, self._specs, self._is_known = node, specs, False
        self._thread.start()

    # What Celery's event loop tells --------------------------------------------------------------------------------

    def begin(self, held: Held) -> None:
        """A child has been given a run."""
        with self._lock:
            self._held[held.task_id] = held
            self._last_begin = held.started

    def finish(self, task_id: str) -> Held | None:
        """A child has reported a run's end, or has died; None where that was known already."""
        with self._lock:
            return self._held.pop(task_id, None)

    def take_back(self, held: Held, error: str) -> None:
        """Take a run back whose child has died; soon, in this keeper's thread."""
        self._errands.put(lambda connection: _take_back(connection, held, error))

    # Stopping ------------------------------------------------------------------------------------------------------

    def stop(self, task_id: str, reason: Stop) -> bool:
        """Have one run let go; False where this node does not hold it."""
        with self._lock:
            held = self._held.get(task_id)
        if held is None:
            return False
        self._stop(held, reason)
        return True

    def _stop(self, held: Held, reason: Stop, grace_seconds: float | None = None) -> None:
        if held.stop is None:
            held.stop = reason
        kill_at = time.monotonic() + (held.grace_seconds if grace_seconds is None else grace_seconds) + _MARGIN_SECONDS
        held.kill_at = kill_at if held.kill_at is None else min(kill_at, held.kill_at)
        send_stop(node_id=self._node_id, pid=held.pid, task_id=held.task_id, reason=held.stop)

    def drain(self) -> None:
        """Let running jobs end for a while, then have them stop; called again, at once."""
        is_first = self._drain_at is None
        self._drain_at = time.monotonic() + (self._settings.drain_seconds if is_first else 0)
        if not is_first:
            for held in self._runs():
                self._stop(held, Stop.SHUTDOWN, min(held.grace_seconds, _HURRIED_GRACE_SECONDS))

    def abandon(self) -> None:
        """Kill everything that runs, now, and give it back."""
        with self._lock:
            abandoned = list(self._held.values())
            self._held.clear()
            for held in abandoned:
                processes.kill_tree(held.pid)
        for held in abandoned:
            held.stop = held.stop or Stop.SHUTDOWN
            self.take_back(held, "WorkerLost: the worker was shut down")

    def close(self) -> None:
        """Do what is still to be done, say that the node has ended, and end the thread."""
        self._is_ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._database.close()

    def _runs(self) -> list[Held]:
        with self._lock:
            return list(self._held.values())

    # The thread ----------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._is_ending.is_set():
            self._look()
            self._is_ending.wait(_TICK_SECONDS)
        self._attempt(self._end)

    def _look(self) -> None:
        try:
            self._drain_when_due()
            self._kill_when_due()
            if self._is_due():
                self._attempt(self._ask)
        except Exception:
            _log.exception("The keeper of this node failed once.")

    def _drain_when_due(self) -> None:
        if self._drain_at is not None and time.monotonic() >= self._drain_at:
            for held in self._runs():
                if held.stop is None:
                    self._stop(held, Stop.SHUTDOWN)

    def _kill_when_due(self) -> None:
        now = time.monotonic()
        for held in self._runs():
            if held.kill_at is None and now >= held.started + held.timeout_seconds + _MARGIN_SECONDS:
                # The child ends a run's time itself; one that does not is stuck where no signal is heard.
                self._stop(held, Stop.TIMEOUT)
            if held.kill_at is not None and now >= held.kill_at and not held.is_killed:
                self._kill(held)

    def _kill(self, held: Held) -> None:
        with self._lock:
            # As long as the run is held, its process cannot have been given another.
            if self._held.get(held.task_id) is held:
                held.is_killed = True
                _log.warning("A run did not let go in time; killing its process.", extra={"job_id": held.job_id})
                processes.kill_tree(held.pid)

    def _attempt(self, act: Callable[[Connection], None]) -> None:
        """Do something in the database, and say once that it is away and once that it is back."""
        try:
            with self._database.connect() as connection:
                act(connection)
            if not self._is_reaching:
                _log.warning("The database is back.")
            self._is_reaching = True
        except DatabaseUnavailable:
            if self._is_reaching:
                _log.warning("The database is out of reach; what runs goes on.")
            self._is_reaching = False
            self._is_ending.wait(0.5)

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
            self._follow_orders(connection, held)
            self._next_orders = now + _ORDERS_SECONDS

    def _beat(self, connection: Connection) -> None:
        assert self._node is not None
        if not self._is_known:
            workers.announce(connection, self._specs)
        quiet_seconds = time.monotonic() - self._last_begin
        if not self._is_known or not nodes.beat(
            connection, self._node_id, busy=len(self._runs()), quiet_seconds=quiet_seconds
        ):
            nodes.join(connection, self._node)
            self._is_known = True

    def _follow_orders(self, connection: Connection, held: list[Held]) -> None:
        told = nodes.orders(connection, [(run.job_id, run.run_no) for run in held])
        for run in held:
            if (run.job_id, run.run_no) in told.over:
                self._stop(run, Stop.LOST)
            elif (run.job_id, run.run_no) in told.cancelled:
                self._stop(run, Stop.CANCEL)

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
            held.stop = held.stop or Stop.SHUTDOWN
            _take_back(connection, held, "WorkerLost: the worker was shut down")
        nodes.leave(connection, self._node_id)


def _take_back(connection: Connection, held: Held, error: str) -> None:
    """Write what becomes of a run whose process is gone, by why it was asked to let go."""
    if held.stop is Stop.TIMEOUT:
        timeout = f"Timeout: exceeded {held.timeout_seconds:g} s"
        runs.kill_end(connection, job_id=held.job_id, run_no=held.run_no, error=timeout)
    elif held.stop is Stop.CANCEL:
        runs.kill_end(connection, job_id=held.job_id, run_no=held.run_no, error=error)
    elif held.stop is not Stop.LOST:
        is_loss = held.stop is None
        reason = error.partition(": ")[2] if is_loss else "interrupted, the worker is shutting down"
        runs.take_back(
            connection,
            job_id=held.job_id,
            run_no=held.run_no,
            reason=f"Handler lost: {reason}" if is_loss else f"Handler {reason}",
            error=error,
            is_loss=is_loss,
        )
    _log.warning("A run was taken back from a dead process.", extra={"job_id": held.job_id, "run_no": held.run_no})
