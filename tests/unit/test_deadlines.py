"""When a run is asked to stop and when it is killed: the rules of a node's parent as tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ava.node.outcome import Stop
from ava.node.parent.deadlines import DATABASE_SECONDS, DeadlineDecision, NodeState, RunState, decide, decide_directive
from ava.node.run_board import Phase

NOW = 1000.0
#: Its handler began ten seconds ago, with fifty left.
RUN = RunState(timeout_seconds=60, grace_seconds=10, phase=Phase.RUNNING, since=NOW - 10)
RUNS = NodeState()
DRAINING = NodeState(drained_at=NOW + 5)
DRAINED = NodeState(drained_at=NOW)
HURRIED = NodeState(drained_at=NOW + 5, is_hurried=True)
ABANDONING = NodeState(is_abandoning=True)
RELEASED = replace(RUN, is_released=True)
OVERDUE = replace(RUN, since=NOW - 60.5)
CLAIMING = replace(RUN, phase=Phase.CLAIMING, since=NOW - 99)
ENDING = replace(RUN, phase=Phase.ENDING, since=NOW - 99)
ENDED = replace(RUN, phase=Phase.ENDED, since=NOW - 10)


def asked(stop: Stop, *, kill_at: float) -> RunState:
    """Returns a run that was asked to stop before."""
    return replace(RUN, stop=stop, kill_at=kill_at)


CANCELLED = asked(Stop.CANCEL, kill_at=NOW + 7)
#: Its grace is shorter than the time in which its child may report its end.
LOST = replace(asked(Stop.LOST, kill_at=NOW + 2), grace_seconds=0)


@pytest.mark.parametrize(
    ("run", "node", "stop", "kill_in"),
    [
        pytest.param(RUN, RUNS, None, None, id="a run within its time goes on"),
        pytest.param(RUN, DRAINING, None, None, id="a run goes on while its node drains"),
        pytest.param(RUN, NodeState(drained_at=NOW + 0.001), None, None, id="it goes on until the drain ends"),
        pytest.param(RUN, DRAINED, Stop.SHUTDOWN, 10.5, id="the end of the drain stops it, with its grace"),
        pytest.param(RUN, HURRIED, Stop.SHUTDOWN, 2.5, id="a hurried node stops it at once, with a short grace"),
        pytest.param(replace(RUN, grace_seconds=1), HURRIED, Stop.SHUTDOWN, 1.5, id="hurry never lengthens a grace"),
        pytest.param(RELEASED, RUNS, Stop.SHUTDOWN, 2.5, id="a released run is stopped with a short grace"),
        pytest.param(replace(RELEASED, grace_seconds=1), RUNS, Stop.SHUTDOWN, 1.5, id="release lengthens no grace"),
        pytest.param(OVERDUE, RUNS, Stop.TIMEOUT, 10.5, id="a child that does not is asked to stop"),
        pytest.param(replace(RUN, since=NOW - 60.4), RUNS, None, None, id="a child gets half a second"),
        pytest.param(CLAIMING, RUNS, None, None, id="an unclaimed run has no time-out"),
        pytest.param(CLAIMING, DRAINED, Stop.SHUTDOWN, 10.5, id="the drain ends it unclaimed"),
        pytest.param(ENDING, RUNS, None, None, id="nor has one whose end is being written"),
        pytest.param(ENDING, DRAINED, Stop.SHUTDOWN, 10.5, id="the drain ends that one too"),
        pytest.param(ENDED, DRAINED, Stop.SHUTDOWN, 10.5, id="and a process that goes on to its next run"),
        pytest.param(replace(RUN, grace_seconds=0), DRAINED, Stop.SHUTDOWN, 0.5, id="no grace leaves the margin"),
    ],
)
def test_a_running_handler_is_asked_to_stop_when_a_rule_says_so(
    run: RunState, node: NodeState, stop: Stop | None, kill_in: float | None
) -> None:
    decision = decide(run, NOW, node)
    assert (decision.run.stop, decision.send) == (stop, stop)
    assert decision.run.kill_at == (None if kill_in is None else NOW + kill_in)
    assert not decision.is_kill_due


@pytest.mark.parametrize(
    ("run", "node", "stop", "kill_in"),
    [
        pytest.param(RELEASED, DRAINED, Stop.SHUTDOWN, 2.5, id="release before drained: the short grace"),
        pytest.param(OVERDUE, DRAINED, Stop.SHUTDOWN, 10.5, id="drained before overdue"),
        pytest.param(replace(OVERDUE, is_released=True), RUNS, Stop.SHUTDOWN, 2.5, id="release before overdue"),
        pytest.param(OVERDUE, HURRIED, Stop.SHUTDOWN, 2.5, id="hurry before overdue"),
        pytest.param(CANCELLED, DRAINED, Stop.CANCEL, 7, id="a cancel stays a cancel when the drain ends"),
        pytest.param(replace(CANCELLED, is_released=True), RUNS, Stop.CANCEL, 7, id="it stays a cancel if released"),
        pytest.param(replace(CANCELLED, since=NOW - 99), RUNS, Stop.CANCEL, 7, id="it stays a cancel if overdue"),
        pytest.param(CANCELLED, HURRIED, Stop.CANCEL, 2.5, id="hurry shortens a cancel's grace, not its reason"),
        pytest.param(asked(Stop.CANCEL, kill_at=NOW + 1), HURRIED, Stop.CANCEL, 1, id="hurry never postpones a kill"),
        pytest.param(LOST, DRAINED, Stop.LOST, 2, id="the time to report a lost run outlasts the drain"),
        pytest.param(replace(LOST, since=NOW - 99), RUNS, Stop.LOST, 2, id="and its timeout"),
    ],
)
def test_of_several_rules_one_decides(run: RunState, node: NodeState, stop: Stop, kill_in: float) -> None:
    decision = decide(run, NOW, node)
    assert (decision.run.stop, decision.send, decision.run.kill_at) == (stop, stop, NOW + kill_in)
    assert not decision.is_kill_due


def test_hurry_shortens_the_grace_of_a_run_once() -> None:
    first = decide(RUN, NOW, HURRIED).run
    assert decide(first, NOW + 1, HURRIED).run == first


@pytest.mark.parametrize("reason", list(Stop))
def test_a_stop_is_sent_again_until_the_run_ends(reason: Stop) -> None:
    run = asked(reason, kill_at=NOW + 7)
    assert decide(run, NOW, RUNS) == DeadlineDecision(run=run, send=reason)


@pytest.mark.parametrize(
    ("kill_at", "is_due"), [(NOW + 0.001, False), (NOW, True), (NOW - 1, True), pytest.param(None, False, id="none")]
)
def test_a_stopped_run_is_killed_when_its_grace_has_passed(kill_at: float | None, is_due: bool) -> None:
    run = replace(RUN, stop=Stop.CANCEL, kill_at=kill_at)
    assert decide(run, NOW, RUNS).is_kill_due is is_due


def test_hurry_ends_a_grace_at_once() -> None:
    decision = decide(asked(Stop.CANCEL, kill_at=NOW - 1), NOW, HURRIED)
    assert decision.is_kill_due
    assert decision.run.stop is Stop.CANCEL


def test_an_abandoned_run_is_killed_without_being_asked() -> None:
    decision = decide(RUN, NOW, ABANDONING)
    assert decision.is_kill_due
    assert decision.send is None
    assert decision.run.stop is Stop.SHUTDOWN, "it returns to the queue as interrupted, not as lost"


@pytest.mark.parametrize("reason", list(Stop))
def test_an_abandoned_run_keeps_the_reason_that_it_has(reason: Stop) -> None:
    decision = decide(asked(reason, kill_at=NOW + 7), NOW, ABANDONING)
    assert (decision.is_kill_due, decision.run.stop) == (True, reason)


@pytest.mark.parametrize(
    ("run", "has_ended", "is_cancelled", "stop", "kill_in"),
    [
        pytest.param(RUN, False, False, None, None, id="a run that goes on"),
        pytest.param(RUN, False, True, Stop.CANCEL, 10.5, id="a cancel has the handler's grace"),
        pytest.param(RUN, True, False, Stop.LOST, 10.5, id="a lost run has the handler's grace"),
        pytest.param(replace(RUN, grace_seconds=0), True, False, Stop.LOST, 2.5, id="it has two seconds at least"),
        pytest.param(replace(RUN, grace_seconds=0), False, True, Stop.CANCEL, 0.5, id="a cancel has not"),
        pytest.param(RUN, True, True, Stop.LOST, 10.5, id="lost before cancelled"),
    ],
)
def test_a_run_that_has_ended_or_is_cancelled_in_the_database_is_stopped(
    run: RunState, has_ended: bool, is_cancelled: bool, stop: Stop | None, kill_in: float | None
) -> None:
    decision = decide_directive(run, NOW, has_ended=has_ended, is_cancelled=is_cancelled)
    assert (decision.run.stop, decision.send) == (stop, stop)
    assert decision.run.kill_at == (None if kill_in is None else NOW + kill_in)
    assert not decision.is_kill_due


@pytest.mark.parametrize("reason", list(Stop))
@pytest.mark.parametrize(("has_ended", "is_cancelled"), [(True, False), (False, True)])
def test_the_first_reason_to_stop_a_run_stays(reason: Stop, has_ended: bool, is_cancelled: bool) -> None:
    run = asked(reason, kill_at=NOW + 7)
    assert decide_directive(run, NOW, has_ended=has_ended, is_cancelled=is_cancelled) == DeadlineDecision(run=run)


@pytest.mark.parametrize("phase", [Phase.CLAIMING, Phase.ENDING, Phase.ENDED])
@pytest.mark.parametrize("reason", [Stop.CANCEL, Stop.TIMEOUT, Stop.LOST])
def test_no_process_is_killed_for_a_handler_that_has_ended_meanwhile(phase: Phase, reason: Stop) -> None:
    run = replace(asked(reason, kill_at=NOW - 1), phase=phase, since=NOW - 1)
    assert not decide(run, NOW, RUNS).is_kill_due


@pytest.mark.parametrize("phase", list(Phase))
def test_a_shutdown_kills_a_process_after_its_grace_whatever_it_does(phase: Phase) -> None:
    run = replace(asked(Stop.SHUTDOWN, kill_at=NOW), phase=phase, since=NOW - 1)
    assert decide(run, NOW, DRAINED).is_kill_due


@pytest.mark.parametrize("phase", [Phase.CLAIMING, Phase.ENDING, Phase.ENDED])
@pytest.mark.parametrize(("has_ended", "is_cancelled"), [(True, False), (False, True)])
def test_the_database_stops_a_handler_alone_because_a_child_asks_it_by_itself_at_other_times(
    phase: Phase, has_ended: bool, is_cancelled: bool
) -> None:
    run = replace(RUN, phase=phase)
    assert decide_directive(run, NOW, has_ended=has_ended, is_cancelled=is_cancelled) == DeadlineDecision(run=run)


@pytest.mark.parametrize(
    ("phase", "timeout_seconds", "seconds"),
    [
        pytest.param(Phase.ENDED, 60, 60.5, id="between two runs: the time-out of a run"),
        pytest.param(Phase.ENDED, 0.1, 2.5, id="two seconds at least"),
        pytest.param(Phase.CLAIMING, 0.1, DATABASE_SECONDS, id="a claim may wait for the database"),
        pytest.param(Phase.ENDING, 0.1, DATABASE_SECONDS, id="and so may an end"),
    ],
)
def test_a_process_that_does_not_go_on_is_killed(phase: Phase, timeout_seconds: float, seconds: float) -> None:
    run = replace(RUN, phase=phase, timeout_seconds=timeout_seconds, since=NOW - seconds)
    assert decide(run, NOW, RUNS).is_kill_due
    assert not decide(replace(run, since=run.since + 0.01), NOW, RUNS).is_kill_due
    assert decide(run, NOW, RUNS).run.stop is None


LIMITED = replace(RUN, max_memory_mb=100)


@pytest.mark.parametrize(
    ("run", "stop", "kill_in"),
    [
        pytest.param(replace(LIMITED, memory_mb=100), None, None, id="as much as it may have"),
        pytest.param(replace(LIMITED, memory_mb=101), Stop.MEMORY, 1.0, id="more: a second of grace at most"),
        pytest.param(replace(LIMITED, memory_mb=101, grace_seconds=0.2), Stop.MEMORY, 0.2, id="or its own"),
        pytest.param(replace(RUN, memory_mb=10_000), None, None, id="no limit"),
        pytest.param(replace(LIMITED, memory_mb=101, phase=Phase.ENDING), None, None, id="its handler is over"),
        pytest.param(
            replace(CANCELLED, max_memory_mb=100, memory_mb=101), Stop.CANCEL, 1.0, id="a cancel gets no longer either"
        ),
    ],
)
def test_a_run_above_its_memory_is_asked_to_stop(run: RunState, stop: Stop | None, kill_in: float | None) -> None:
    decision = decide(run, NOW, RUNS)
    assert (decision.run.stop, decision.send) == (stop, stop)
    assert decision.run.kill_at == (None if kill_in is None else NOW + kill_in)
    assert not decision.is_kill_due


def test_a_run_far_above_its_memory_is_killed_at_once() -> None:
    decision = decide(replace(LIMITED, memory_mb=151), NOW, RUNS)
    assert (decision.run.stop, decision.is_kill_due) == (Stop.MEMORY, True)
