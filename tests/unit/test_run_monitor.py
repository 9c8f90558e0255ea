"""The run monitor by itself: real mailboxes and real processes, a database and a store that only record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psutil
import pytest

from ava.domain.jobs.job import RunKey
from ava.errors import DatabaseUnavailable
from ava.node import process_tree
from ava.node.parent import run_monitor
from ava.node.parent.pool_runs import DeadProcess, GivenRuns
from ava.node.run_board import Phase
from harness.polling import wait_until
from harness.running_process import lives
from tests.unit.monitored_node import Node, Store, run_of


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store.of_the_monitor(monkeypatch)


@pytest.fixture
def node(store: Store, request: pytest.FixtureRequest) -> Iterator[Node]:
    node = Node(store, **getattr(request, "param", {}))
    yield node
    node.close()


def test_a_node_is_registered_before_its_thread_runs(node: Node) -> None:
    node.start()
    assert node.store.calls[:2] == [("announce", 0), ("register", node.id)]


def test_a_node_whose_row_is_gone_registers_again(node: Node) -> None:
    node.start()
    node.store.knows_node = False
    wait_until(lambda: len(node.store.named("register")) == 2)
    assert len(node.store.named("announce")) == 1


def test_the_heartbeat_counts_busy_processes_not_runs(node: Node) -> None:
    _, child = node.run("job_a")
    node.run("job_b")
    node.monitor.give(GivenRuns(pid=child.pid, runs=(run_of("job_c"),)))
    node.start()
    wait_until(lambda: (2,) in node.store.named("heartbeat"))
    assert node.store.named("heartbeat")[-1] == (2,)


def test_a_cancelled_run_is_stopped_and_its_neighbour_is_not(node: Node) -> None:
    _, child = node.run("job_a", grace_seconds=30)
    _, neighbour = node.run("job_b", grace_seconds=30)
    node.start()
    node.store.cancelled.add(run_of("job_a"))
    wait_until(lambda: child.received() == [("job_a.1", "cancel")])
    wait_until(lambda: child.received() == [("job_a.1", "cancel")], what="it is sent again")
    assert neighbour.received() == []
    assert child.is_alive
    assert neighbour.is_alive


def test_a_cancelled_run_that_does_not_end_is_killed_and_ends_as_cancelled(node: Node) -> None:
    given, child = node.run("job_a", grace_seconds=0.1)
    _, neighbour = node.run("job_b")
    node.store.cancelled.add(run_of("job_a"))
    node.start()
    wait_until(lambda: child.was_killed)
    node.lose(given)
    wait_until(lambda: node.store.named("end killed"))
    assert node.store.named("end killed")[0][:2] == ("job_a", 1)
    assert node.store.named("rescue") == []
    assert neighbour.is_alive


def test_a_run_that_is_lost_is_stopped_and_nothing_is_written_of_it(node: Node) -> None:
    given, child = node.run("job_a", grace_seconds=30)
    node.store.over.add(run_of("job_a"))
    node.start()
    wait_until(lambda: child.received() == [("job_a.1", "lost")])
    node.lose_without_rescue(given)
    assert node.store.named("end killed") == []


def test_a_child_that_is_stuck_beyond_its_time_is_stopped_and_killed(node: Node) -> None:
    given, child = node.run("job_a", timeout_seconds=0.1)
    node.start()
    wait_until(lambda: child.received() == [("job_a.1", "timeout")])
    wait_until(lambda: child.was_killed)
    node.lose(given)
    wait_until(lambda: node.store.named("end killed") == [("job_a", 1, "Timeout: exceeded 0.1 s")])


@pytest.mark.parametrize("node", [{"AVA_HEARTBEAT_SECONDS": "60", "AVA_NODE_DEAD_SECONDS": "180"}], indirect=True)
def test_runs_are_checked_between_two_heartbeats(node: Node) -> None:
    _, child = node.run("job_a", grace_seconds=30)
    node.start()
    wait_until(lambda: node.store.checks > 1)
    node.store.cancelled.add(run_of("job_a"))
    wait_until(lambda: child.received() == [("job_a.1", "cancel")])
    assert node.store.named("heartbeat") == []


def test_time_does_not_run_before_the_claim(node: Node) -> None:
    _, child = node.run("job_a", phase=Phase.CLAIMING, timeout_seconds=0)
    node.start()
    wait_until(lambda: node.store.checks > 8)
    assert node.tracked(child).stop is None
    assert child.received() == []


def test_a_check_that_is_asked_for_comes_at_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_monitor, "_CHECK_SECONDS", 60)
    _, child = node.run("job_a", grace_seconds=30)
    node.start()
    wait_until(lambda: node.store.checks == 1)
    node.store.cancelled.add(run_of("job_a"))
    node.let_pass()
    assert child.received() == []
    node.monitor.check_now()
    wait_until(lambda: child.received() == [("job_a.1", "cancel")])


def test_the_process_of_a_run_that_has_ended_is_not_killed(node: Node) -> None:
    given, child = node.run("job_a")
    _, neighbour = node.run("job_b")
    child.publish("job_c", Phase.RUNNING)
    assert node.monitor.take_back(given)
    assert not node.monitor.take_back(given)
    node.start()
    node.store.over |= {run_of("job_a"), run_of("job_b")}
    wait_until(lambda: neighbour.was_killed)
    assert child.is_alive


@pytest.mark.parametrize("phase", [Phase.ENDING, Phase.ENDED])
def test_the_process_of_a_run_that_ends_just_before_the_kill_is_not_killed_but_goes_on(
    node: Node, monkeypatch: pytest.MonkeyPatch, phase: Phase
) -> None:
    given, child = node.run("job_a")
    _, neighbour = node.run("job_b")
    freeze = process_tree.freeze

    def end_and_freeze(pid: int) -> None:
        # The kill is decided already.
        if pid == child.pid:
            child.publish("job_a", phase)
        freeze(pid)

    monkeypatch.setattr(process_tree, "freeze", end_and_freeze)
    node.store.cancelled |= {run_of("job_a"), run_of("job_b")}
    node.start()
    wait_until(lambda: neighbour.was_killed)
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_SLEEPING, what="it goes on")
    assert node.monitor.take_back(given)


def test_no_process_is_killed_that_is_not_a_child_of_this_one(node: Node) -> None:
    starter = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=-3).pid)"
    pid = int(subprocess.check_output([sys.executable, "-S", "-c", starter], text=True))
    try:
        _, child = node.run("job_a")
        child.board.open(pid)
        child.publish("job_a")
        node.monitor.give(GivenRuns(pid=pid, runs=(run_of("job_a"),)))
        node.start()
        node.monitor.abandon()
        node.close()
        assert lives(psutil.Process(pid))
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_dead_childs_run_is_rescued_as_lost(node: Node) -> None:
    given, _ = node.run("job_a")
    node.start()
    node.lose(given)
    wait_until(lambda: node.store.named("rescue"))
    assert node.store.named("rescue") == [("job_a", 1, "Handler lost: the worker process died (signal 9)", True)]


def test_a_run_that_was_never_claimed_only_loses_its_number(node: Node) -> None:
    given, _ = node.run("job_a")
    node.store.unclaimed.add(run_of("job_a"))
    node.start()
    node.lose_without_rescue(given)


def test_a_run_that_another_child_was_given_as_well_is_not_rescued(node: Node) -> None:
    given, _ = node.run("job_a", phase=Phase.CLAIMING)
    node.run("job_a")
    node.start()
    node.lose_without_rescue(given)


def test_writes_wait_for_a_database_that_is_away(node: Node) -> None:
    given, _ = node.run("job_a")
    node.start()
    node.store.is_away = True
    node.lose(given)
    node.rescue_another("job_z")
    node.let_pass()
    assert node.rescued() == []
    node.store.is_away = False
    wait_until(lambda: sorted(node.rescued()) == ["job_a", "job_z"])


def test_a_write_that_meets_an_outage_is_done_later(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[str] = []

    def break_off(_connection: Any, wanted: Sequence[RunKey], _process: DeadProcess, **_: Any) -> None:
        met.extend(run.job_id for run in wanted)
        if len(met) < 3:
            raise DatabaseUnavailable

    monkeypatch.setattr(run_monitor, "rescue_runs", break_off)
    node.start()
    node.rescue_another("job_z")
    wait_until(lambda: met == ["job_z"] * 3)
    wait_until(node.monitor._deferred_writes.empty)


def test_jobs_run_on_while_the_database_is_away(node: Node) -> None:
    _, child = node.run("job_a")
    node.start()
    node.store.is_away = True
    wait_until(lambda: node.monitor.unreachable_seconds > 0.5)
    assert node.tracked(child).stop is None
    assert child.is_alive
    node.store.is_away = False
    wait_until(lambda: node.monitor.unreachable_seconds < 0.2)


def test_runs_are_released_by_a_node_that_is_cut_off(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_monitor, "_CUT_OFF_SECONDS", 0.3)
    _, child = node.run("job_a", grace_seconds=30)
    _, other_child = node.run("job_b", grace_seconds=30)
    node.start()
    node.store.is_away = True
    wait_until(lambda: node.monitor.unreachable_seconds > 0.3)
    node.monitor.release_runs(["job_a.1"])
    wait_until(lambda: child.received() == [("job_a.1", "shutdown")])
    assert node.grace_of(child) <= 2.5, "the grace is short"
    assert node.tracked(other_child).stop is None
    assert other_child.received() == []


@pytest.mark.parametrize(
    ("is_away", "stops"),
    [
        pytest.param(False, [], id="the database answers"),
        pytest.param(True, [("job_a.1", "shutdown")], id="the database is away"),
    ],
)
def test_a_thawed_node_asks_the_database_before_it_releases_runs(
    node: Node, monkeypatch: pytest.MonkeyPatch, is_away: bool, stops: list[tuple[str, str]]
) -> None:
    monkeypatch.setattr(run_monitor, "_CUT_OFF_SECONDS", 0)
    # The thread is frozen until the request is here.
    monkeypatch.setattr(node.monitor._thread, "start", lambda: None)
    _, child = node.run("job_a", grace_seconds=30)
    node.start()
    attempts = node.store.attempts
    wait_until(lambda: node.monitor.unreachable_seconds > 0)
    node.monitor.release_runs(["job_a.1"])
    assert node.monitor._released == {"job_a.1"}
    node.store.is_away = is_away

    def has_asked() -> bool:
        node.monitor._run_once()
        return node.store.attempts > attempts

    wait_until(has_asked)
    node.monitor._run_once()
    assert child.received() == stops
    assert node.monitor._released == ({"job_a.1"} if is_away else set())


def test_runs_are_released_while_an_attempt_to_reach_the_database_gets_no_answer(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_monitor, "_CUT_OFF_SECONDS", 0)
    monkeypatch.setattr(run_monitor, "_ANSWER_SECONDS", 0.5)
    # The thread waits for the answer; in a slot process another one applies the deadlines.
    monkeypatch.setattr(node.monitor._thread, "start", lambda: None)
    _, child = node.run("job_a", grace_seconds=30)
    node.start()
    wait_until(lambda: node.monitor.unreachable_seconds > 0)
    node.monitor.release_runs(["job_a.1"])
    asked_at = time.monotonic()
    while not (received := child.received()):
        node.monitor.apply_deadlines()
        assert time.monotonic() < asked_at + 10
    assert received[0] == ("job_a.1", "shutdown")
    assert time.monotonic() >= asked_at + 0.5


def test_runs_are_not_released_by_a_node_that_reaches_the_database(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_monitor, "_CUT_OFF_SECONDS", 5)
    _, child = node.run("job_a")
    node.start()
    node.monitor.release_runs(["job_a.1"])
    node.let_pass()
    assert node.tracked(child).stop is None
    assert child.received() == []


@pytest.mark.parametrize(
    ("node", "is_second"),
    [({"AVA_DRAIN_SECONDS": "1"}, False), ({"AVA_DRAIN_SECONDS": "60"}, True)],
    indirect=["node"],
)
def test_a_drain_stops_runs_after_its_time_and_a_second_one_at_once_with_a_short_grace(
    node: Node, is_second: bool
) -> None:
    _, child = node.run("job_a", grace_seconds=30)
    node.start()
    node.monitor.drain()
    node.let_pass(1)
    assert child.received() == []
    if is_second:
        node.monitor.drain()
    wait_until(lambda: child.received() == [("job_a.1", "shutdown")])
    assert node.grace_of(child) <= 2.5 if is_second else node.grace_of(child) > 20


def test_an_abandoned_run_is_killed_at_once_and_returns_to_the_queue(node: Node) -> None:
    given, child = node.run("job_a", grace_seconds=30)
    node.start()
    node.monitor.abandon()
    wait_until(lambda: child.was_killed)
    node.lose(given)
    wait_until(lambda: node.store.named("rescue"))
    reason = "Handler interrupted, the worker is shutting down"
    assert node.store.named("rescue") == [("job_a", 1, reason, False)]


def test_closing_kills_what_runs_rescues_it_and_deregisters(node: Node) -> None:
    _, child = node.run("job_a", grace_seconds=30)
    node.start()
    node.rescue_another("job_z")
    node.monitor.close()
    assert child.process.wait(30) == -signal.SIGKILL
    reason = "Handler interrupted, the worker is shutting down"
    assert node.rescued() == ["job_z", "job_a"]
    assert [call for call in node.store.calls if call[0] != "heartbeat"][-3:] == [
        ("rescue", "job_a", 1, reason, False),
        ("deregister", node.id),
        ("close",),
    ]


def test_closing_goes_on_after_a_commit_that_lost_its_response(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.run("job_a", grace_seconds=30)
    node.run("job_b", grace_seconds=30)
    node.start()
    rescue = node.store.rescue

    def rescue_and_lose(*arguments: Any, **named: Any) -> object:
        monkeypatch.setattr(node.store, "rescue", rescue)
        rescue(*arguments, **named)
        raise DatabaseUnavailable

    monkeypatch.setattr(node.store, "rescue", rescue_and_lose)
    node.monitor.close()
    assert {call[0] for call in node.store.named("rescue")} == {"job_a", "job_b"}
    assert {is_loss for *_, is_loss in node.store.named("rescue")} == {False}
    assert node.store.named("deregister") == [(node.id,)]


def test_what_runs_in_a_node_that_ends_itself_is_lost(node: Node) -> None:
    _, child = node.run("job_a", grace_seconds=30)
    node.start()
    node.monitor.close("the worker exited because its event loop is blocked")
    assert child.process.wait(30) == -signal.SIGKILL
    reason = "Handler lost: the worker exited because its event loop is blocked"
    assert node.store.named("rescue") == [("job_a", 1, reason, True)]
