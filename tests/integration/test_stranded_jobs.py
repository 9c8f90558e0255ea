"""Jobs that wait where no process can start them: their worker moved to another queue, or no node has its handler."""

from __future__ import annotations

import pytest

from ava.dispatcher.duties.waiting_jobs import MovedWorkers, ParkedJobs
from ava.dispatcher.feed.window import WindowFeed
from ava.domain.jobs.explanation import explain
from ava.domain.jobs.job import Job, RunKey
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.store.jobs.feed import polls, published
from ava.store.jobs.reads import lists
from ava.store.jobs.reads.why import read_facts
from ava.store.jobs.transitions import park
from ava.store.reports import metrics
from tests.backlog import WORKER, Backlog

OTHER_NODE = "01890000-0000-7000-8000-000000000002"


def _feed(backlog: Backlog) -> WindowFeed:
    return WindowFeed(backlog.database, backlog.publisher, window=10, node_dead_seconds=14)


def test_waiting_jobs_follow_their_worker_to_its_new_queue(backlog: Backlog) -> None:
    backlog.insert(150, is_published=True)
    backlog.insert(50)
    duty = MovedWorkers(backlog.database)
    assert duty.run_once(0) == 0
    backlog.announce(WORKER, queue="elsewhere")
    assert duty.run_once(1) == 200
    assert backlog.count("queue = 'elsewhere' AND published_at IS NULL") == 200
    assert _feed(backlog).run_once(2) == 10
    assert backlog.messages("elsewhere") == 10
    # An insert that read the definition of before may commit after the move.
    backlog.run("UPDATE jobs SET queue = 'default' WHERE id = (SELECT min(id::text)::uuid FROM jobs)")
    assert (duty.run_once(3), duty.run_once(12), duty.run_once(13)) == (0, 1, 0)


def test_every_queue_that_waiting_jobs_have_is_fed_and_watched(stored: Backlog) -> None:
    stored.insert(2)
    stored.run("UPDATE jobs SET queue = 'unnamed', published_at = CASE WHEN id = (SELECT max(id::text)::uuid FROM jobs)"
               " THEN now() END")  # fmt: skip
    with stored.database.connect() as connection:
        (window,) = polls.read(connection, count_up_to=10, dead_after_seconds=14).windows
        assert (window.queue, window.priority, window.published, window.has_backlog) == ("unnamed", 5, 1, True)
        assert published.queues(connection) == ["unnamed"]


def test_a_thousand_queues_cost_what_waits_in_them(stored: Backlog) -> None:
    stored.run(
        "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
        " SELECT 'wkr_w' || n, 'w', 60, 0, 1, 'q' || n, 'requeue' FROM generate_series(1, 1000) AS n"
    )
    stored.insert(3, worker_id="wkr_w7", is_published=True)
    stored.run("ANALYZE workers, jobs")
    steps = stored.run("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'jobs_startable'")[0][0]
    with stored.database.connect() as connection:
        assert [window.queue for window in polls.read(connection, count_up_to=10, dead_after_seconds=14).windows] == [
            "q7"
        ]
        assert published.queues(connection) == ["q7"]
        depths = metrics.queue_depths(connection)
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    assert len(depths) == 1001
    assert sum(depth.published for depth in depths) == 3
    after = stored.run("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'jobs_startable'")[0][0]
    assert after - steps < 50


def test_jobs_whose_handler_no_node_has_are_set_aside_and_cost_their_queue_nothing(backlog: Backlog) -> None:
    backlog.announce("wkr_gone")
    backlog.join(handlers=[WORKER])
    backlog.insert(3000, worker_id="wkr_gone", priority=1)
    backlog.insert(1, priority=10)
    feed = _feed(backlog)
    assert feed.run_once(0) == 1
    backlog.await_messages(1)
    assert backlog.count("worker_id = 'wkr_gone' AND waits_for = 'node'") == 3000
    assert [feed.run_once(n) for n in range(3)] == [0, 0, 0]


def test_jobs_that_were_set_aside_return_when_a_node_has_their_handler(backlog: Backlog) -> None:
    backlog.announce("wkr_gone")
    backlog.join(handlers=[WORKER])
    (job,) = backlog.insert(1, worker_id="wkr_gone")
    feed, duty = _feed(backlog), ParkedJobs(backlog.database, node_dead_seconds=14)
    assert (feed.run_once(0), duty.run_once(0)) == (0, 0)
    assert "no live worker serves wkr_gone" in _why(backlog, job)
    backlog.join(OTHER_NODE, handlers=["wkr_gone"], queues=["default"])
    assert (duty.run_once(1), feed.run_once(1)) == (1, 1)
    backlog.await_messages(1)


def test_a_queue_without_any_live_node_keeps_its_order(stored: Backlog) -> None:
    stored.insert(3)
    with stored.database.connect() as connection:
        (window,) = polls.read(connection, count_up_to=10, dead_after_seconds=14).windows
    assert _feed(stored)._park_unserved(window, 0) == []
    assert stored.count("waits_for IS NULL") == 3


@pytest.mark.parametrize(("age_seconds", "seconds"), [(-60, 0.1), (0, 0.1), (2, 2), (60, 5)])
def test_a_job_whose_handler_another_node_has_is_deferred_for_as_long_again_as_it_waits(
    stored: Backlog, age_seconds: float, seconds: float
) -> None:
    (job,) = stored.insert(is_published=True)
    stored.join(handlers=["wkr_other"])
    stored.join(OTHER_NODE, handlers=[WORKER])
    stored.run("UPDATE jobs SET created_at = now() - %(age)s * interval '1 second'", age=age_seconds)
    ((before,),) = stored.run("SELECT now()")
    assert _defer(stored, job)
    ((run_at,),) = stored.run("SELECT run_at FROM jobs")
    assert seconds <= (run_at - before).total_seconds() < seconds + 1


def _defer(backlog: Backlog, job: Job) -> bool:
    with backlog.database.connect() as connection:
        return park.park_unclaimed(
            connection, run=RunKey(*job.key, 1), worker_id=WORKER, lacks_handler=True, dead_after_seconds=14
        )


def _why(backlog: Backlog, job: Job) -> str:
    with backlog.database.connect() as connection:
        found = lists.show(connection, tenant_id="ten_test", job_id=job.id)
        assert found is not None
        assert found.waits_for is WaitsFor.NODE
        assert found.run_at is None
        return explain(read_facts(connection, found, dead_after_seconds=14)).sentence
