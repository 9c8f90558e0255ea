"""Turns of tenants, the window, recall and paused queues: the feed against real servers."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from ava.dispatcher.duties.waiting_jobs import ParkedJobs
from ava.dispatcher.feed.fair_queue import FairQueue
from ava.dispatcher.feed.window import WindowFeed
from ava.domain.access.actor import SYSTEM
from ava.domain.jobs.job import Job
from ava.store.fleet import queues
from ava.store.jobs.feed import polls, tenant_backlogs
from tests.backlog import WORKER, Backlog


def _feed(backlog: Backlog, *, is_fair: bool = True) -> WindowFeed:
    return WindowFeed(backlog.database, backlog.publisher, window=2000, node_dead_seconds=14, is_fair=is_fair)


def _published(backlog: Backlog) -> list[tuple[str, int]]:
    """Returns the tenants of the published jobs and how many each has."""
    return [
        (str(tenant), int(count))
        for tenant, count in backlog.run(
            "SELECT tenant_id, count(*) FROM jobs WHERE published_at IS NOT NULL AND status = 'queued'"
            " GROUP BY 1 ORDER BY 1"
        )
    ]


def test_tenants_of_one_priority_take_turns(backlog: Backlog) -> None:
    backlog.join()
    backlog.insert(100, tenant_id="ten_a")
    backlog.insert(100, tenant_id="ten_b")
    assert _feed(backlog).run_once(0) == 4
    assert _published(backlog) == [("ten_a", 2), ("ten_b", 2)]


def test_the_window_of_one_tenant_is_dealt_anew_when_another_comes(backlog: Backlog) -> None:
    backlog.join()
    feed = _feed(backlog)
    first = backlog.insert(100, tenant_id="ten_a")
    assert feed.run_once(0) == 16
    (single,) = backlog.insert(1, tenant_id="ten_b")
    feed.run_once(1)
    # As many as there are processes, in turns. The old messages are gone.
    assert _published(backlog) == [("ten_a", 3), ("ten_b", 1)]
    backlog.await_messages(4)
    assert backlog.claim(single)
    # A message that a node had received before starts nothing, whether its job is published again or not.
    assert [backlog.claim(first[n]) for n in (0, 10)] == [None, None]
    assert backlog.claim(first[0], run_no=2)


def test_a_weight_gives_a_tenant_more_turns(stored: Backlog) -> None:
    stored.run("INSERT INTO tenant_limits (tenant_id, weight, updated_by) VALUES ('ten_b', 3, 'usr_x')")
    for tenant in ("ten_a", "ten_b"):
        stored.insert(100, tenant_id=tenant)
    feed = _feed(stored)
    with stored.database.connect() as connection:
        (window,) = polls.read(connection, count_up_to=10, dead_after_seconds=14).windows
        feed._fair_queue.begin(connection, [window])
    chosen, has_more = feed._fair_queue.publish(window, 40, ())
    assert has_more
    assert [sum(job.tenant_id == tenant for job in chosen) for tenant in ("ten_a", "ten_b")] == [10, 30]


def test_ten_thousand_tenants_are_considered_in_turn(stored: Backlog) -> None:
    stored.insert(1)
    stored.run(
        "INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts)"
        " SELECT 'ten_' || lpad((n %% 1000)::text, 4, '0'), worker_id, trigger, priority, queue, input, triggered_by, 1"
        " FROM jobs, generate_series(0, 1999) AS n"
    )
    stored.run("DELETE FROM jobs WHERE tenant_id = 'ten_test'")
    stored.run("ANALYZE jobs")
    feed, seen = _feed(stored), list[Job]()
    with stored.database.connect() as connection:
        (window,) = polls.read(connection, count_up_to=10, dead_after_seconds=14).windows
        feed._fair_queue.begin(connection, [window])
    for _ in range(5):
        seen += feed._fair_queue.publish(window, 200, ())[0]
    # All have had one turn, and the round begins again.
    assert len({job.tenant_id for job in seen}) == 1000
    with stored.database.connect() as connection:
        assert len(tenant_backlogs.tenants(connection, queue="default", priority=5, after="ten_0990", limit=50)) == 50


def test_without_fairness_the_oldest_job_is_published_first(backlog: Backlog) -> None:
    backlog.join()
    backlog.insert(60, tenant_id="ten_a")
    backlog.insert(60, tenant_id="ten_b")
    backlog.insert(60, tenant_id="ten_a")
    assert _feed(backlog, is_fair=False).run_once(0) == 180
    assert backlog.run("SELECT count(*) FROM jobs a JOIN jobs b ON b.published_at < a.published_at AND a.id < b.id"
                       " WHERE a.tenant_id = 'ten_a' AND b.tenant_id = 'ten_b'") == [(0,)]  # fmt: skip


def test_no_less_urgent_job_stays_in_the_broker_while_a_more_urgent_one_waits_for_a_permit(backlog: Backlog) -> None:
    backlog.join()
    feed = _feed(backlog)
    backlog.insert(5, priority=7)
    assert feed.run_once(0) == 5
    backlog.insert(100, priority=3)
    assert feed.run_once(1) == 16
    assert backlog.run("SELECT DISTINCT priority FROM jobs WHERE published_at IS NOT NULL") == [(3,)]
    backlog.run("DELETE FROM jobs WHERE priority = 3")
    assert feed.run_once(2) == 5


def test_a_paused_queue_starts_nothing_and_goes_on_in_order(backlog: Backlog) -> None:
    backlog.join()
    feed = _feed(backlog)
    published = backlog.insert(40, is_published=True)
    backlog.publisher.publish(published)
    backlog.insert(10)
    with backlog.database.connect() as connection:
        assert queues.pause(connection, queue="default", by=SYSTEM)
        assert not queues.pause(connection, queue="default", by=SYSTEM)
    feed.run_once(0)
    assert _published(backlog) == []
    assert backlog.messages() == 0
    assert all(backlog.claim(job) is None for job in published)
    assert backlog.closed_windows() == {f"default:{number}" for number in range(1, 11)}
    with backlog.database.connect() as connection:
        assert queues.resume(connection, queue="default")
        assert not queues.resume(connection, queue="default")
    assert ParkedJobs(backlog.database, node_dead_seconds=14).run_once(0) == 50
    assert feed.run_once(1) == 16
    assert backlog.run("SELECT max(id::text) < (SELECT min(id::text) FROM jobs WHERE published_at IS NULL) FROM jobs"
                       " WHERE published_at IS NOT NULL") == [(True,)]  # fmt: skip


def test_the_cost_of_a_new_worker_is_the_median_of_its_latest_jobs_until_many_are_counted(
    stored: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, jobs, now = FairQueue(stored.database, max_size=2000), stored.insert(100), time.monotonic()
    first, jobs = jobs[:3], jobs[3:]

    def sizes(after_seconds: float) -> Mapping[str, int]:
        monkeypatch.setattr("ava.dispatcher.feed.fair_queue.time.monotonic", lambda: now + after_seconds)
        with stored.database.connect() as connection:
            feed.begin(connection, ())
        return feed.group_sizes(jobs, waiting=100, processes=1, is_shared=True)

    def complete(job: Job, milliseconds: int) -> None:
        assert stored.claim(job)
        stored.run(
            "UPDATE jobs SET status = 'completed',"
            f" completed_at = started_at + interval '{milliseconds} ms' WHERE status = 'running'"
        )

    assert sizes(0) == sizes(0.1) == {}
    complete(first[0], 20)
    assert sizes(0.2) == {WORKER: 1}
    # The processes have been cold.
    complete(first[1], 2)
    complete(first[2], 2)
    assert sizes(0.3) == {WORKER: 10}
    # The average of a few is known until their latest jobs are asked for.
    stored.run(f"INSERT INTO job_totals VALUES ('{WORKER}', 'completed', 0, 0, 99, 0, 0, 0, 99)")
    assert sizes(5.1) == {WORKER: 1}
    assert sizes(5.2) == {WORKER: 10}
    stored.run(f"INSERT INTO job_totals VALUES ('{WORKER}', 'completed', 1, 0, 1, 0, 0, 0, 1)")
    assert sizes(10.0) == {WORKER: 10}
    assert sizes(10.3) == {WORKER: 1}
