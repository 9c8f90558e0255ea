"""A node's consumer leaves out the queues that the broker refuses, and consumes them when the broker accepts them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest
import redis
from kombu import Connection

from ava.broker.celery_app import make_queue
from ava.broker.refused_queues import Refusals
from ava.node.celery_internals.queue_consumer import QueueConsumer
from harness.servers.rabbitmq import RabbitMQ

NAMES = ("one", "other")


@pytest.fixture(autouse=True)
def refusals(monkeypatch: pytest.MonkeyPatch) -> Refusals:
    """What this node knows of refused queues, as one that has just started."""
    refusals = Refusals()
    monkeypatch.setattr(QueueConsumer, "refusals", refusals, raising=False)
    monkeypatch.setattr(QueueConsumer, "has_consumed", False)
    monkeypatch.setattr(QueueConsumer, "is_consumption_tried", False)
    monkeypatch.setattr(Refusals, "retry_seconds", 0.0)
    return refusals


@pytest.fixture
def connection(broker_url: str) -> Iterator[Connection]:
    with Connection(broker_url) as connection:
        yield connection


def _refuse(url: str, name: str) -> None:
    """Declare a queue with other arguments, or put a string under one of its keys."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            client.set(f"{name}\x06\x165", "a string")
    else:
        with Connection(url) as stranger:
            stranger.default_channel.queue_declare(name, durable=True, auto_delete=False)


def _accept(url: str, name: str) -> None:
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            client.delete(f"{name}\x06\x165")
    else:
        with Connection(url) as stranger:
            stranger.default_channel.queue_delete(name)


def _consumer(connection: Connection) -> QueueConsumer:
    received: list[Any] = []
    consumer = QueueConsumer(
        connection.default_channel, [make_queue(name) for name in NAMES], on_message=received.append
    )
    consumer.received = received
    return consumer


def _retry_once(consumer: QueueConsumer) -> None:
    """Have the consumer try its refused queues once, and follow what the trial finds."""
    consumer.retry()
    assert consumer._trial is not None
    consumer._trial.join(30)
    consumer.retry()


def _send(url: str, name: str) -> None:
    with Connection(url) as connection:
        connection.Producer().publish("{}", exchange="", routing_key=name, priority=5)


def test_a_refused_queue_is_left_out_until_the_broker_accepts_it(
    connection: Connection, broker_url: str, refusals: Refusals
) -> None:
    _refuse(broker_url, "one")
    consumer = _consumer(connection)
    consumer.consume()
    assert [queue.name for queue in consumer.queues] == ["other"]
    assert refusals.names() == {"one"}
    _retry_once(consumer)
    assert refusals.names() == {"one"}
    _send(broker_url, "other")
    connection.drain_events(timeout=5)
    _accept(broker_url, "one")
    _retry_once(consumer)
    assert not refusals.names()
    _send(broker_url, "one")
    connection.drain_events(timeout=5)
    assert [message.delivery_info["routing_key"] for message in consumer.received] == ["other", "one"]


def test_a_node_that_starts_ends_if_every_queue_is_refused(connection: Connection, broker_url: str) -> None:
    for name in NAMES:
        _refuse(broker_url, name)
    with pytest.raises(connection.channel_errors):
        _consumer(connection)


def test_a_node_that_has_consumed_stays_if_every_queue_is_refused(
    connection: Connection, broker_url: str, refusals: Refusals
) -> None:
    _consumer(connection).consume()
    for name in NAMES:
        _accept(broker_url, name)
        _refuse(broker_url, name)
    with Connection(broker_url) as again:
        consumer = _consumer(again)
        consumer.consume()
        assert refusals.names() == set(NAMES)
        _accept(broker_url, "one")
        _retry_once(consumer)
        assert [queue.name for queue in consumer.queues] == ["one"]


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_queue_that_may_be_declared_and_not_consumed_stops_no_other(
    broker_url: str, rabbitmq_server: RabbitMQ, refusals: Refusals
) -> None:
    with rabbitmq_server.user(broker_url, read="other") as url:
        with Connection(url) as first, pytest.raises(ConnectionAbortedError, match="'one'"):
            _consumer(first).consume()
        _send(broker_url, "other")
        with Connection(url) as second:
            consumer = _consumer(second)
            consumer.consume()
            second.drain_events(timeout=5)
            assert [queue.name for queue in consumer.queues] == ["other"]
            assert len(consumer.received) == 1, "a trial takes no message from the queue"
            assert refusals.names() == {"one"}
            rabbitmq_server.permit(str(urlsplit(url).username), url.rpartition("/")[2], read=".*")
            _retry_once(consumer)
            assert not refusals.names()


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_another_error_of_a_channel_is_raised(connection: Connection) -> None:
    consumer = _consumer(connection)
    with pytest.raises(kombu.exceptions.OperationalError), consumer._consuming():
        raise kombu.exceptions.OperationalError


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_queue_that_is_deleted_is_declared_again_and_stops_no_other(
    connection: Connection, broker_url: str, refusals: Refusals
) -> None:
    consumer = _consumer(connection)
    consumer.consume()
    _accept(broker_url, "one")
    _send(broker_url, "other")
    while not consumer.received or not refusals.names():
        connection.drain_events(timeout=5)
    assert refusals.names() == {"one"}
    assert [queue.name for queue in consumer.queues] == ["other"]
    _retry_once(consumer)
    assert not refusals.names()
    consumer.received.clear()
    _send(broker_url, "one")
    connection.drain_events(timeout=5)
    assert [message.delivery_info["routing_key"] for message in consumer.received] == ["one"]
