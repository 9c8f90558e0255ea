"""When a run is asked to stop and when it is killed: decisions without I/O, in seconds of the monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ava.node.outcome import Stop
from ava.node.run_board import Phase

#: Seconds that a child gets, beyond what the handler may take, to end a run by itself.
MARGIN_SECONDS = 0.5
#: The longest grace, in seconds, of a run that has more memory than it may have.
MEMORY_GRACE_SECONDS = 1.0
#: So many times the memory that it may have a run is killed without any grace.
MEMORY_FACTOR = 1.5
#: The longest grace, in seconds, once a second SIGTERM hurries the node or the node is cut off from the database.
SHORT_GRACE_SECONDS = 2.0
#: Seconds that a child gets at least to report the end of a run that the database says is over, and to go on to the
#: next run after one.
MIN_REPORT_SECONDS = 2.0
#: Seconds for which a child may wait for the database: two writes are repeated for 300 s each.
DATABASE_SECONDS = 660.0


@dataclass(frozen=True, kw_only=True)
class NodeState:
    """How a node shuts down, if it does."""

    #: When the drain is over and running jobs are asked to stop; None if the node is not draining.
    drained_at: float | None = None
    #: Whether a second SIGTERM has shortened the grace of all runs.
    is_hurried: bool = False
    #: Whether everything that runs is killed at once.
    is_abandoning: bool = False

    def drained(self, at: float) -> NodeState:
        """Returns the state of a node whose drain ends at a time."""
        return replace(self, drained_at=at)

    def hurried(self) -> NodeState:
        """Returns the state after a second SIGTERM."""
        return replace(self, is_hurried=True)

    def abandoned(self) -> NodeState:
        """Returns the state of a node that ends at once."""
        return replace(self, is_abandoning=True)


@dataclass(frozen=True, kw_only=True)
class RunState:
    """What a node's parent knows of the run that a child has, and what it has asked the child."""

    timeout_seconds: float
    grace_seconds: float
    #: How far the child is with it, and since when.
    phase: Phase
    since: float
    #: The most MiB that it may have, 0 for any, and those that it had at the last look.
    max_memory_mb: int = 0
    memory_mb: float = 0.0
    #: Whether the dispatcher gives the run to another node, because this one is cut off from the database.
    is_released: bool = False
    #: Why the child was asked to stop, and when it is killed if it has not; the first reason stays.
    stop: Stop | None = None
    kill_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do about one run now."""

    #: The state that follows.
    run: RunState
    #: The stop to send to the child; None for none.
    send: Stop | None = None
    is_kill_due: bool = False


def decide(run: RunState, now: float, node: NodeState) -> Decision:
    """Decide whether a run is asked to stop or killed, by its deadlines and the node's shutdown."""
    short_grace_seconds = min(run.grace_seconds, SHORT_GRACE_SECONDS)
    if node.is_hurried:
        # Each later call leaves the reason and the time of the kill as they are.
        run = _ask(run, Stop.SHUTDOWN, now, short_grace_seconds)
    elif run.stop is None and run.is_released:
        run = _ask(run, Stop.SHUTDOWN, now, short_grace_seconds)
    elif run.stop is None and node.drained_at is not None and now >= node.drained_at:
        run = _ask(run, Stop.SHUTDOWN, now, run.grace_seconds)
    elif run.stop is None and _is_overdue(run, now):
        run = _ask(run, Stop.TIMEOUT, now, run.grace_seconds)
    if _is_above(run, 1):
        # Also a run that was stopped for another reason gets no longer grace.
        run = _ask(run, Stop.MEMORY, now, min(run.grace_seconds, MEMORY_GRACE_SECONDS) - MARGIN_SECONDS)
    # A stop is sent again and again, because the first may have come before the child knew its run.
    send = run.stop
    if node.is_abandoning:
        return Decision(run=replace(run, stop=run.stop or Stop.SHUTDOWN), send=send, is_kill_due=True)
    return Decision(run=run, send=send, is_kill_due=_is_kill_due(run, now))


def decide_directive(run: RunState, now: float, *, is_over: bool, is_cancelled: bool) -> Decision:
    """Decide what follows for a run that the database calls over for this node, or to be cancelled.

    The child learns it by itself unless the handler runs.
    """
    if run.phase is not Phase.RUNNING or run.stop is not None or not (is_over or is_cancelled):
        return Decision(run=run)
    if is_over:
        run = _ask(run, Stop.LOST, now, max(run.grace_seconds, MIN_REPORT_SECONDS))
    else:
        run = _ask(run, Stop.CANCEL, now, run.grace_seconds)
    return Decision(run=run, send=run.stop)


def _ask(run: RunState, reason: Stop, now: float, grace_seconds: float) -> RunState:
    kill_at = now + grace_seconds + MARGIN_SECONDS
    return replace(run, stop=run.stop or reason, kill_at=kill_at if run.kill_at is None else min(kill_at, run.kill_at))


def _is_overdue(run: RunState, now: float) -> bool:
    """Returns True if the child, which enforces the timeout itself, is stuck where no signal reaches it."""
    return run.phase is Phase.RUNNING and now >= run.since + run.timeout_seconds + MARGIN_SECONDS


def _is_above(run: RunState, factor: float) -> bool:
    """Returns True if a run has so many times the memory that it may have."""
    return run.phase is Phase.RUNNING and 0 < run.max_memory_mb * factor < run.memory_mb


def _is_kill_due(run: RunState, now: float) -> bool:
    return _is_above(run, MEMORY_FACTOR) or _is_grace_over(run, now) or _is_stuck(run, now)


def _is_grace_over(run: RunState, now: float) -> bool:
    """Returns True if a stopped run has had its grace. A handler that is over is stopped by a shutdown alone."""
    is_stoppable = run.phase is Phase.RUNNING or run.stop is Stop.SHUTDOWN
    return is_stoppable and run.kill_at is not None and now >= run.kill_at


def _is_stuck(run: RunState, now: float) -> bool:
    """Returns True if the child does not go on although no handler runs, because something holds the GIL."""
    if run.phase is Phase.RUNNING:
        return False
    if run.phase is Phase.ENDED:
        # It waits for nothing between two runs.
        return now >= run.since + max(run.timeout_seconds, MIN_REPORT_SECONDS) + MARGIN_SECONDS
    return now >= run.since + DATABASE_SECONDS
