"""The messages given to the processes of a node's pool, and the current run of each process.

Celery's event loop reports the messages. The run board shows the current runs, even while the loop is blocked. A stop
or a kill affects a process only while it has the intended run.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ava.domain.jobs.job import RunKey
from ava.domain.jobs.messages import task_id
from ava.node import machine_use, process_tree
from ava.node.machine_use import RunUse
from ava.node.mailbox import send_stop
from ava.node.outcome import MIB, Stop
from ava.node.parent import deadlines
from ava.node.parent.deadlines import SHORT_GRACE_SECONDS, DeadlineDecision, NodeState, RunState
from ava.node.run_board import CurrentRun, Phase, RunBoard
from ava.store.fleet.nodes import RunDirectives
from ava.store.jobs.transitions.ended_runs import EndedRun


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenRuns:
    """The runs of a message that a child has accepted. At most one of them is running."""

    #: The child's pid; 0 if it died before it took the message.
    pid: int
    runs: tuple[RunKey, ...]


@dataclass(kw_only=True, eq=False)
class TrackedRun:
    """The current run of a child, as the child published it."""

    pid: int
    current: CurrentRun
    #: Its deadlines; replaced as a whole, only by the run monitor's thread.
    state: RunState
    is_killed: bool = False
    #: Other runs take no time from a process of its own.
    lost_seconds: ClassVar[float] = 0.0
    #: Peak memory in bytes and last processor time in microseconds; None before a measurement.
    peak_bytes: int | None = None
    cpu_us: int | None = None

    @classmethod
    def of(cls, pid: int, current: CurrentRun) -> TrackedRun:
        state = RunState(**_published(current))
        return cls(pid=pid, current=current, state=state)

    def follow(self, current: CurrentRun) -> None:
        """Update it with a newer publication of the same run."""
        self.current = current
        self.state = replace(self.state, **_published(current))

    def record_use(self, use: RunUse) -> None:
        self.peak_bytes = max(use.memory_bytes, self.peak_bytes or 0)
        self.cpu_us = max(0, use.cpu_us - self.current.cpu_us)
        self.state = replace(self.state, memory_mb=use.memory_bytes / MIB)

    @property
    def key(self) -> RunKey:
        return self.current.key

    @property
    def job_id(self) -> str:
        return self.current.job_id

    @property
    def is_entered(self) -> bool:
        return self.current.is_entered

    @property
    def task_id(self) -> str:
        """Return the run's id in a stop request."""
        return task_id(self.key)

    @property
    def stop(self) -> Stop | None:
        """Return why the child was asked to stop, if it was."""
        return self.state.stop


@dataclass(frozen=True, kw_only=True)
class DeadProcess:
    """The remaining runs and ends of a process that is dead or about to be."""

    pid: int
    #: Its last published run, and why that was stopped.
    current: CurrentRun | None
    stop: Stop | None = None
    #: Peak memory in bytes and processor time in microseconds of that run, if measured.
    peak_bytes: int | None = None
    cpu_us: int | None = None
    ends: Sequence[EndedRun] = ()

    @property
    def was_claiming(self) -> bool:
        """Return True if it is unknown whether the process got its run."""
        return self.current is not None and self.current.phase is Phase.CLAIMING

    def had(self, run: RunKey) -> bool:
        """Return True if the process had the run, or was about to claim it."""
        return self.current is not None and run in (self.current.key, self.current.next_run)


def _published(current: CurrentRun) -> dict[str, Any]:
    return {
        "timeout_seconds": current.timeout_seconds,
        "grace_seconds": current.grace_seconds,
        "max_memory_mb": current.max_memory_mb,
        "phase": current.phase,
        "since": current.since,
    }


_log = logging.getLogger(__name__)

_USE_SECONDS = 0.5


class PoolRuns:
    """The runs of one node's pool. The monitor's thread polls them; any thread may report messages."""

    #: Whether another thread applies the deadlines, because the monitor's thread may wait for the database forever.
    has_watch = False

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._board = RunBoard(0)
        #: Two entries may contain the same run if a message was delivered twice; the claim lets only one start.
        self._given: set[GivenRuns] = set()
        #: The current run of each busy process, by pid.
        self._tracked: dict[int, TrackedRun] = {}
        self._lock = threading.Lock()
        #: Number of processes or slots; the run monitor sets it before the first message.
        self.processes = 0
        #: When a run last started, and when all processes last had one.
        self._last_started_at = self._full_at = time.monotonic()
        self._next_use_at = 0.0
        #: Since when a drained node has been waiting for the claim of a message.
        self._unclaimed_since: float | None = None

    def watch(self, board: RunBoard) -> None:
        self._board = board

    # Reported by the event loop ------------------------------------------------------------------------------------

    def give(self, given: GivenRuns) -> None:
        with self._lock:
            self._given.add(given)
            self._last_started_at = time.monotonic()
            self._see_full()

    def take_back(self, given: GivenRuns) -> bool:
        """Record that a process has reported the end of a message, or has died. Returns False if already recorded."""
        with self._lock:
            self._see_full()
            was_given = given in self._given
            self._given.discard(given)
            return was_given

    def is_given(self, run: RunKey) -> bool:
        with self._lock:
            return any(run in given.runs for given in self._given)

    # Used by the monitor's thread ----------------------------------------------------------------------------------

    def poll(self) -> Collection[TrackedRun]:
        """Read and return the current run of each process."""
        current = self._board.read_all()
        with self._lock:
            tracked: dict[int, TrackedRun] = {}
            for pid, run in current.items():
                known = self._tracked.get(pid)
                if known is not None and known.key == run.key:
                    known.follow(run)
                    tracked[pid] = known
                else:
                    tracked[pid] = TrackedRun.of(pid, run)
                    self._last_started_at = time.monotonic()
            self._tracked = tracked
            return list(tracked.values())

    def apply_deadlines(self, node: NodeState, released: Collection[str]) -> Collection[TrackedRun]:
        """Stop overdue runs, and kill those that do not stop. Returns the runs of killed processes."""
        now = time.monotonic()
        killed: list[TrackedRun] = []
        runs = self.poll()
        if now >= self._next_use_at:
            self._next_use_at = now + _USE_SECONDS
            self._measure([run for run in runs if run.current.phase is Phase.RUNNING])
        for run in runs:
            is_released = run.task_id in released
            if is_released and run.stop is None:
                _log.warning("Node is cut off from the database: run is stopped", extra={"job_id": run.job_id})
            decision = deadlines.decide(replace(run.state, is_released=is_released), now, node)
            self._follow(run, decision)
            if decision.is_kill_due and not run.is_killed and self._kill(run, node):
                killed.append(run)
        if node.is_abandoning or self._is_claim_overdue(node, now, {run.pid for run in runs}):
            self._kill_given()
        return killed

    def _is_claim_overdue(self, node: NodeState, now: float, claimed_pids: Collection[int]) -> bool:
        """Return True if a drained node still waits for the claim of a message, for example without a database."""
        is_drained = node.is_hurried or (node.drained_at is not None and now >= node.drained_at)
        with self._lock:
            is_unclaimed = any(given.pid not in claimed_pids for given in self._given)
        if not is_drained or not is_unclaimed:
            self._unclaimed_since = None
            return False
        self._unclaimed_since = self._unclaimed_since or now
        return now >= self._unclaimed_since + SHORT_GRACE_SECONDS

    def _measure(self, runs: Collection[TrackedRun]) -> None:
        uses = [(run, machine_use.measure(run.pid)) for run in runs]
        current = self._board.read_all()
        peaks: dict[int, tuple[int, int]] = {}
        for run, use in uses:
            now = current.get(run.pid)
            # If the process has switched to another run, part of the usage belongs to that run.
            if now is not None and (now.key, now.phase) == (run.key, Phase.RUNNING):
                run.record_use(use)
                peaks[run.pid] = run.current.began_ns, run.peak_bytes or 0
        self._board.record_peaks(peaks)

    def _kill_given(self) -> None:
        """Kill the processes that have a message but have not claimed its first run yet."""
        with self._lock:
            pids = {given.pid for given in self._given} - set(self._tracked)
        for pid in pids.intersection(process_tree.children(os.getpid())):
            process_tree.kill_tree(pid)

    def apply_directives(self, runs: Collection[TrackedRun], directives: RunDirectives) -> None:
        now = time.monotonic()
        for run in runs:
            has_ended, is_cancelled = run.key in directives.over, run.key in directives.cancelled
            if has_ended or is_cancelled:
                clock = now - run.lost_seconds
                decision = deadlines.decide_directive(run.state, clock, has_ended=has_ended, is_cancelled=is_cancelled)
                self._follow(run, decision)

    def _follow(self, run: TrackedRun, decision: DeadlineDecision) -> None:
        run.state = decision.run
        if decision.send is not None:
            # The process compares the id with its current run.
            send_stop(node_id=self._node_id, pid=run.pid, task_id=run.task_id, reason=decision.send)

    def _kill(self, run: TrackedRun, node: NodeState) -> bool:
        """Kill the process of a run unless it has switched to another run or waits for one. Returns True if killed."""
        if run.pid not in process_tree.children(os.getpid()):
            # The pid may belong to another process, unless the child is not reaped yet.
            return False
        # A stopped process cannot switch to another run.
        process_tree.freeze(run.pid)
        now = self._board.read(run.pid)
        if not node.is_abandoning and (now is None or (now.key, now.phase) != (run.key, run.current.phase)):
            process_tree.thaw(run.pid)
            return False
        run.is_killed = True
        run.record_use(machine_use.measure(run.pid))
        _log.warning("Run has to end now: its process is killed", extra={"job_id": run.job_id})
        process_tree.kill_tree(run.pid)
        return True

    def kill_all(self, reason: Stop | None) -> list[DeadProcess]:
        """Kill every process that has a run or a message. Returns their remaining runs and ends.

        `reason`: for runs that have no stop reason yet.
        """
        self.poll()
        with self._lock:
            pids = {given.pid for given in self._given} | set(self._tracked)
        for pid in pids & set(process_tree.children(os.getpid())):
            process_tree.kill_tree(pid)
        left = [self._left_by(pid) for pid in pids]
        return [replace(process, stop=process.stop or reason) for process in left]

    def bury(self, pid: int) -> DeadProcess:
        """Return a dead process's remaining run and ends, once, before another process replaces it in the pool.

        Runs of a second message had not begun, or were claimed together with the end of the first.
        """
        left = self._left_by(pid)
        if pid:
            self._board.forget(pid)
        return left

    def _left_by(self, pid: int) -> DeadProcess:
        current = self._board.read(pid)
        with self._lock:
            tracked = self._tracked.get(pid)
        is_known = tracked is not None and current is not None and tracked.key == current.key
        run = tracked if is_known else None
        return DeadProcess(
            pid=pid,
            current=current,
            stop=None if run is None else run.stop,
            peak_bytes=None if run is None else run.peak_bytes,
            cpu_us=None if run is None else run.cpu_us,
            ends=self._board.read_ends(pid),
        )

    def runs_of(self, pid: int) -> list[RunKey]:
        with self._lock:
            return [run for given in self._given if given.pid == pid for run in given.runs]

    def keys(self) -> set[RunKey]:
        """Return all current runs, and the runs of all given messages."""
        with self._lock:
            return {run for given in self._given for run in given.runs} | {run.key for run in self._tracked.values()}

    def left(self) -> Set[RunKey]:
        """Return the begun runs that no process has any more, although their ends were not written."""
        # A process that cannot write the end of its run ends itself, and its run is rescued.
        return frozenset()

    def killed_keys(self) -> set[RunKey]:
        with self._lock:
            killed = {pid for pid, run in self._tracked.items() if run.is_killed}
            found = {run for given in self._given if given.pid in killed for run in given.runs}
            return found | {self._tracked[pid].key for pid in killed}

    @property
    def busy(self) -> int:
        with self._lock:
            return self._count_busy()

    def _count_busy(self) -> int:
        return len({given.pid for given in self._given} | set(self._tracked))

    def _see_full(self) -> None:
        if self._count_busy() >= self.processes:
            self._full_at = time.monotonic()

    @property
    def has_runs(self) -> bool:
        return bool(self._given) or bool(self._tracked)

    @property
    def quiet_seconds(self) -> float:
        """Return the seconds since a run started."""
        return time.monotonic() - self._last_started_at

    @property
    def free_seconds(self) -> float:
        """Return the seconds for which at least one process has been free, however many runs the others started."""
        with self._lock:
            self._see_full()
            return time.monotonic() - self._full_at
