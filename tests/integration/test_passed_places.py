"""The place of a limit passes from a run that ends to the job that waits next, unless the dispatcher has to give it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ava.dispatcher.feed.window import WindowFeed
from ava.domain.jobs.job import Job, LogLevel, LogLine, RunEnd, RunKey, Status
from ava.domain.limits.rates import Rate
from ava.domain.tenant import TenantRules
from ava.domain.worker import WorkerLimits, WorkerSettings, WorkerStatus
from ava.node.outcome import Stop
from ava.node.parent.rescue import rescue_runs
from ava.node.parent.tracked_run import DeadProcess
from ava.node.run_board import CurrentRun, Phase
from ava.settings import Settings
from ava.store.engine.database import Connection
from ava.store.engine.plans import IN_ORDER
from ava.store.fleet import queues, tenants, worker_settings
from ava.store.jobs.feed.windows import write_closed
from ava.store.jobs.moves import pass_permit
from ava.store.jobs.rows import job_uuid
from tests.backlog import NODE, Backlog, open_backlog

LIMITED = "wkr_limited"
CLAIM = str(uuid.uuid4())
NEXT_CLAIM = pass_permit.claim_after(CLAIM)


@pytest.fixture
def backlog(database_url: str, redis_url: str) -> Iterator[Backlog]:
    with open_backlog(Settings(database_url=database_url, broker_url=redis_url)) as backlog:
        backlog.join(handlers=["wkr_test", LIMITED])
        _limit(backlog, 2)
        yield backlog


def _limit(backlog: Backlog, most: int, *, queue: str = "default", **rate: Any) -> None:
    backlog.announce(LIMITED, queue=queue, limits=WorkerLimits(max_running=most, **rate))


def _insert(backlog: Backlog, count: int = 1, *, tenant_id: str = "ten_a", priority: int = 5) -> list[Job]:
    return backlog.insert(count, is_published=True, worker_id=LIMITED, tenant_id=tenant_id, priority=priority)


def _feed(backlog: Backlog) -> int:
    return WindowFeed(backlog.database, backlog.publisher, window=2000, node_dead_seconds=14).run_once(0)


def _start(backlog: Backlog, waiting: int) -> list[Job]:
    """Two jobs that run, and `waiting` that wait for their places, oldest first."""
    jobs = _insert(backlog, 2 + waiting)
    assert _feed(backlog) == 2
    for job in jobs[:2]:
        assert backlog.claim(job, claim_id=CLAIM)
    return jobs


def _run_end(job: Job, **end: Any) -> RunEnd:
    return RunEnd(**{"run": RunKey(*job.key, 1), "status": Status.COMPLETED, "elapsed_ms": 1, **end})


def _line() -> LogLine:
    return LogLine(seq=2**32 + 5, ts=datetime.now(UTC), level=LogLevel.INFO, msg="the end")


def _end(connection: Connection, job: Job, *, claim_id: str = CLAIM, **end: Any) -> tuple[Status | None, Job | None]:
    return pass_permit.end_and_pass(
        connection,
        _run_end(job, **end),
        [_line()],
        None,
        claim_id=claim_id,
        node_id=NODE,
        next_claim_id=NEXT_CLAIM,
    )


def _end_of(backlog: Backlog, job: Job, **end: Any) -> tuple[Status | None, Job | None]:
    with backlog.database.connect() as connection:
        return _end(connection, job, **end)


def _taken(backlog: Backlog) -> int:
    return backlog.count("limit_key IS NOT NULL AND (status = 'running' OR status = 'queued' AND waits_for IS NULL)")


@pytest.mark.parametrize("end", [{}, {"status": Status.QUEUED, "retry_in_seconds": 60}])
def test_the_oldest_job_that_waits_gets_the_place_and_runs(backlog: Backlog, end: dict[str, Any]) -> None:
    first, _, third, _ = _start(backlog, 2)
    status, job = _end_of(backlog, first, **end)
    assert status is end.get("status", Status.COMPLETED)
    assert job is not None
    assert (job.id, job.status, job.run_no, job.attempt, job.node_id) == (third.id, Status.RUNNING, 1, 1, NODE)
    assert job.waits_for is None
    assert _taken(backlog) == 2
    logged = "SELECT msg FROM job_lines ORDER BY job_id, seq"
    assert [msg for (msg,) in backlog.run(logged)].count("Worker handler started") == 3
    assert _feed(backlog) == 0


def test_the_most_urgent_job_gets_the_place_and_less_urgent_messages_do_not_matter(backlog: Backlog) -> None:
    first, *_ = _start(backlog, 2)
    (urgent,) = _insert(backlog, priority=2)
    backlog.insert(is_published=True, priority=3)
    job = _end_of(backlog, first)[1]
    assert job is not None
    assert job.id == urgent.id


def _tenant(backlog: Backlog, tenant_id: str, **rules: Any) -> None:
    with backlog.database.connect() as connection:
        tenants.write(connection, TenantRules(tenant_id=tenant_id, updated_by="usr_op", **rules))


def _pause_queue(backlog: Backlog) -> None:
    with backlog.database.connect() as connection:
        queues.pause(connection, queue="default", user_id="usr_op")


def _pause_worker(backlog: Backlog) -> None:
    with backlog.database.transaction() as connection:
        of_tenant = {"tenant_id": "ten_a", "worker_id": LIMITED}
        worker_settings.lock(connection, **of_tenant)
        worker_settings.write(
            connection, WorkerSettings(status=WorkerStatus.PAUSED), **of_tenant, user_id="usr_op"
        )  # fmt: skip


def _close_window(backlog: Backlog) -> None:
    with backlog.database.connect() as connection:
        write_closed(connection, [("default", 5)])


#: What leaves the choice to the dispatcher, or has nothing run.
_REASONS: dict[str, Callable[[Backlog], object]] = {
    "another tenant waits with the same priority": lambda it: _insert(it, tenant_id="ten_b"),
    "another tenant waits with a more urgent one": lambda it: _insert(it, tenant_id="ten_b", priority=2),
    "a message of the same priority waits": lambda it: it.insert(is_published=True, priority=5),
    "a more urgent message waits": lambda it: it.insert(is_published=True, priority=1),
    "a window is closed": _close_window,
    "the limit is smaller by now": lambda it: _limit(it, 1),
    "the worker has a rate": lambda it: _limit(it, 2, rate=Rate(jobs=5, seconds=1)),
    "the worker has moved": lambda it: _limit(it, 2, queue="other"),
    "the tenant has a limit": lambda it: _tenant(it, "ten_a", max_running=9),
    "the queue is paused": _pause_queue,
    "the worker is paused": _pause_worker,
}


@pytest.mark.parametrize("reason", _REASONS)
def test_the_dispatcher_gives_the_place_if(backlog: Backlog, reason: str) -> None:
    first, *_ = _start(backlog, 2)
    _REASONS[reason](backlog)
    assert _end_of(backlog, first) == (Status.COMPLETED, None)
    assert _taken(backlog) == 1


def test_jobs_of_the_key_that_are_in_the_broker_do_not_matter(backlog: Backlog) -> None:
    _limit(backlog, 3)
    first, *_, fifth = _insert(backlog, 5)
    assert _feed(backlog) == 3
    assert backlog.claim(first, claim_id=CLAIM)
    job = _end_of(backlog, first)[1]
    assert job is not None
    assert job.id != fifth.id
    assert _taken(backlog) == 3


def test_nothing_waits(backlog: Backlog) -> None:
    first, _ = _start(backlog, 0)
    assert _end_of(backlog, first) == (Status.COMPLETED, None)


def test_a_run_that_has_lost_its_job_passes_no_place(backlog: Backlog) -> None:
    first, *_ = _start(backlog, 2)
    assert _end_of(backlog, first, claim_id=NEXT_CLAIM) == (None, None)
    assert _taken(backlog) == 2


def test_a_place_that_was_passed_is_found_if_the_reply_was_lost(backlog: Backlog) -> None:
    first, _, third = _start(backlog, 1)

    def find() -> Job | None:
        with backlog.database.connect() as connection:
            return pass_permit.passed(connection, node_id=NODE, next_claim_id=NEXT_CLAIM)

    assert find() is None
    _end_of(backlog, first)
    found = find()
    assert found is not None
    assert found.id == third.id


@pytest.mark.parametrize(("stop", "losses"), [(None, 1), (Stop.CANCEL, 1), (Stop.SHUTDOWN, 0)])
def test_a_run_whose_start_its_dead_process_did_not_report_is_rescued_with_the_one_before(
    backlog: Backlog, stop: Stop | None, losses: int
) -> None:
    first, second, third = _start(backlog, 1)
    current = CurrentRun(key=RunKey(*first.key, 1), phase=Phase.ENDING, timeout_seconds=60)
    process = DeadProcess(pid=4711, current=current, stop=stop)
    _end_of(backlog, first)
    with backlog.database.connect() as connection:
        for _ in range(2):
            rescue_runs(connection, [RunKey(*first.key, 1)], process, node_id=NODE, error="WorkerLost: it died")
    rescued, running = f"status = 'queued' AND losses = {losses} AND run_no = 1", "status = 'running' AND losses = 0"
    assert backlog.run(f"SELECT id::text FROM jobs WHERE {rescued}") == [(job_uuid(third.id),)]
    assert backlog.run(f"SELECT id::text FROM jobs WHERE {running}") == [(job_uuid(second.id),)]


def test_a_place_passes_at_the_same_cost_however_many_jobs_wait(backlog: Backlog) -> None:
    first, *_ = _start(backlog, 5_000)
    backlog.insert(5_000, priority=5)
    parameters = pass_permit._parameters(_run_end(first), [_line()], None, CLAIM, NODE, NEXT_CLAIM)
    with backlog.database.transaction() as connection:
        connection.exec_driver_sql(IN_ORDER)
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {pass_permit._END_AND_PASS.statement}"
        ((plans,),) = connection.exec_driver_sql(explained, parameters).all()
    assert plans[0]["Plan"]["Shared Hit Blocks"] + plans[0]["Plan"]["Shared Read Blocks"] < 300
    assert _taken(backlog) == 2


def test_two_ends_at_once_pass_two_places_and_the_dispatcher_gives_no_third(backlog: Backlog) -> None:
    first, second, third, fourth, _ = _start(backlog, 3)
    with backlog.database.transaction() as connection:
        _, one = _end(connection, first)
        # The first end is not committed yet.
        _, other = _end_of(backlog, second)
        assert _feed(backlog) == 0
    assert one is not None
    assert other is not None
    assert [one.id, other.id] == [third.id, fourth.id]
    assert _feed(backlog) == 0
    assert _taken(backlog) == 2
