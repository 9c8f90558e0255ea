"""Limits of workers and tenants: places are counted, given in order, and free again whatever happens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ava.dispatcher.duties.waiting_jobs import MovedWorkers
from ava.domain import ids
from ava.domain.access.actor import SYSTEM
from ava.domain.jobs.job import Job, Status
from ava.domain.jobs.run_outcome import Ending
from ava.domain.limits.limit import TenantRules
from ava.settings import Settings
from ava.store.engine.notices import Notices
from ava.store.fleet import queues, tenants
from ava.store.jobs.feed import limit_keys, polls
from ava.store.jobs.transitions import cancel, permits
from ava.store.jobs.transitions.end import end
from harness.polling import wait_until
from tests import limited
from tests.backlog import Backlog
from tests.limited import LIMITED
from tests.runs import ended

_SLEEPING = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


@pytest.fixture
def backlog(redis_settings: Settings) -> Iterator[Backlog]:
    with limited.limited_backlog(redis_settings) as backlog:
        yield backlog


@pytest.fixture
def redis_settings(database_url: str, redis_url: str) -> Settings:
    return Settings(database_url=database_url, broker_url=redis_url)


def _admitted(backlog: Backlog) -> int:
    return backlog.count("limit_key IS NOT NULL AND (status = 'running' OR status = 'queued' AND waits_for IS NULL)")


def _end(backlog: Backlog, job: Job, status: Status = Status.COMPLETED) -> None:
    with backlog.database.connect() as connection:
        ending = Ending.RETRIED if status is Status.QUEUED else Ending(status)
        delay = 3600 if status is Status.QUEUED else None
        assert end(connection, ended(connection, job.run, ending, [limited.line(job)], delay_seconds=delay)) is status


def test_running_jobs_stay_within_the_limit_and_a_finished_job_frees_its_permit(backlog: Backlog) -> None:
    limited.limit(backlog, 2)
    feed = limited.feed(backlog)
    assert all(job.published_at is None for job in limited.insert(backlog, 5)), "the API publishes no job with a limit"
    assert feed.run_once(0) == 2
    backlog.await_messages(2)
    first, second = limited.claim_all(backlog)
    assert feed.run_once(1) == 0
    _end(backlog, first)
    assert feed.run_once(2) == 1
    assert _admitted(backlog) == 2
    # A retry waits for its time without a place, and for a place once that has come.
    _end(backlog, second, Status.QUEUED) if second.max_attempts > 1 else _end(backlog, second)
    assert feed.run_once(3) == 1
    assert _admitted(backlog) == 2


def test_many_dispatchers_at_once_never_give_one_permit_too_many(backlog: Backlog) -> None:
    limited.limit(backlog, 3)
    limited.insert(backlog, 60)
    has_ended, most, errors = threading.Event(), [0], list[BaseException]()

    def feed() -> None:
        duty = limited.feed(backlog)
        while not has_ended.is_set():
            try:
                duty.run_once(0)
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=feed) for _ in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while backlog.count("status = 'completed'") < 60 and time.monotonic() < deadline:
        most[0] = max(most[0], _admitted(backlog))
        for job in limited.claim_all(backlog):
            _end(backlog, job)
    has_ended.set()
    for thread in threads:
        thread.join()
    assert (backlog.count("status = 'completed'"), most[0], errors) == (60, 3, [])


def test_an_urgent_job_gets_the_permit_of_a_less_urgent_unstarted_job(backlog: Backlog) -> None:
    limited.limit(backlog, 2)
    feed = limited.feed(backlog)
    limited.insert(backlog, 3, priority=7)
    feed.run_once(0)
    (running, *_) = limited.claim_all(backlog)[:1]
    _end(backlog, running)
    feed.run_once(1)
    (urgent,) = limited.insert(backlog, priority=2)
    feed.run_once(2)
    assert _admitted(backlog) == 2
    assert backlog.run("SELECT priority FROM jobs WHERE published_at IS NOT NULL AND priority = 2") == [(2,)]
    assert urgent.priority == 2


def test_tenants_take_turns_at_the_permits_of_one_key(backlog: Backlog) -> None:
    limited.limit(backlog, 2)
    limited.insert(backlog, 50, tenant_id="ten_a")
    limited.insert(backlog, 1, tenant_id="ten_b")
    limited.feed(backlog).run_once(0)
    assert backlog.count("published_at IS NOT NULL AND tenant_id = 'ten_b'") == 1


@pytest.mark.parametrize(
    ("per", "inputs", "keys"),
    [
        (None, ["{}", '{"a":1}'], {LIMITED}),
        ("tenant", ["{}", '{"a":1}'], {f"{LIMITED} ten_a"}),
        (
            "input.account.id",
            ['{"account":{"id":42}}', '{"account":{"id":"42"}}', "{}", '{"account":{"id":{"a":[1]}}}'],
            {f"{LIMITED} ten_a {value}" for value in ("42", '"42"', "null", '{"a":[1]}')},
        ),
        ("input.a", [json.dumps({"a": "x" * 300})], None),
        ("input.a", ['{"a":"\\u0000","b":1}'], None),
    ],
)
def test_a_limit_is_per_what_the_worker_says(
    backlog: Backlog, per: str | None, inputs: list[str], keys: set[str] | None
) -> None:
    limited.limit(backlog, 1, per)
    for input_json in inputs:
        limited.insert(backlog, 1, input_json=input_json)
    found = {key for (key,) in backlog.run("SELECT limit_key FROM jobs")}
    assert all(len(key) < 260 for key in found)
    assert keys is None or found == keys
    assert limited.feed(backlog).run_once(0) == len(found)


def test_a_key_costs_its_own_jobs(backlog: Backlog) -> None:
    limited.limit(backlog, 4, "input.key")
    for key in range(40):
        limited.insert(backlog, 10, input_json=json.dumps({"key": key}))
    feed = limited.feed(backlog)
    feed.run_once(0)
    feed.run_once(0)
    assert _admitted(backlog) == 160
    keys = [key for (key,) in backlog.run("SELECT DISTINCT limit_key FROM jobs")]
    before = sum(backlog.rows_read())
    dedicated = backlog.database.dedicated()
    with limit_keys.locked_key_states(dedicated, keys, dead_after_seconds=14, max_next=50) as (connection, states):
        poll = polls.read(connection, count_up_to=10, dead_after_seconds=14, max_keys=100)
    dedicated.close()
    assert sorted(poll.limit_keys) == sorted(keys)
    assert {(state.taken, state.unstarted, state.capacity) for state in states} == {(4, 4, 0)}
    assert sum(backlog.rows_read()) - before < 40 * 10


def test_a_poll_gives_some_of_the_free_permits_and_the_next_one_soon_gives_the_others(backlog: Backlog) -> None:
    limited.limit(backlog, 30, "input.key")
    for key in range(5):
        limited.insert(backlog, 30, input_json=json.dumps({"key": key}), priority=5 if key else 7)
    feed = limited.feed(backlog)
    feed.run_once(0)
    assert _admitted(backlog) == 120, "no further key has got places after a hundred"
    assert not backlog.count("priority = 7 AND waits_for IS NULL"), "the keys of the most urgent jobs come first"
    assert feed.next_poll_seconds() <= 0.02
    feed.run_once(0)
    assert _admitted(backlog) == 150
    assert feed.next_poll_seconds() > 0.02


def test_a_limit_of_zero_starts_nothing(backlog: Backlog) -> None:
    limited.limit(backlog, 0)
    limited.insert(backlog, 3)
    assert limited.feed(backlog).run_once(0) == 0


def test_a_new_limit_acts_on_what_already_waits(backlog: Backlog) -> None:
    backlog.announce(LIMITED)
    duty, feed = MovedWorkers(backlog.database), limited.feed(backlog)
    duty.run_once(0)
    published = limited.insert(backlog, 10)
    backlog.publisher.publish(published)
    assert backlog.claim(published[0])
    limited.limit(backlog, 2)
    assert duty.run_once(1) == 10
    assert feed.run_once(1) == 1, "one place is taken by the job that runs"
    limited.limit(backlog, 4)
    assert duty.run_once(2) > 0
    feed.run_once(2)
    assert _admitted(backlog) == 4
    backlog.announce(LIMITED)
    assert duty.run_once(3) == 10
    assert backlog.count("limit_key IS NULL") == 10
    feed.run_once(3)
    assert backlog.count("published_at IS NOT NULL") == 10


def test_a_new_limit_acts_beyond_a_row_that_another_transaction_holds(backlog: Backlog) -> None:
    backlog.announce(LIMITED)
    held, *others = limited.insert(backlog, 25)
    limited.limit(backlog, 0)
    with backlog.database.transaction() as locking:
        locking.exec_driver_sql("SELECT FROM jobs WHERE id = %s FOR UPDATE", (ids.decode("job", held.id),))
        with backlog.database.connect() as connection:
            followed = [permits.follow_limits(connection, workers=[LIMITED], limit=10) for _ in range(3)]
    assert followed == [10, 10, 4], "a full count says that more are left"
    assert backlog.count("waits_for = 'permit'") == len(others)


def test_a_new_limit_gives_a_job_no_key_of_an_input_that_it_had_before(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog.announce(LIMITED)
    (job,) = limited.insert(backlog, 1, input_json='{"account": 1}')
    limited.limit(backlog, 1, "input.account")
    found = "SELECT o.* FROM outdated AS o"
    slow = permits._FOLLOW_LIMITS.replace(found, "SELECT o.* FROM (SELECT *, pg_sleep(1) FROM outdated OFFSET 0) AS o")
    assert slow != permits._FOLLOW_LIMITS
    monkeypatch.setattr(permits, "_FOLLOW_LIMITS", slow)
    with backlog.database.connect() as following, ThreadPoolExecutor(1) as threads:
        pass_ = threads.submit(permits.follow_limits, following, workers=[LIMITED], limit=10)
        with backlog.database.connect() as connection:
            wait_until(lambda: connection.exec_driver_sql(_SLEEPING).scalar(), what="the pass has its snapshot")
            # As the next trigger of a debounced job does.
            connection.exec_driver_sql(
                "UPDATE jobs SET input = '{\"account\": 2}' WHERE id = %s", (ids.decode("job", job.id),)
            )
        assert pass_.result() == 0
        assert permits.follow_limits(following, workers=[LIMITED], limit=10) == 1
    assert backlog.run("SELECT limit_key FROM jobs") == [(f"{LIMITED} ten_a 2",)]


def test_a_job_that_no_node_can_run_gets_no_permit(backlog: Backlog) -> None:
    limited.limit(backlog, 1)
    backlog.run("UPDATE nodes SET workers = '{wkr_test}'")
    limited.insert(backlog, 1)
    feed = limited.feed(backlog)
    assert (feed.run_once(0), _admitted(backlog)) == (0, 0)
    backlog.run("UPDATE nodes SET workers = '{wkr_test,wkr_limited}'")
    assert feed.run_once(1) == 1


def test_the_end_of_a_job_with_a_limit_wakes_the_dispatcher_and_that_of_another_does_not(backlog: Backlog) -> None:
    limited.limit(backlog, 1)
    notices = Notices(backlog.settings.database_url)
    notices.wait(0)
    (plain,) = backlog.insert(is_published=True)
    assert backlog.claim(plain)
    with backlog.database.connect() as connection:
        cancel.cancel(connection, tenant_id="ten_test", user_id="usr_x", job_id=plain.id)
    assert notices.wait(0.2) == set()
    limited.insert(backlog, 2)
    assert notices.wait(5) == {LIMITED}
    limited.feed(backlog).run_once(0)
    (job,) = limited.claim_all(backlog)
    _end(backlog, job)
    assert notices.wait(5) == {LIMITED}
    notices.close()


# Tenants --------------------------------------------------------------------------------------------------------------


def _set(backlog: Backlog, tenant_id: str, **fields: object) -> None:
    with backlog.database.connect() as connection:
        tenants.write(connection, TenantRules(tenant_id=tenant_id, updated_by="usr_op", **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("is_fair", [True, False])
def test_a_tenant_has_no_more_running_jobs_than_its_limit(backlog: Backlog, is_fair: bool) -> None:
    limited.limit(backlog)
    _set(backlog, "ten_a", max_running=2)
    backlog.insert(20, worker_id=LIMITED, tenant_id="ten_a")
    backlog.insert(1, worker_id=LIMITED, tenant_id="ten_b")
    feed = limited.feed(backlog, tenant_max_running=3, is_fair=is_fair)
    # The first look deals what is published anew, because another setting may have published it.
    for now in range(3):
        feed.run_once(now)
    tenants_published = backlog.run(
        "SELECT tenant_id, count(*) FROM jobs WHERE published_at IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    assert tenants_published == [("ten_a", 2), ("ten_b", 1)]
    running = limited.claim_all(backlog)
    feed.run_once(3)
    assert backlog.count("status = 'queued' AND published_at IS NOT NULL") == 0
    _end(backlog, next(job for job in running if job.tenant_id == "ten_a"))
    assert feed.run_once(4) == 1
    # A tenant that is at its limit keeps no one else from running, whatever its priority.
    backlog.insert(5, worker_id=LIMITED, tenant_id="ten_a", priority=1)
    backlog.insert(1, worker_id=LIMITED, tenant_id="ten_c", priority=9)
    feed.run_once(5)
    feed.run_once(6)
    assert backlog.count("tenant_id = 'ten_c' AND published_at IS NOT NULL") == 1
    # … and its more urgent job takes the place of its less urgent one that has not started.
    assert backlog.run("SELECT priority FROM jobs WHERE tenant_id = 'ten_a' AND status = 'queued'"
                       " AND published_at IS NOT NULL") == [(1,)]  # fmt: skip


def test_a_new_limit_of_a_tenant_acts_on_what_is_published(backlog: Backlog) -> None:
    backlog.announce(LIMITED)
    feed = limited.feed(backlog)
    backlog.insert(12, worker_id=LIMITED, tenant_id="ten_a")
    assert feed.run_once(0) == 12
    _set(backlog, "ten_a", max_running=1)

    def is_limited() -> bool:
        feed.run_once(0)
        return backlog.count("published_at IS NOT NULL") == 1

    wait_until(is_limited, what="the published jobs are recalled")


def test_limits_and_a_paused_queue_go_together(backlog: Backlog) -> None:
    limited.limit(backlog, 2)
    limited.insert(backlog, 5)
    with backlog.database.connect() as connection:
        queues.pause(connection, queue="default", by=SYSTEM)
    feed = limited.feed(backlog)
    assert (feed.run_once(0), feed.run_once(1)) == (0, 0)
    with backlog.database.connect() as connection:
        queues.resume(connection, queue="default")
    assert feed.run_once(2) == 2


def test_an_urgent_job_of_a_tenant_at_its_limit_keeps_no_permit_from_another_tenant(backlog: Backlog) -> None:
    limited.limit(backlog, 1)
    _set(backlog, "ten_a", max_running=0)
    feed = limited.feed(backlog)
    limited.insert(backlog, 3, tenant_id="ten_a", priority=1)
    limited.insert(backlog, 1, tenant_id="ten_b", priority=9)
    for now in range(3):
        feed.run_once(now)
    ((run_no,),) = backlog.run("SELECT run_no FROM jobs WHERE published_at IS NOT NULL AND tenant_id = 'ten_b'")
    for now in range(3, 6):
        feed.run_once(now)
    # Nor does it take the permit back again and again.
    assert backlog.count(f"published_at IS NOT NULL AND tenant_id = 'ten_b' AND run_no = {run_no}") == 1
