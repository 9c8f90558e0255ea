"""What the processes of a node's pool were given, and what each of them runs now.

Celery's event loop reports what a process was given. What it runs now is read from the run board, so it is known while
the loop stands still. A stop or a kill reaches a process for the run alone that it has at this moment.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection, Set
from dataclasses import replace

from ava.domain.jobs.job import RunKey
from ava.node import processes, run_use
from ava.node.mailbox import send_stop
from ava.node.outcome import Stop
from ava.node.parent import deadlines
from ava.node.parent.deadlines import SHORT_GRACE_SECONDS, Decision, NodeState
from ava.node.parent.tracked_run import DeadProcess, GivenRuns, TrackedRun
from ava.node.run_board import Phase, RunBoard
from ava.store.fleet.nodes import RunDirectives

_log = logging.getLogger(__name__)

#: Seconds between two looks at what the runs use.
_USE_SECONDS = 0.5


class PoolRuns:
    """The runs of one node's pool. The monitor's thread looks at them; any thread may report what was given."""

    #: Whether another thread applies the deadlines, because the monitor's may wait for the database without an end.
    has_watch = False

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._board = RunBoard(0)
        #: Two of them may have the same run, if its message was delivered twice; the claim lets one of them run.
        self._given: set[GivenRuns] = set()
        #: The current run of each process that has one, by pid.
        self._tracked: dict[int, TrackedRun] = {}
        #: Held while these change.
        self._lock = threading.Lock()
        self._last_started_at = time.monotonic()
        self._next_use_at = 0.0
        #: Since when a node whose drain is over waits for the claim of a message.
        self._unclaimed_since: float | None = None

    def watch(self, board: RunBoard) -> None:
        """Look at this board; called before the processes are started."""
        self._board = board

    # What the event loop reports -----------------------------------------------------------------------------------

    def give(self, given: GivenRuns) -> None:
        """A process has accepted the runs of a message."""
        with self._lock:
            self._given.add(given)
            self._last_started_at = time.monotonic()

    def take_back(self, given: GivenRuns) -> bool:
        """A process has reported the end of a message, or has died. Returns False if it has been taken back before."""
        with self._lock:
            was_given = given in self._given
            self._given.discard(given)
            return was_given

    def is_given(self, run: RunKey) -> bool:
        """Returns True if a process has a run."""
        with self._lock:
            return any(run in given.runs for given in self._given)

    # What the monitor's thread asks --------------------------------------------------------------------------------

    def look(self) -> Collection[TrackedRun]:
        """Read what each process runs now. Returns these runs."""
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
        """Stop the runs whose time is over, and kill those that do not stop. Returns those whose process was killed."""
        now = time.monotonic()
        killed: list[TrackedRun] = []
        runs = self.look()
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
        """Returns True if a node whose drain is over still waits for the claim of a message, as without a database."""
        is_drained = node.is_hurried or (node.drained_at is not None and now >= node.drained_at)
        with self._lock:
            is_unclaimed = any(given.pid not in claimed_pids for given in self._given)
        if not is_drained or not is_unclaimed:
            self._unclaimed_since = None
            return False
        self._unclaimed_since = self._unclaimed_since or now
        return now >= self._unclaimed_since + SHORT_GRACE_SECONDS

    def _measure(self, runs: Collection[TrackedRun]) -> None:
        """Look at what runs use, whose handlers run."""
        uses = [(run, run_use.measure(run.pid)) for run in runs]
        current = self._board.read_all()
        peaks: dict[int, tuple[int, int]] = {}
        for run, use in uses:
            now = current.get(run.pid)
            # A process that has gone on to another run has used some of this for that one.
            if now is not None and (now.key, now.phase) == (run.key, Phase.RUNNING):
                run.note_use(use)
                peaks[run.pid] = run.current.began_ns, run.peak_bytes or 0
        self._board.note_peaks(peaks)

    def _kill_given(self) -> None:
        """Kill the processes that have a message and have not claimed its first run yet."""
        with self._lock:
            pids = {given.pid for given in self._given} - set(self._tracked)
        for pid in pids.intersection(processes.children(os.getpid())):
            processes.kill_tree(pid)

    def apply_directives(self, runs: Collection[TrackedRun], directives: RunDirectives) -> None:
        """Stop the runs that the database calls over, or to be cancelled."""
        now = time.monotonic()
        for run in runs:
            is_over, is_cancelled = run.key in directives.over, run.key in directives.cancelled
            self._follow(run, deadlines.decide_directive(run.state, now, is_over=is_over, is_cancelled=is_cancelled))

    def _follow(self, run: TrackedRun, decision: Decision) -> None:
        run.state = decision.run
        if decision.send is not None:
            # The process compares the name with the run that it has.
            send_stop(node_id=self._node_id, pid=run.pid, task_id=run.task_id, reason=decision.send)

    def _kill(self, run: TrackedRun, node: NodeState) -> bool:
        """Kill the process of a run unless it has another one by now, or waits for the next. Returns True if killed."""
        if run.pid not in processes.children(os.getpid()):
            # The kernel may have given the number to another process, unless the child is not reaped yet.
            return False
        # A process that does not run cannot go on to another run.
        processes.freeze(run.pid)
        now = self._board.read(run.pid)
        if not node.is_abandoning and (now is None or (now.key, now.phase) != (run.key, run.current.phase)):
            processes.thaw(run.pid)
            return False
        run.is_killed = True
        run.note_use(run_use.measure(run.pid))
        _log.warning("Run has to end now: its process is killed", extra={"job_id": run.job_id})
        processes.kill_tree(run.pid)
        return True

    def kill_all(self, reason: Stop | None) -> list[DeadProcess]:
        """Kill every process that has a run or a message, as stopped for a reason. Returns what each of them has left.

        A run that was stopped before keeps its reason.
        """
        self.look()
        with self._lock:
            pids = {given.pid for given in self._given} | set(self._tracked)
        for pid in pids & set(processes.children(os.getpid())):
            processes.kill_tree(pid)
        left = [self._left_by(pid) for pid in pids]
        return [replace(process, stop=process.stop or reason) for process in left]

    def bury(self, pid: int) -> DeadProcess:
        """Returns what a process has left that has died, once; called before another one takes its place in the pool.

        The runs of a second message of the process had not begun, or were claimed with the end of the first.
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
        """Returns the runs of the messages that a process was given."""
        with self._lock:
            return [run for given in self._given if given.pid == pid for run in given.runs]

    def keys(self) -> set[RunKey]:
        """Returns all runs that some process has, or was given."""
        with self._lock:
            return {run for given in self._given for run in given.runs} | {run.key for run in self._tracked.values()}

    def left(self) -> Set[RunKey]:
        """Returns the runs that have begun and that no process has any more, although their ends were not written."""
        # A process that cannot write the end of its run ends itself, and is rescued as a dead one.
        return frozenset()

    def killed_keys(self) -> set[RunKey]:
        """Returns the runs of the processes that were killed."""
        with self._lock:
            killed = {pid for pid, run in self._tracked.items() if run.is_killed}
            found = {run for given in self._given if given.pid in killed for run in given.runs}
            return found | {self._tracked[pid].key for pid in killed}

    @property
    def busy(self) -> int:
        """Returns the number of processes that have a run or a message."""
        with self._lock:
            return len({given.pid for given in self._given} | set(self._tracked))

    @property
    def has_runs(self) -> bool:
        """Returns True if a process has a run or a message."""
        return bool(self._given) or bool(self._tracked)

    @property
    def quiet_seconds(self) -> float:
        """Returns the seconds since the last run or message began."""
        return time.monotonic() - self._last_started_at
