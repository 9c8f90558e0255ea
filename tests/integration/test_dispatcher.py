"""The dispatcher's duties against real servers: each does its part once, returns how much it did, and no more."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from ava.dispatcher.duties.lost_messages import LostMessages
from ava.dispatcher.duties.retention import OldJobs
from ava.dispatcher.duties.waiting_jobs import move_due_jobs
from ava.dispatcher.feed.window import WindowFeed
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.domain.limits.fair_queueing import WaitingJob
from ava.errors import BrokerUnavailable
from ava.services import fleet
from ava.store.jobs.feed import limit_keys, permit_waits, polls, published, tenant_backlogs
from ava.store.jobs.transitions import park, permits, publish
from tests.backlog import Backlog


def _feed(backlog: Backlog, window: int, *, is_fair: bool = True) -> WindowFeed:
    return WindowFeed(backlog.database, backlog.publisher, window=window, node_dead_seconds=14, is_fair=is_fair)


def _lost_messages(backlog: Backlog) -> LostMessages:
    return LostMessages(backlog.database, backlog.publisher, node_dead_seconds=14)


# Due ------------------------------------------------------------------------------------------------------------------


def test_sixty_thousand_jobs_due_at_once_become_startable_in_batches_within_seconds(stored: Backlog) -> None:
    timestamp = datetime.now(UTC) + timedelta(hours=1)
    for _ in range(10):
        stored.insert(2_000, scheduled_at=timestamp)
    stored.run(
        "INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, waits_for, run_at,"
        " max_attempts)"
        " SELECT tenant_id, worker_id, trigger, priority, queue, input, triggered_by, waits_for, run_at, max_attempts"
        " FROM jobs, generate_series(1, 2)"
    )
    assert stored.count("waits_for = 'schedule'") == 60_000
    stored.run("UPDATE jobs SET run_at = now()")
    counts, began = [], time.monotonic()
    while count := move_due_jobs(stored.database):
        counts.append(count)
    assert sum(counts) == 60_000
    assert max(counts) <= 50_000
    # More in a second than any workers start; a busy machine may take a little longer.
    assert time.monotonic() - began < 60


# The window -----------------------------------------------------------------------------------------------------------


def test_the_broker_holds_one_window_independent_of_the_backlog(backlog: Backlog) -> None:
    backlog.insert(300)
    feed = _feed(backlog, window=100, is_fair=False)
    assert feed.run_once(0) == 100
    assert feed.run_once(0) == 0
    backlog.await_messages(100)
    assert backlog.count("published_at IS NOT NULL") == 100
    # The oldest jobs were published first.
    assert backlog.run("SELECT max(id::text) < (SELECT min(id::text) FROM jobs WHERE published_at IS NULL) FROM jobs"
                       " WHERE published_at IS NOT NULL") == [(True,)]  # fmt: skip


def test_an_urgent_job_is_published_beside_a_full_window(backlog: Backlog) -> None:
    backlog.insert(200, priority=9)
    feed = _feed(backlog, window=20)
    feed.run_once(0)
    [urgent] = backlog.insert(1, priority=1)
    assert feed.run_once(0) == 1
    assert backlog.count(f"published_at IS NOT NULL AND priority = {urgent.priority}") == 1


def test_the_api_does_not_publish_to_a_window_that_is_full_or_has_a_backlog(backlog: Backlog) -> None:
    backlog.insert(30, priority=4)
    backlog.insert(5, priority=7)
    backlog.insert(10, priority=8)
    _feed(backlog, window=10, is_fair=False).run_once(0)
    assert backlog.closed_windows() == {"default:4", "default:8"}
    # With turns, no less urgent job may overtake the backlog either.
    _feed(backlog, window=10).run_once(0)
    assert backlog.closed_windows() == {f"default:{number}" for number in range(4, 11)}
    assert backlog.count("published_at IS NOT NULL AND priority > 4") == 0


def test_a_window_opens_under_steady_load_once_its_backlog_is_published(backlog: Backlog) -> None:
    feed = _feed(backlog, window=10)
    backlog.insert(30)
    feed.run_once(0)
    assert (5,) in backlog.run("SELECT priority FROM closed_windows")
    backlog.run("DELETE FROM jobs")
    # The API does not know yet that the window has space, and adds a job to the backlog before each round.
    for _ in range(3):
        backlog.insert(1)
        assert feed.run_once(0) == 1
        assert backlog.run("SELECT priority FROM closed_windows") == []


def test_jobs_that_come_to_a_closed_window_wait_20_ms_for_a_poll(backlog: Backlog) -> None:
    feed = _feed(backlog, window=100)
    for _ in range(3):
        backlog.insert(12)
        assert feed.run_once(0) == 12
        assert (5,) in backlog.run("SELECT priority FROM closed_windows")
        assert feed.next_poll_seconds() <= 0.02
        backlog.run("DELETE FROM jobs")
    # Without new jobs no process and no job waits for the next look.
    feed.run_once(0)
    assert 0.05 < feed.next_poll_seconds() <= 0.1
    assert backlog.run("SELECT priority FROM closed_windows") == []


def test_polls_do_not_follow_sooner_while_a_window_is_full(backlog: Backlog) -> None:
    feed = _feed(backlog, window=10)
    backlog.insert(30)
    feed.run_once(0)
    assert feed.next_poll_seconds() <= 0.02
    backlog.run("DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE published_at IS NOT NULL LIMIT 1)")
    assert feed.run_once(0) == 1
    assert 0.05 < feed.next_poll_seconds() <= 0.1


def test_a_window_that_another_dispatcher_closed_opens_again(backlog: Backlog) -> None:
    feed = _feed(backlog, window=10)
    feed.run_once(0)
    backlog.run("INSERT INTO closed_windows (queue, priority) VALUES ('default', 3)")
    feed.run_once(0)
    assert backlog.run("SELECT * FROM closed_windows") == []


def test_a_job_that_cannot_be_published_stays_in_the_backlog(stored: Backlog) -> None:
    stored.insert(5)
    with pytest.raises(BrokerUnavailable):
        _feed(stored, window=10).run_once(0)
    assert stored.count("published_at IS NULL") == 5


# Lost messages --------------------------------------------------------------------------------------------------------


def _publish(backlog: Backlog, count: int, seconds_ago: float) -> None:
    backlog.publisher.publish(backlog.insert(count, is_published=True))
    backlog.run("UPDATE jobs SET published_at = now() - %(ago)s * interval '1 second'", ago=seconds_ago)


def test_messages_that_wait_for_their_turn_are_not_published_again(backlog: Backlog) -> None:
    duty = _lost_messages(backlog)
    duty.run_once(0)
    backlog.join(busy=4, free_seconds=100)
    _publish(backlog, 50, seconds_ago=3600)
    assert [duty.run_once(now) for now in range(5)] == [0] * 5
    backlog.await_messages(50)


def test_messages_that_an_idle_node_does_not_receive_are_published_again(backlog: Backlog) -> None:
    duty = _lost_messages(backlog)
    duty.run_once(0)
    backlog.join(busy=1, free_seconds=10)
    _publish(backlog, 50, seconds_ago=9)
    backlog.empty_broker()
    assert duty.run_once(0) == 50
    backlog.await_messages(50)
    # Now they are new, and not suspected of loss for a while.
    assert duty.run_once(1) == 0


def test_messages_for_a_node_that_receives_nothing_are_republished_less_and_less_often(backlog: Backlog) -> None:
    duty = _lost_messages(backlog)
    duty.run_once(0)
    published: list[int] = []
    _publish(backlog, 1, seconds_ago=9)
    for now in range(60):
        backlog.join(free_seconds=60)
        if duty.run_once(now):
            published.append(now)
        backlog.run("UPDATE jobs SET published_at = now() - interval '9 seconds'")
    assert published == [0, 4, 12, 28, 44]


def test_a_lost_message_is_found_once_later_ones_have_run(backlog: Backlog) -> None:
    duty = _lost_messages(backlog)
    duty.run_once(0)
    backlog.join(busy=4)
    _publish(backlog, 3, seconds_ago=3600)
    [later] = backlog.insert(1, is_published=True)
    assert duty.run_once(0) == 0
    assert backlog.claim(later)
    assert duty.run_once(0) == 3
    assert duty.run_once(1) == 0


def test_an_urgent_lost_message_is_found_once_less_urgent_ones_run(backlog: Backlog) -> None:
    duty = _lost_messages(backlog)
    duty.run_once(0)
    backlog.join(busy=4)
    _publish(backlog, 1, seconds_ago=20)
    [later] = backlog.insert(1, is_published=True, priority=9)
    assert backlog.claim(later)
    assert duty.run_once(0) == 1


def test_the_reset_of_a_broker_is_noticed_at_once(backlog: Backlog) -> None:
    duty = _lost_messages(backlog)
    duty.run_once(0)
    backlog.join(busy=4)
    _publish(backlog, 50, seconds_ago=1)
    _wipe(backlog)
    assert duty.run_once(0) == 50
    assert backlog.count("published_at IS NULL") == 50
    assert _feed(backlog, window=100, is_fair=False).run_once(0) == 50
    backlog.await_messages(50)
    assert duty.run_once(1) == 0


def _wipe(backlog: Backlog) -> None:
    backlog.empty_broker()
    with backlog.app.connection_for_write() as connection:
        if backlog.settings.broker_is_redis:
            connection.default_channel.client.flushdb()
        else:
            connection.default_channel.queue_delete("ava.reset_marker")


# Claims ---------------------------------------------------------------------------------------------------------------


# Cost ----------------------------------------------------------------------------------------------------------------


def _feed_once(backlog: Backlog) -> tuple[list[tuple[int, int, bool]], dict[str, list[WaitingJob]]]:
    """Run what a look of the feed does. Returns the windows, and the jobs that are published."""
    window = {"queue": "default", "priority": 5}
    with backlog.database.connect() as connection:
        poll = polls.read(connection, count_up_to=50, dead_after_seconds=14, max_keys=10)
        found = tenant_backlogs.tenants(connection, after="", limit=10, **window)
        heads = tenant_backlogs.heads(connection, tenants=found, each=10, **window)
        publish.publish(connection, [job for jobs in heads.values() for job in jobs])
    dedicated = backlog.database.dedicated()
    locked = limit_keys.locked_key_states(dedicated, ["wkr_none"], dead_after_seconds=14, max_next=50)
    with locked as (connection, states):
        assert states == []
        assert permit_waits.waiting_jobs(connection, [("wkr_none", 5, "ten_test")], each=10) == []
        assert permits.admit(connection, []) == []
    dedicated.close()
    return [(each.priority, each.published, each.has_backlog) for each in poll.windows], heads


@pytest.mark.parametrize("is_analyzed", [False, True], ids=["grown since it was analyzed", "analyzed"])
def test_no_duty_reads_the_backlog(stored: Backlog, is_analyzed: bool) -> None:
    stored.join(free_seconds=60)
    [running] = stored.insert(is_published=True)
    assert stored.claim(running)
    stored.run("ANALYZE jobs")
    for _ in range(20):
        stored.insert(1_000)
    stored.insert(100, is_published=True)
    if is_analyzed:
        stored.run("ANALYZE jobs")
    before = stored.rows_read()
    windows, heads = _feed_once(stored)
    with stored.database.connect() as connection:
        assert published.queues(connection) == ["default"]
        assert published.oldest_messages(connection, queues=["default"], after_seconds=0)
        settled = {"settle_seconds": 60.0, "dead_after_seconds": 60.0, "trust_idle_nodes": True, "limit": 10}
        assert not publish.republish(connection, queue="default", **settled)
        assert park.make_due(connection, limit=10) == 0
        assert park.return_parked(connection, list(WaitsFor), limit=10) == 0
        assert OldJobs(retention_days=1).delete(connection, 10) == 0
    assert windows == [(5, 50, True)]
    assert len(heads["ten_test"]) == 10
    from_end_to_end, by_index = (after - was for after, was in zip(stored.rows_read(), before, strict=True))
    assert from_end_to_end == 0
    assert by_index < 500


# A reset by an operator -----------------------------------------------------------------------------------------------


def test_after_a_reset_no_old_message_starts_a_job_and_each_is_published_anew(backlog: Backlog) -> None:
    jobs = backlog.insert(5, is_published=True)
    backlog.publisher.publish(jobs)
    backlog.join()
    running = backlog.claim(jobs[0])
    assert running is not None
    assert fleet.reset_broker(backlog.database, backlog.publisher) == 4
    assert backlog.messages() == 0
    # A message in another broker, or in a node's memory.
    assert backlog.claim(jobs[1]) is None
    assert backlog.count("status = 'running' AND run_no = 1") == 1
    assert _feed(backlog, window=10).run_once(0) == 4
    backlog.await_messages(4)
    assert backlog.claim(jobs[1], run_no=2) is not None
