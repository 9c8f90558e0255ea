"""Publishing: in pipelines, and never in the way of whoever asks while the broker is away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ava.errors import BrokerUnavailable
from ava.settings import Settings
from harness.polling import wait_until
from harness.servers.server import Server
from tests.backlog import Backlog, open_backlog


@pytest.fixture
def backlog(settings: Settings) -> Iterator[Backlog]:
    with open_backlog(settings) as backlog:
        yield backlog


@pytest.fixture
def on_private_redis(database_settings: Settings, private_redis: Server) -> Iterator[Backlog]:
    with open_backlog(replace(database_settings, broker_url=private_redis.url)) as backlog:
        yield backlog


def _seconds(act: object, *arguments: object) -> float:
    """How long a call takes that must say that the broker is unavailable."""
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        act(*arguments)  # type: ignore[operator]
    return time.monotonic() - began


def test_a_thousand_jobs_are_published_and_all_arrive(backlog: Backlog) -> None:
    found = backlog.insert(1_000, is_published=True)
    backlog.publisher.publish(found)
    assert backlog.messages() == 1_000


def test_publishing_nothing_asks_nobody(database_settings: Settings) -> None:
    with open_backlog(database_settings) as backlog:
        backlog.publisher.publish([])


def test_a_queue_that_was_deleted_is_declared_again_for_a_batch(backlog: Backlog) -> None:
    found = backlog.insert(10, is_published=True)
    backlog.publisher.publish(found)
    backlog.empty_broker()
    if not backlog.settings.broker_is_redis:
        with backlog.app.connection_for_write() as connection:
            connection.default_channel.queue_delete("default")
    backlog.publisher.publish(found)
    assert backlog.messages() == 10


def test_while_the_broker_is_away_nobody_waits_for_it(on_private_redis: Backlog, private_redis: Server) -> None:
    found = on_private_redis.insert(1, is_published=True)
    on_private_redis.publisher.publish(found)
    private_redis.kill()
    assert _seconds(on_private_redis.publisher.publish, found) < 1
    assert sum(_seconds(on_private_redis.publisher.publish, found) for _ in range(1_000)) < 0.5
    private_redis.start()
    wait_until(lambda: _can_publish(on_private_redis), seconds=5, what="the breaker closes by itself")


def test_a_broker_that_is_frozen_costs_one_wait_and_no_more(on_private_redis: Backlog, private_redis: Server) -> None:
    found = on_private_redis.insert(1, is_published=True)
    on_private_redis.publisher.publish(found)
    with private_redis.frozen():
        assert _seconds(on_private_redis.publisher.publish, found) < 4
        assert sum(_seconds(on_private_redis.publisher.publish, found) for _ in range(1_000)) < 0.5
    wait_until(lambda: _can_publish(on_private_redis), seconds=8, what="the breaker closes by itself")


def test_a_connection_that_ended_meanwhile_costs_no_message(on_private_redis: Backlog, private_redis: Server) -> None:
    found = on_private_redis.insert(1, is_published=True)
    on_private_redis.publisher.publish(found)
    private_redis.stop()
    private_redis.start()
    on_private_redis.publisher.publish(found)
    assert on_private_redis.messages() == 1


def test_the_canary_sings_until_the_broker_was_reset(on_private_redis: Backlog, private_redis: Server) -> None:
    publisher = on_private_redis.publisher
    assert [publisher.was_reset(), publisher.was_reset()] == [True, False]
    private_redis.kill()
    private_redis.start()
    assert [publisher.was_reset(), publisher.was_reset()] == [True, False]


def _can_publish(backlog: Backlog) -> bool:
    try:
        backlog.publisher.publish(backlog.insert(1, is_published=True))
    except BrokerUnavailable:
        return False
    return True
