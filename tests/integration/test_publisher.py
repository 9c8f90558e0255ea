"""Publishing: in pipelines, and without a wait while the broker is away."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import kombu
import pytest
import redis

from ava.broker import publisher, reset_marker
from ava.broker.celery_app import make_app, make_queue
from ava.broker.publisher import Publisher
from ava.broker.refused_queues import Refusals
from ava.dispatcher.feed.window import WindowFeed
from ava.domain.jobs.job import Job
from ava.errors import BrokerUnavailable, QueueRefused
from ava.settings import Settings
from harness.polling import wait_until
from harness.servers.server import Server
from tests.backlog import WORKER, Backlog, open_backlog


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


def _assert_the_breaker_is_open(backlog: Backlog, found: Sequence[Job]) -> None:
    """Assert that a thousand calls fail without a try of the broker, but for one each few seconds."""
    began = time.thread_time()
    for _ in range(1_000):
        _seconds(backlog.publisher.publish, found)
    # In seconds of the processor, which a busy machine does not lengthen much. A try takes milliseconds of it.
    assert time.thread_time() - began < 1


def test_the_publisher_reports_a_broker_that_is_away_and_back(on_private_redis: Backlog, private_redis: Server) -> None:
    found = on_private_redis.insert(1, is_published=True)
    reports: list[bool] = []
    on_private_redis.publisher.on_reach = reports.append
    on_private_redis.publisher.publish(found)
    assert reports == []
    private_redis.kill()
    _seconds(on_private_redis.publisher.publish, found)
    assert reports == [False]
    private_redis.start()
    wait_until(lambda: reports == [False, True], what="the breaker is closed")


def test_a_redis_without_memory_is_left_alone_for_a_while_so_the_breaker_does_not_flap(
    on_private_redis: Backlog, private_redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Publisher, "probe_seconds", 0.01)
    monkeypatch.setattr(Refusals, "retry_seconds", 0.5)
    found = on_private_redis.insert(1, is_published=True)
    reports: list[tuple[bool, float]] = []
    on_private_redis.publisher.on_reach = lambda is_reachable: reports.append((is_reachable, time.monotonic()))
    with redis.Redis.from_url(private_redis.url) as client:
        client.config_set("maxmemory", "1")
        _seconds(on_private_redis.publisher.publish, found)
        # A message that a node takes makes room for another, long before there is room for a batch.
        client.config_set("maxmemory", "0")
    wait_until(lambda: [is_reachable for is_reachable, _ in reports] == [False, True], what="the breaker is closed")
    assert reports[1][1] - reports[0][1] >= Refusals.retry_seconds


def test_a_thousand_published_jobs_all_arrive(backlog: Backlog) -> None:
    found = backlog.insert(1_000, is_published=True)
    backlog.publisher.publish(found)
    backlog.await_messages(1_000)


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
    backlog.await_messages(10)


def test_while_the_broker_is_away_a_publish_fails_at_once(on_private_redis: Backlog, private_redis: Server) -> None:
    found = on_private_redis.insert(1, is_published=True)
    on_private_redis.publisher.publish(found)
    private_redis.kill()
    assert _seconds(on_private_redis.publisher.publish, found) < 5
    _assert_the_breaker_is_open(on_private_redis, found)
    private_redis.start()
    wait_until(lambda: _can_publish(on_private_redis), what="the breaker closes by itself")


def test_a_frozen_broker_delays_one_publish_and_no_more(on_private_redis: Backlog, private_redis: Server) -> None:
    found = on_private_redis.insert(1, is_published=True)
    on_private_redis.publisher.publish(found)
    with private_redis.frozen():
        # Its socket would wait for minutes.
        assert _seconds(on_private_redis.publisher.publish, found) < 10
        _assert_the_breaker_is_open(on_private_redis, found)
    wait_until(lambda: _can_publish(on_private_redis), what="the breaker closes by itself")


def test_a_stale_connection_loses_no_message(on_private_redis: Backlog, private_redis: Server) -> None:
    found = on_private_redis.insert(1, is_published=True)
    on_private_redis.publisher.publish(found)
    private_redis.stop()
    private_redis.start()
    on_private_redis.publisher.publish(found)
    on_private_redis.await_messages(1)


def test_a_reset_broker_is_reported_once(on_private_redis: Backlog, private_redis: Server) -> None:
    ours = on_private_redis.publisher
    assert [ours.was_reset(), ours.was_reset()] == [True, False]
    private_redis.kill()
    private_redis.start()
    assert [ours.was_reset(), ours.was_reset()] == [True, False]


@pytest.fixture
def refused(backlog: Backlog, monkeypatch: pytest.MonkeyPatch) -> str:
    """A worker whose queue the broker refuses: it exists with other arguments, or is no list."""
    monkeypatch.setattr(Refusals, "retry_seconds", 1.0)
    backlog.announce("wkr_refused", queue="refused")
    backlog.join(handlers=[WORKER, "wkr_refused"], queues=["default", "refused"])
    if backlog.settings.broker_is_redis:
        with redis.Redis.from_url(backlog.settings.broker_url) as client:
            client.set("refused\x06\x165", "a string")
    else:
        with kombu.Connection(backlog.settings.broker_url) as connection:
            connection.default_channel.queue_declare("refused", durable=True, auto_delete=False)
    return "wkr_refused"


def _accept(backlog: Backlog) -> None:
    """Remove the reason why the broker refuses the queue."""
    if backlog.settings.broker_is_redis:
        with redis.Redis.from_url(backlog.settings.broker_url) as client:
            client.delete("refused\x06\x165")
    else:
        with kombu.Connection(backlog.settings.broker_url) as connection:
            connection.default_channel.queue_delete("refused")


def test_a_refused_queue_stops_no_other(backlog: Backlog, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusals, "retry_seconds", 60.0)
    theirs = backlog.insert(3, is_published=True, worker_id=refused)
    ours = backlog.insert(10, is_published=True)
    with pytest.raises(QueueRefused) as refusal:
        backlog.publisher.publish([*theirs, *ours])
    assert sorted(refusal.value.job_ids) == sorted(job.id for job in theirs)
    backlog.await_messages(10)
    # The breaker is closed, and the refused queue costs nothing: the broker would accept it now, and is not asked.
    _accept(backlog)
    with pytest.raises(QueueRefused):
        backlog.publisher.publish(theirs[:1])
    backlog.publisher.publish(ours)
    backlog.await_messages(20)


def test_the_feed_goes_on_beside_a_refused_queue_and_comes_back_to_it(backlog: Backlog, refused: str) -> None:
    backlog.insert(12, worker_id=refused)
    backlog.insert(12)
    backlog.run("UPDATE jobs SET published_at = NULL")
    feed = WindowFeed(backlog.database, backlog.publisher, window=5_000, node_dead_seconds=15)
    assert feed.run_once(0) == 12
    assert backlog.count("queue = 'refused' AND published_at IS NULL") == 12
    before = backlog.run("SELECT sum(xmin::text::bigint) FROM jobs")
    assert feed.run_once(0) == 0
    assert backlog.run("SELECT sum(xmin::text::bigint) FROM jobs") == before, "no row is touched meanwhile"
    _accept(backlog)
    wait_until(lambda: feed.run_once(0) == 12, what="the queue is fed again")
    assert backlog.messages("refused") == 12


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_queue_of_a_release_without_a_queue_type_is_accepted(backlog: Backlog) -> None:
    with kombu.Connection(backlog.settings.broker_url) as connection:
        arguments = {k: v for k, v in make_queue("default").queue_arguments.items() if k != "x-queue-type"}
        connection.default_channel.queue_declare("default", durable=True, auto_delete=False, arguments=arguments)
        backlog.publisher.publish(backlog.insert(2, is_published=True))
        # The release before declares the queue without it again.
        connection.default_channel.queue_declare("default", durable=True, auto_delete=False, arguments=arguments)
    backlog.await_messages(2)


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_quorum_queue_without_ten_priorities_is_not_created(backlog: Backlog) -> None:
    settings = replace(backlog.settings, rabbitmq_queue_type="quorum")
    with closing(Publisher(make_app(settings), settings)) as publisher, pytest.raises(QueueRefused):
        publisher.publish(backlog.insert(1, is_published=True))
    # The queue can still be declared as a classic one.
    backlog.publisher.publish(backlog.insert(1, is_published=True))
    backlog.await_messages(1)


def _can_publish(backlog: Backlog) -> bool:
    try:
        backlog.publisher.publish(backlog.insert(1, is_published=True))
    except BrokerUnavailable:
        return False
    return True


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_reset_marker_of_another_type_is_replaced(backlog: Backlog, caplog: pytest.LogCaptureFixture) -> None:
    with kombu.Connection(backlog.settings.broker_url) as connection:
        connection.default_channel.queue_declare(
            reset_marker.NAME, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
        )
    assert [backlog.publisher.was_reset(), backlog.publisher.was_reset()] == [True, False]
    backlog.publisher.publish(backlog.insert(3, is_published=True))
    backlog.await_messages(3)
    assert "refuses" not in caplog.text


def test_a_refused_queue_of_our_own_is_logged_once_and_left_alone(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusal(Exception):
        reply_code = 404

    calls: list[object] = []

    def refuse(*arguments: object, **_options: object) -> bool:
        calls.append(arguments)
        raise Refusal

    with monkeypatch.context() as patch:
        patch.setattr(Refusals, "retry_seconds", 60.0)
        patch.setattr(reset_marker, "set_if_absent", refuse)
        assert not any(backlog.publisher.was_reset() for _ in range(3))
    assert len(calls) == 1
    monkeypatch.setattr(Refusals, "holds", lambda *_: False)
    assert backlog.publisher.was_reset()
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "The broker refuses the queue ava.reset_marker",
        "The broker accepts the queue ava.reset_marker again.",
    ]


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_queue_without_an_answer_stops_no_other(backlog: Backlog, monkeypatch: pytest.MonkeyPatch) -> None:
    send_all = Publisher._send_all

    def send(publisher: Publisher, connection: object, queue: str, groups: Sequence[Sequence[Job]]) -> None:
        if queue == "refused":
            # What a publish meets if the cluster node of its queue was killed.
            raise TimeoutError
        send_all(publisher, connection, queue, groups)

    monkeypatch.setattr(Publisher, "_send_all", send)
    monkeypatch.setattr(publisher, "_STALE_SECONDS", -1.0)
    backlog.announce("wkr_refused", queue="refused")
    theirs = backlog.insert(2, is_published=True, worker_id="wkr_refused")
    ours = backlog.insert(3, is_published=True)
    with pytest.raises(QueueRefused) as refusal:
        backlog.publisher.publish([*theirs, *ours])
    assert sorted(refusal.value.job_ids) == sorted(job.id for job in theirs)
    backlog.await_messages(3)
    assert backlog.publisher.is_refused("refused")
