"""Publishing: in pipelines, and without a wait while the broker is away."""

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
    """Returns how long a call takes that must raise `BrokerUnavailable`."""
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        act(*arguments)  # type: ignore[operator]
    return time.monotonic() - began


def test_a_thousand_published_jobs_all_arrive(backlog: Backlog) -> None:
    found = backlog.insert(1_000, is_published=True)
    backlog.publisher.publish(found)
    assert backlog.messages() == 1_000


def test_publishing_no_jobs_needs_no_broker(database_settings: Settings) -> None:
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


def test_while_the_broker_is_away_a_publish_fails_at_once(on_private_redis: Backlog, private_redis: Server) -> None:
    found = on_private_redis.insert(1, is_published=True)
    on_private_redis.publisher.publish(found)
    private_redis.kill()
    assert _seconds(on_private_redis.publisher.publish, found) < 1
    assert sum(_seconds(on_private_redis.publisher.publish, found) for _ in range(1_000)) < 0.5
    private_redis.start()
    wait_until(lambda: _can_publish(on_private_redis), seconds=5, what="the breaker closes by itself")


def test_a_frozen_broker_delays_one_publish_and_no_more(on_private_redis: Backlog, private_redis: Server) -> None:
    found = on_private_redis.insert(1, is_published=True)
    on_private_redis.publisher.publish(found)
    with private_redis.frozen():
        assert _seconds(on_private_redis.publisher.publish, found) < 4
        assert sum(_seconds(on_private_redis.publisher.publish, found) for _ in range(1_000)) < 0.5
    wait_until(lambda: _can_publish(on_private_redis), seconds=8, what="the breaker closes by itself")


def test_a_stale_connection_loses_no_message(on_private_redis: Backlog, private_redis: Server) -> None:
    found = on_private_redis.insert(1, is_published=True)
    on_private_redis.publisher.publish(found)
    private_redis.stop()
    private_redis.start()
    on_private_redis.publisher.publish(found)
    assert on_private_redis.messages() == 1


def test_a_reset_broker_is_reported_once(on_private_redis: Backlog, private_redis: Server) -> None:
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
