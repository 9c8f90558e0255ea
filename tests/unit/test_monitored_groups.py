"""The run monitor from run to run: a stop reaches a process for its current run alone.

An iteration may fail, and a node may be drained or idle.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ava.domain.jobs.job import LogLevel, LogLine
from ava.domain.jobs.run_outcome import Ending, RunOutcome
from ava.node.parent import loop_liveness
from ava.node.parent.pool_runs import GivenRuns
from ava.node.run_board import Phase
from ava.store.jobs.transitions.ended_runs import EndedRun
from harness.polling import wait_until
from tests.runs import first_run
from tests.unit.monitored_node import Node, Store, run_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    node = Node(Store.of_the_monitor(monkeypatch))
    yield node
    node.close()


def _completed(job_id: str) -> EndedRun:
    return EndedRun.of(
        first_run(run_of(job_id)),
        RunOutcome(run=run_of(job_id), ending=Ending.COMPLETED, elapsed_ms=5, output_json='{"a":1}'),
        claim_id="claim",
        began_at=NOW,
        closing=LogLine(seq=1, ts=NOW, level=LogLevel.INFO, msg="Handler completed in 5ms"),
        progress_json=None,
    )


def test_no_process_is_stopped_for_a_job_of_its_message_that_waits_or_has_ended(node: Node) -> None:
    _, child = node.run("job_a", "job_b", "job_c")
    child.publish("job_b")
    node.start()
    node.store.over.add(run_of("job_a"))
    node.store.cancelled.add(run_of("job_c"))
    checks = node.store.checks
    wait_until(lambda: node.store.checks > checks + 3)
    assert child.received() == []
    # It is stopped for that job when its turn comes.
    child.publish("job_c")
    wait_until(lambda: child.received() == [("job_c.1", "cancel")])
    wait_until(lambda: child.was_killed)


def test_the_time_out_of_a_run_is_the_one_that_its_process_has_published(node: Node) -> None:
    given, child = node.run("job_a", "job_b", timeout_seconds=0.1)
    node.start()
    wait_until(lambda: child.was_killed)
    node.lose(given)
    wait_until(lambda: node.rescued() == ["job_b"])
    assert node.store.named("end killed") == [("job_a", 1, "Timeout: exceeded 0.1 s")]
    ((_, _, _, is_loss),) = node.store.named("rescue")
    assert not is_loss, "job_b had not begun"


def test_a_process_is_watched_while_the_event_loop_stands_still_and_its_runs_are_rescued(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_liveness, "is_turning", lambda: False)
    # The loop knows of the message of job_a alone.
    _, child = node.run("job_a")
    child.publish("job_b")
    node.start()
    node.store.over.add(run_of("job_a"))
    checks = node.store.checks
    wait_until(lambda: node.store.checks > checks + 3)
    assert child.received() == []
    node.store.cancelled.add(run_of("job_b"))
    wait_until(lambda: node.store.named("end killed"), what="it is killed and rescued")
    assert node.store.named("end killed")[0][:2] == ("job_b", 1)


def test_the_outcomes_that_a_dead_process_stored_are_written_before_its_other_runs_are_rescued(node: Node) -> None:
    given, child = node.run("job_a", "job_b", "job_c")
    assert child.board.keep_end(_completed("job_a"))
    child.publish("job_b")
    node.start()
    child.process.kill()
    child.process.wait()
    node.lose(given)
    wait_until(lambda: node.rescued() == ["job_b", "job_a", "job_c"])
    written = [call for call in node.store.calls if call[0] in ("end", "lines", "rescue")]
    assert written[0] == ("end", ("job_a", '{"a":1}'))
    assert written[1] == ("lines", "job_b", 1, ["opening"])
    losses = {job_id: is_loss for job_id, _, _, is_loss in node.store.named("rescue")}
    assert losses == {"job_a": False, "job_b": True, "job_c": False}


def test_a_process_that_stands_still_between_two_runs_is_killed_and_no_run_counts_a_loss(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ava.node.parent.deadlines.MIN_REPORT_SECONDS", 0.1)
    given, child = node.run("job_a", "job_b")
    assert child.board.keep_end(_completed("job_a"))
    child.publish("job_a", Phase.ENDED, timeout_seconds=0.1)
    node.start()
    wait_until(lambda: child.was_killed)
    node.lose(given)
    wait_until(node.rescued)
    assert node.store.named("end") == [(("job_a", '{"a":1}'),)]
    assert ("job_b", 1, "Handler not started: its process has ended", False) in node.store.named("rescue")


def test_a_dead_process_is_not_watched_any_more_before_another_has_replaced_it(node: Node) -> None:
    given, child = node.run("job_a", timeout_seconds=0.1)
    node.start()
    wait_until(lambda: child.was_killed)
    node.lose(given)
    wait_until(lambda: node.store.named("end killed"))
    assert not node.monitor._pool_runs.poll()
    assert node.monitor._pool_runs.busy == 0


def test_what_a_process_was_about_to_claim_with_the_end_of_its_run_is_rescued_with_it(node: Node) -> None:
    first, child = node.run("job_a")
    second = GivenRuns(pid=child.pid, runs=(run_of("job_b"),))
    node.monitor.give(second)
    child.publish("job_a", Phase.ENDING, next_run=run_of("job_b"))
    node.store.unclaimed.add(run_of("job_b"))
    node.start()
    for given in (first, second):
        node.lose(given)
    node.rescue_another("job_z")
    wait_until(lambda: "job_z" in node.rescued())
    assert node.rescued() == ["job_a", "job_z"]


def test_an_iteration_that_fails_is_followed_by_another(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    node.start()
    node.store.is_broken = True
    wait_until(lambda: "Run monitor: iteration failed, will retry" in caplog.text)
    before = len(node.store.named("heartbeat"))
    node.store.is_broken = False
    wait_until(lambda: len(node.store.named("heartbeat")) > before)


def test_a_drained_node_consumes_no_queue_until_it_is_resumed(node: Node) -> None:
    node.start()
    node.store.takes_jobs = False
    wait_until(lambda: not node.monitor.intake.is_open)
    assert node.store.named("write_queues") == [], "the consumer still consumes"
    node.monitor.intake.is_consuming = False
    wait_until(lambda: node.store.named("write_queues") == [((),)])
    node.store.takes_jobs = True
    wait_until(lambda: node.monitor.intake.is_open)
    node.monitor.intake.is_consuming = True
    wait_until(lambda: node.store.named("write_queues") == [((),), (("default",),)])


def test_a_node_is_idle_since_its_last_run_started_and_not_while_there_is_one(node: Node) -> None:
    given, child = node.run("job_a")
    assert node.monitor.idle_seconds == 0
    node.monitor.take_back(given)
    child.board.publish(None)
    node.monitor._pool_runs.poll()
    wait_until(lambda: node.monitor.idle_seconds >= 0.05)
