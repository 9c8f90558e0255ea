"""The run monitor and messages that stand for several runs: which run the process has decides what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.polling import wait_until
from tests.unit.monitored_node import Node, Store


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    node = Node(Store.of_the_monitor(monkeypatch))
    yield node
    node.close()


def test_a_run_of_a_group_that_is_over_is_forgotten_while_its_process_has_another(node: Node) -> None:
    (first, second), child = node.run_group("job_a", "job_b")
    node.start()
    node.store.over.add(first.key)
    node.store.running_seconds = {second.key: 0}
    wait_until(lambda: not node.monitor.untrack(first))
    assert node.monitor.untrack(second)
    assert child.received() == []
    assert child.is_alive


def test_a_process_is_not_killed_for_a_run_of_its_group_that_it_has_ended_meanwhile(node: Node) -> None:
    (first, second), child = node.run_group("job_a", "job_b", grace_seconds=0.5)
    node.store.cancelled.add(first.key)
    node.start()
    wait_until(lambda: child.received() == [("job_a.1", "cancel")])
    # It went on to the second, and the database says so before the first run's grace is over.
    node.store.cancelled.clear()
    node.store.over.add(first.key)
    node.store.running_seconds = {second.key: 0}
    wait_until(lambda: first not in node.monitor._runs())
    node.store.cancelled.add(second.key)
    wait_until(lambda: ("job_b.1", "cancel") in child.received())
    wait_until(lambda: child.was_killed)
    assert first.is_killed is False


def test_a_run_of_a_group_that_is_lost_is_stopped_if_its_process_has_no_other(node: Node) -> None:
    (first, _), child = node.run_group("job_a", "job_b", grace_seconds=30)
    node.store.over.add(first.key)
    node.store.running_seconds = {}
    node.start()
    wait_until(lambda: child.received() == [("job_a.1", "lost")])
