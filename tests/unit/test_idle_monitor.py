"""The run monitor of a node between its runs: failed iterations, drains, and since when it is idle."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from harness.polling import wait_until
from tests.unit.monitored_node import Node, Store


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    node = Node(Store.of_the_monitor(monkeypatch))
    yield node
    node.close()


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
    time.sleep(0.05)
    assert node.monitor.idle_seconds >= 0.05
