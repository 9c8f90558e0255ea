"""The queue that wakes webhook senders when there is something to send."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
import redis

from ava.broker.app import make_app, make_queue
from ava.broker.publisher import Publisher
from ava.broker.webhook_wakeup import WakeUpListener
from ava.domain.messages import WEBHOOKS_QUEUE
from ava.errors import BrokerUnavailable
from ava.settings import Settings
from harness.polling import wait_until
from harness.servers.server import Server


@pytest.fixture
def publisher(settings: Settings) -> Iterator[Publisher]:
    publisher = Publisher(make_app(settings), settings)
    yield publisher
    publisher.close()


@contextmanager
def _listening(settings: Settings) -> Iterator[list[int]]:
    """A list that grows by one with each wake-up."""
    wakeups: list[int] = []
    listener = WakeUpListener(make_app(settings, consumes=True), lambda: wakeups.append(1))
    thread = threading.Thread(target=listener.listen)
    thread.start()
    try:
        yield wakeups
    finally:
        listener.should_stop = True
        thread.join(10)
        assert not thread.is_alive()


def _messages(settings: Settings) -> int:
    with make_app(settings).connection_for_write() as connection:
        return int(make_queue(WEBHOOKS_QUEUE).bind(connection.default_channel).queue_declare().message_count)


def test_one_wake_up_is_pending_however_many_are_queued(publisher: Publisher, settings: Settings) -> None:
    assert publisher.wake_one_sender()
    wait_until(lambda: _messages(settings) == 1)
    assert not any(publisher.wake_one_sender() for _ in range(20))
    assert _messages(settings) == 1


def test_each_wake_up_reaches_one_listener(publisher: Publisher, settings: Settings) -> None:
    with _listening(settings) as one, _listening(settings) as other:
        for count in range(1, 11):
            assert publisher.wake_one_sender()
            wait_until(lambda count=count: len(one) + len(other) == count)
        wait_until(lambda: _messages(settings) == 0)
    assert len(one) + len(other) == 10


def test_foreign_messages_in_the_queue_do_not_stop_a_listener(publisher: Publisher, settings: Settings) -> None:
    assert _messages(settings) == 0
    with _listening(settings) as wakeups:
        with make_app(settings).connection_for_write() as connection:
            producer = connection.Producer()
            for body, serializer in (("\x00\ud800".encode("utf-8", "replace"), "raw"), ({"a": [1]}, "json")):
                producer.publish(body, exchange="", routing_key=WEBHOOKS_QUEUE, serializer=serializer)
        if settings.broker_is_redis:
            with redis.Redis.from_url(settings.broker_url) as client:
                client.lpush(WEBHOOKS_QUEUE, b"\xff\x00 no message of kombu's")
        wait_until(lambda: _messages(settings) == 0)
        wait_until(lambda: len(wakeups) >= 2)
        before = len(wakeups)
        wait_until(publisher.wake_one_sender)
        wait_until(lambda: len(wakeups) > before)


def test_a_listener_reconnects_when_the_broker_is_back(database_settings: Settings, private_redis: Server) -> None:
    settings = replace(database_settings, broker_url=private_redis.url)
    with closing(Publisher(make_app(settings), settings)) as publisher, _listening(settings) as wakeups:
        wait_until(publisher.wake_one_sender)
        wait_until(lambda: wakeups)
        private_redis.kill()
        with pytest.raises(BrokerUnavailable):
            publisher.wake_one_sender()
        private_redis.start()
        wait_until(lambda: _wakes(publisher))
        wait_until(lambda: len(wakeups) > 1)


def _wakes(publisher: Publisher) -> bool:
    try:
        return publisher.wake_one_sender()
    except BrokerUnavailable:
        return False
