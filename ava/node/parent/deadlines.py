"""Decide when a run is asked to stop and when it is killed: no I/O, times in seconds of the monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ava.node.outcome import Stop
from ava.node.run_board import Phase

#: Extra seconds for a child to end a run by itself.
MARGIN_SECONDS = 0.5
MEMORY_GRACE_SECONDS = 1.0
#: A run is killed without grace if it exceeds its memory limit by this factor.
MEMORY_FACTOR = 1.5
#: Maximum grace in seconds after a second SIGTERM, or if the node is cut off from the database.
SHORT_GRACE_SECONDS = 2.0
#: Minimum seconds for a child to report a run that the database has ended, and to continue.
MIN_REPORT_SECONDS = 2.0
#: Maximum seconds for which a child may wait for the database: two writes are retried for 300 s each.
DATABASE_SECONDS = 660.0


@dataclass(frozen=True, kw_only=True)
class NodeState:
    #: When the drain ends and running jobs are asked to stop; None: not draining.
    drained_at: float | None = None
    #: Whether a second SIGTERM has shortened the grace of all runs.
    is_hurried: bool = False
    #: Whether all runs are killed immediately.
    is_abandoning: bool = False

    def drained(self, at: float) -> NodeState:
        return replace(self, drained_at=at)

    def hurried(self) -> NodeState:
        return replace(self, is_hurried=True)

    def abandoned(self) -> NodeState:
        return replace(self, is_abandoning=True)


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A child's run as the node's parent knows it, and the parent's requests to the child."""

    timeout_seconds: float
    grace_seconds: float
    #: Phase of the run, and its start.
    phase: Phase
    since: float
    #: Memory limit in MiB (0: unlimited), and the last measurement.
    max_memory_mb: int = 0
    memory_mb: float = 0.0
    #: Whether the dispatcher gives the run to another node, because this one is cut off from the database.
    is_released: bool = False
    #: The first reason to stop, and when the child is killed if it does not.
    stop: Stop | None = None
    kill_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class DeadlineDecision:
    run: RunState
    send: Stop | None = None
    is_kill_due: bool = False


def decide(run: RunState, now: float, node: NodeState) -> DeadlineDecision:
    """Decide whether to stop or kill a run, based on its deadlines and the node's shutdown."""
    short_grace_seconds = min(run.grace_seconds, SHORT_GRACE_SECONDS)
    if node.is_hurried:
        # Later calls do not change the reason and the time of the kill.
        run = _ask(run, Stop.SHUTDOWN, now, short_grace_seconds)
    elif run.stop is None and run.is_released:
        run = _ask(run, Stop.SHUTDOWN, now, short_grace_seconds)
    elif run.stop is None and node.drained_at is not None and now >= node.drained_at:
        run = _ask(run, Stop.SHUTDOWN, now, run.grace_seconds)
    elif run.stop is None and _is_overdue(run, now):
        run = _ask(run, Stop.TIMEOUT, now, run.grace_seconds)
    if _is_above(run, 1):
        # This also shortens the grace of a run that was stopped for another reason.
        run = _ask(run, Stop.MEMORY, now, min(run.grace_seconds, MEMORY_GRACE_SECONDS) - MARGIN_SECONDS)
    # Send a stop repeatedly, because the first one may have arrived before the child knew its run.
    send = run.stop
    if node.is_abandoning:
        return DeadlineDecision(run=replace(run, stop=run.stop or Stop.SHUTDOWN), send=send, is_kill_due=True)
    return DeadlineDecision(run=run, send=send, is_kill_due=_is_kill_due(run, now))


def decide_directive(run: RunState, now: float, *, has_ended: bool, is_cancelled: bool) -> DeadlineDecision:
    """Decide the action for a run that the database reports as ended for this node, or as cancelled.

    Unless the handler is running, the child learns this by itself.
    """
    if run.phase is not Phase.RUNNING or run.stop is not None or not (has_ended or is_cancelled):
        return DeadlineDecision(run=run)
    if has_ended:
        run = _ask(run, Stop.LOST, now, max(run.grace_seconds, MIN_REPORT_SECONDS))
    else:
        run = _ask(run, Stop.CANCEL, now, run.grace_seconds)
    return DeadlineDecision(run=run, send=run.stop)


def _ask(run: RunState, reason: Stop, now: float, grace_seconds: float) -> RunState:
    kill_at = now + grace_seconds + MARGIN_SECONDS
    return replace(run, stop=run.stop or reason, kill_at=kill_at if run.kill_at is None else min(kill_at, run.kill_at))


def _is_overdue(run: RunState, now: float) -> bool:
    """Return True if the child, which enforces the timeout itself, is stuck where it handles no signal."""
    return run.phase is Phase.RUNNING and now >= run.since + run.timeout_seconds + MARGIN_SECONDS


def _is_above(run: RunState, factor: float) -> bool:
    return run.phase is Phase.RUNNING and 0 < run.max_memory_mb * factor < run.memory_mb


def _is_kill_due(run: RunState, now: float) -> bool:
    return _is_above(run, MEMORY_FACTOR) or _has_grace_passed(run, now) or _is_stuck(run, now)


def _has_grace_passed(run: RunState, now: float) -> bool:
    """Return True if a stopped run has used up its grace. After the handler has ended, only a shutdown stops a run."""
    is_stoppable = run.phase is Phase.RUNNING or run.stop is Stop.SHUTDOWN
    return is_stoppable and run.kill_at is not None and now >= run.kill_at


def _is_stuck(run: RunState, now: float) -> bool:
    """Return True if the child is stuck although no handler runs, because something holds the GIL."""
    if run.phase is Phase.RUNNING:
        return False
    if run.phase is Phase.ENDED:
        # Between two runs it waits for nothing.
        return now >= run.since + max(run.timeout_seconds, MIN_REPORT_SECONDS) + MARGIN_SECONDS
    return now >= run.since + DATABASE_SECONDS
