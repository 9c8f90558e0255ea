"""Concurrent moves of one job: the second one sees what the first one has written."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from ava.domain.jobs.job import Job, JobSpec, LogLevel, LogLine, RunKey, Status
from ava.store.engine.database import Connection, Database
from ava.store.fleet import nodes
from ava.store.jobs.transitions import cancel as cancels
from ava.store.jobs.transitions import claim as claims
from ava.store.jobs.transitions import end as ends
from ava.store.jobs.transitions import log_lines, park
from ava.store.jobs.transitions import rescue as rescues
from ava.store.jobs.transitions.ended_runs import EndedRun
from harness.new_jobs import make_jobs
from harness.polling import wait_until
from tests.runs import ended, stored_job

NODE = str(uuid.uuid4())
TENANT = "ten_test"


def trigger(connection: Connection) -> Job:
    spec = JobSpec(worker_id="wkr_plain")
    return make_jobs(connection, [spec], tenant_id=TENANT)[0]


def wanted(job: Job, run_no: int = 1, claim_id: str | None = None, worker_id: str = "wkr_plain") -> claims.Claim:
    return claims.Claim(run=RunKey(*job.key, run_no), worker_id=worker_id, node_id=NODE, claim_id=claim_id)


def claim(connection: Connection, job: Job, run_no: int = 1) -> Job | None:
    return claims.claim(connection, wanted(job, run_no))


def completed(connection: Connection, job: Job) -> EndedRun:
    line = LogLine(
        seq=log_lines.SEQ_PER_RUN + 1, ts=datetime.now(UTC), level=LogLevel.INFO, msg="Handler completed in 1ms"
    )
    return ended(connection, RunKey(*job.key, 1), lines=[line], output_json="{}")


def end(connection: Connection, job: Job) -> Status | None:
    return ends.end(connection, completed(connection, job))


def cancel(connection: Connection, job: Job) -> Job | None:
    return cancels.cancel(connection, tenant_id=TENANT, user_id="usr_test", job_id=job.id)


def rescue(connection: Connection, job: Job) -> Status | None:
    return rescues.rescue(
        connection, run=RunKey(*job.key, 1), node_id=NODE, msg="lost", error="WorkerLost: it died", is_loss=True
    )


def end_killed(connection: Connection, job: Job) -> Status | None:
    return rescues.end_killed_run(connection, run=RunKey(*job.key, 1), node_id=NODE, error="Timeout: exceeded 1 s")


@pytest.mark.parametrize("move", [rescue, end_killed])
def test_a_run_is_rescued_even_while_a_cancel_is_written(
    database: Database, move: Callable[[Connection, Job], object]
) -> None:
    with database.connect() as connection:
        job = trigger(connection)
        assert claim(connection, job)
    results: list[object] = []

    def act() -> None:
        with database.connect() as connection:
            results.append(move(connection, job))

    with database.transaction() as writing:
        assert cancel(writing, job)
        thread = threading.Thread(target=act)
        thread.start()
        with database.connect() as connection:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            wait_until(lambda: connection.exec_driver_sql(waiting).scalar())
        assert not results, "it waits for the cancel"
    thread.join()
    assert results[0] is not None
    with database.connect() as connection:
        found = stored_job(connection, job)
    assert (found.status, found.cancelled_by) == (Status.CANCELLED, "usr_test")


def test_a_concurrent_cancel_and_end_agree(database: Database) -> None:
    ends: Counter[Status] = Counter()
    for _ in range(60):
        with database.connect() as connection:
            job = trigger(connection)
            assert claim(connection, job)
        asked, ended = meet(database, lambda c, job=job: cancel(c, job), lambda c, job=job: end(c, job))
        with database.connect() as connection:
            final = stored_job(connection, job)
        assert final.status is ended
        assert final.status is (Status.CANCELLED if asked else Status.COMPLETED)
        ends[final.status] += 1
    print(dict(ends))  # noqa: T201 - a figure


def meet(database: Database, one: Callable[[Connection], Any], other: Callable[[Connection], Any]) -> tuple[Any, Any]:
    """Do two things at the same time, on two connections. Returns both results."""
    barrier = threading.Barrier(2)

    def act(what: Callable[[Connection], Any]) -> Any:
        with database.connect() as connection:
            barrier.wait()
            return what(connection)

    with ThreadPoolExecutor(2) as executor:
        first, second = executor.submit(act, one), executor.submit(act, other)
        return first.result(), second.result()


def test_one_of_many_concurrent_claims_succeeds(database: Database) -> None:
    with database.connect() as connection:
        job = trigger(connection)
    barrier = threading.Barrier(8)

    def act(_: int) -> bool:
        with database.connect() as connection:
            barrier.wait()
            return claim(connection, job) is not None

    with ThreadPoolExecutor(8) as executor:
        assert sum(executor.map(act, range(8))) == 1


def test_an_end_does_not_wait_for_the_lock_of_the_next_job(database: Database) -> None:
    with database.connect() as connection:
        job, following = trigger(connection), trigger(connection)
        assert claim(connection, job)
        # A statement that cancels many may hold the next job, and then wait for the one that ends.
        with database.transaction() as cancelling:
            assert cancel(cancelling, following)
            assert ends.end_and_claim(connection, completed(connection, job), wanted(following)) == (
                Status.COMPLETED,
                None,
                False,
            )
            assert cancel(cancelling, job) is None
        assert stored_job(connection, following).status is Status.CANCELLED
        assert claim(connection, following) is None


def test_an_end_that_writes_nothing_claims_nothing_and_the_next_run_is_claimed_by_itself(database: Database) -> None:
    with database.connect() as connection:
        job, following = trigger(connection), trigger(connection)
        assert claim(connection, job)
        assert rescue(connection, job)
        of_next = wanted(following, claim_id=str(uuid.uuid4()))
        assert ends.end_and_claim(connection, completed(connection, job), of_next) == (None, None, False)
        begun = claims.claim(connection, of_next)
        assert begun is not None
        assert (begun.id, begun.status, begun.attempt) == (following.id, Status.RUNNING, 1)
        # A repeat, as after a lost result, starts no run twice.
        assert ends.end_and_claim(connection, completed(connection, job), of_next) == (None, None, False)
        assert claims.claimed(connection, of_next) == stored_job(connection, following)


def test_a_node_receives_the_directives_for_its_runs(database: Database) -> None:
    with database.connect() as connection:
        unclaimed, running, asked, over = (trigger(connection) for _ in range(4))
        for job in (running, asked, over):
            claim(connection, job)
        cancel(connection, asked)
        end(connection, over)
        directives = nodes.check_runs(
            connection, NODE, [RunKey(*job.key, 1) for job in (unclaimed, running, asked, over)]
        )
    assert directives.over == {RunKey(*over.key, 1)}
    assert directives.cancelled == {RunKey(*asked.key, 1)}
    assert set(directives.running_seconds) == {RunKey(*running.key, 1), RunKey(*asked.key, 1)}


def test_a_message_that_names_another_worker_than_the_row_starts_no_run(database: Database) -> None:
    with database.connect() as connection:
        finished, job = trigger(connection), trigger(connection)
        assert claim(connection, finished)
        forged = wanted(job, worker_id="wkr_private")
        assert claims.claim(connection, forged) is None
        of_finished = completed(connection, finished)
        assert ends.end_and_claim(connection, of_finished, forged) == (Status.COMPLETED, None, False)
        assert claims.names_other_worker(connection, run=job.next_run, worker_id="wkr_private")
        assert not claims.names_other_worker(connection, run=job.next_run, worker_id="wkr_plain")
        assert not park.park_unclaimed(
            connection, run=RunKey(*job.key, 1), worker_id="wkr_private", lacks_handler=True, dead_after_seconds=14
        )
        assert claim(connection, job)
