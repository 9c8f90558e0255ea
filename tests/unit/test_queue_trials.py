"""Trials of queues: one whose cluster node was killed gives no answer, and delays the others by seconds only."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Queue
from kombu.entity import Queue as Entity

from ava.node.celery_internals import queue_consumer
from ava.node.celery_internals.queue_consumer import try_queues

SILENT_SECONDS = 0.2


class Refusal(Exception):
    """What RabbitMQ answers for a queue with other arguments."""

    reply_code = 406


class Cluster:
    """RabbitMQ's answers by queue: `refused…`, `silent…`, or accepted."""

    channel_errors = (Refusal,)
    transport = SimpleNamespace(driver_type="amqp")

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.transport_options: dict[str, Any] = {}

    def clone(self, **options: Any) -> Cluster:
        assert options["transport_options"]["read_timeout"] == queue_consumer._ANSWER_SECONDS
        return self

    def connect(self) -> None:
        self.threads.add(threading.get_ident())

    def channel(self) -> Cluster:
        return self

    def collect(self) -> None:
        """Every connection is this object."""

    release = collect

    def declare(self, name: str) -> None:
        if name.startswith("refused"):
            raise Refusal
        if name.startswith("silent"):
            time.sleep(SILENT_SECONDS)
            raise TimeoutError


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(
        Entity, "__call__", lambda queue, cluster: SimpleNamespace(declare=lambda: cluster.declare(queue.name))
    )
    return Cluster()


def _try(cluster: Cluster, *names: str) -> dict[str, Any]:
    channel = SimpleNamespace(connection=SimpleNamespace(client=cluster))
    return dict(try_queues(channel, [Queue(name) for name in names], is_consumed=False))


def test_each_queue_gets_its_answer(cluster: Cluster) -> None:
    found = _try(cluster, "one", "refused", "silent", "other")
    assert (found["one"], found["other"]) == (None, None)
    assert isinstance(found["refused"], Refusal)
    assert "its cluster node may be down" in str(found["silent"])


def test_queues_without_an_answer_are_tried_side_by_side(cluster: Cluster) -> None:
    found = _try(cluster, *(f"silent-{number}" for number in range(10)), "one")
    assert sum(isinstance(refusal, TimeoutError) for refusal in found.values()) == 10
    assert found["one"] is None
    assert len(cluster.threads) > 5


def test_queues_that_are_accepted_share_one_connection(cluster: Cluster) -> None:
    assert set(_try(cluster, *(f"queue-{number}" for number in range(10))).values()) == {None}
    assert cluster.threads == {threading.get_ident()}
