"""A node of many queues asks Redis for those in which messages wait, in the order in which one BRPOP would answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from kombu import Connection

from ava.broker.celery_app import make_app, make_queue
from ava.broker.refused_queues import Refusals
from ava.domain.jobs import priority
from ava.node.celery_internals.queue_consumer import QueueConsumer
from ava.node.celery_internals.redis_lists import RedisLists
from ava.settings import Settings
from harness.polling import wait_until
from harness.servers.server import Server

MANY = [f"q-{number:04}" for number in range(1000)]


class Node:
    """What consumes in a node, without Celery's event loop."""

    def __init__(self, connection: Connection, url: str) -> None:
        self._connection, self._url = connection, url
        self.messages: list[Any] = []
        queues = [make_queue(name, no_ack=True) for name in MANY]
        self.consumer = QueueConsumer(connection.default_channel, queues, on_message=self.messages.append)
        RedisLists(self.consumer.channel, self.consumer)
        self.consumer.consume()

    def send(self, queue: str, number: int = 5) -> None:
        """Publish a message with one of our priorities."""
        with Connection(self._url) as connection:
            steps = {"priority_steps": list(range(10))}
            connection.transport_options.update(steps)
            connection.Producer().publish("{}", exchange="", routing_key=queue, priority=priority.to_redis(number))

    def wait(self, seconds: float) -> None:
        """Wait for a message. Raises `TimeoutError` if none comes."""
        self._connection.drain_events(timeout=seconds)

    def receive(self, count: int) -> list[tuple[int, str]]:
        """Receive messages. Returns the priority and the queue of each."""
        self.messages.clear()
        while len(self.messages) < count:
            self.wait(5)
        return [(m.properties["priority"] + 1, m.delivery_info["routing_key"]) for m in self.messages]


@pytest.fixture
def start(
    database_settings: Settings, private_redis: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Node]]:
    """Starts a node of a thousand queues on a Redis of the test's own."""
    monkeypatch.setattr(QueueConsumer, "refusals", Refusals(), raising=False)
    connections: list[Connection] = []

    def start(url: str = private_redis.url) -> Node:
        app = make_app(replace(database_settings, broker_url=url), consumes=True)
        connections.append(app.connection_for_read())
        return Node(connections[-1], private_redis.url)

    yield start
    for connection in connections:
        connection.release()


def test_the_smallest_priority_goes_first_and_queues_of_one_take_turns(start: Callable[..., Node]) -> None:
    node = start()
    first, second = MANY[700], MANY[3]
    for queue in (first, second):
        for number in (9, 5, 5, 1):
            node.send(queue, number)
    found = node.receive(8)
    assert [number for number, _ in found] == [1, 1, 5, 5, 5, 5, 9, 9]
    turns = [queue for number, queue in found if number == 5]
    assert turns[0] != turns[1] == turns[3]


def test_a_message_costs_by_the_queues_with_messages(start: Callable[..., Node], private_redis: Server) -> None:
    node = start()
    for _ in range(100):
        node.send(MANY[17])
    with redis.Redis.from_url(private_redis.url) as client:
        before = client.info("stats")["total_net_input_bytes"]
        node.receive(100)
        read = client.info("stats")["total_net_input_bytes"] - before
    # One BRPOP for ten thousand lists has about 200,000 bytes.
    assert read < 100 * 500


def test_a_node_that_waits_receives_from_any_queue_at_once(start: Callable[..., Node], private_redis: Server) -> None:
    node = start()

    def send_when_it_waits() -> None:
        with redis.Redis.from_url(private_redis.url) as client:
            wait_until(lambda: client.info("clients")["blocked_clients"] == 1, seconds=10)
        node.send(MANY[999], 10)

    sender = threading.Thread(target=send_when_it_waits)
    sender.start()
    assert node.receive(1) == [(10, MANY[999])]
    sender.join()


def test_a_user_without_the_right_to_scan_receives_in_the_same_order(
    start: Callable[..., Node], private_redis: Server
) -> None:
    with redis.Redis.from_url(private_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "node", "on", ">of-the-tests", "~*", "&*", "+@all", "-scan")
    node = start(f"redis://node:of-the-tests@{private_redis.url.rpartition('@')[2]}")
    for number in (5, 5, 1):
        node.send(MANY[1], number)
    node.send(MANY[0], 5)
    found = node.receive(4)
    assert found[0] == (1, MANY[1])
    assert [queue for _, queue in found[1:]] == [MANY[0], MANY[1], MANY[1]]


def test_a_database_with_much_else_delays_no_message(start: Callable[..., Node], private_redis: Server) -> None:
    with redis.Redis.from_url(private_redis.url) as client:
        client.mset({f"other-{number}": "" for number in range(40_000)})
        client.lpush("other", "a list of another program")
    node = start()
    for number in (6, 2):
        node.send(MANY[500], number)
    assert node.receive(2) == [(2, MANY[500]), (6, MANY[500])]


def test_a_key_that_is_no_list_any_more_stops_no_other_queue(start: Callable[..., Node], private_redis: Server) -> None:
    node = start()
    with redis.Redis.from_url(private_redis.url) as client:
        client.set(f"{MANY[0]}\x06\x165", "a string")
    node.send(MANY[1])
    assert node.receive(1) == [(5, MANY[1])]
    # Without messages it asks for all, and meets the string.
    with pytest.raises(TimeoutError):
        node.wait(1)
    assert node.consumer.refusals.names() == {MANY[0]}
    node.send(MANY[2])
    assert node.receive(1) == [(5, MANY[2])]
