"""Transactions that change several jobs lock them in the order of a bulk cancel, so that none waits in a circle.

In each test a cancel and another transition wait for the older of two jobs at once. If that had locked the newer one
before, PostgreSQL would end one of them with a deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import uuid4

from ava.dispatcher.duties.lost_runs import PulledRunWatch
from ava.dispatcher.duties.wakes import Wakes
from ava.domain.access import tokens
from ava.domain.access.tokens import TokenKind
from ava.domain.jobs.graphs import Entry
from ava.domain.jobs.job import Job, JobSpec
from ava.domain.jobs.trigger_options import Dedupe, DedupeMode
from ava.domain.worker import PullWorkerSpec
from ava.services.creation.job_creator import JobCreator, arrange
from ava.store.fleet import pull_workers
from ava.store.jobs import rows
from ava.store.jobs.transitions import cancel, change, pull, recall
from ava.store.jobs.transitions.cancel import CancelRequest
from harness.new_jobs import make_jobs
from tests.backlog import WORKER, Backlog
from tests.lock_waits import await_lock_waits

TENANT = "ten_test"
PULLED = "wkr_pulled"
_Result = TypeVar("_Result")


def _cancel(stored: Backlog, jobs: Sequence[Job]) -> set[str]:
    requests = [CancelRequest(tenant_id=TENANT, job_id=job.id, cancelled_by="usr_test") for job in jobs]
    with stored.database.transaction() as connection:
        return {job.id for job in cancel.cancel_each(connection, requests)}


def _beside_a_cancel(stored: Backlog, older: Job, newer: Job, transition: Callable[[], _Result]) -> _Result:
    """Change jobs while a cancel of both, which comes first, waits for the older one too. Returns the result."""
    with ThreadPoolExecutor(2) as threads:
        with stored.database.transaction() as connection:
            assert change.lock(connection, tenant_id=TENANT, job_id=older.id) is not None
            cancelled = threads.submit(_cancel, stored, [older, newer])
            await_lock_waits(stored.database, 1)
            changed = threads.submit(transition)
            await_lock_waits(stored.database, 2)
        assert cancelled.result() == {older.id, newer.id}
        return changed.result()


def test_a_recall_of_what_was_published_last_and_a_cancel(stored: Backlog) -> None:
    older, newer = stored.insert(2, is_published=True)
    stored.run(
        "UPDATE jobs SET published_at = now() + interval '1 second' WHERE id = %(id)s::uuid", id=rows.job_uuid(newer.id)
    )

    def transition() -> int:
        with stored.database.connect() as connection:
            return len(recall.recall_window(connection, queue="default", priority=older.priority, limit=2))

    assert _beside_a_cancel(stored, older, newer, transition) == 0


def test_a_recall_takes_what_was_published_last(stored: Backlog) -> None:
    jobs = stored.insert(3, is_published=True)
    for seconds, job in zip((2, 3, 1), jobs, strict=True):
        statement = "UPDATE jobs SET published_at = now() + %(s)s * interval '1 second' WHERE id = %(id)s::uuid"
        stored.run(statement, s=seconds, id=rows.job_uuid(job.id))
    with stored.database.connect() as connection:
        recalled = recall.recall_window(connection, queue="default", priority=jobs[0].priority, limit=2)
    assert {job.id for job in recalled} == {rows.job_uuid(job.id) for job in jobs[:2]}


def test_followed_wakes_and_a_cancel(stored: Backlog) -> None:
    entries = (
        Entry(name="root"),
        Entry(name="starts", after=("root",), when="ended"),
        Entry(name="unmet", after=("root",), when="completed"),
    )
    creator = JobCreator()
    specs = [JobSpec(worker_id=WORKER, entry=entry) for entry in entries]
    with stored.database.transaction() as connection:
        new = creator.prepare(tenant_id=TENANT, user_id="usr_test", specs=specs)
        root, starts, unmet = creator.create_all(connection, arrange(connection, new))
    _cancel(stored, [root])
    assert _beside_a_cancel(stored, starts, unmet, lambda: Wakes(stored.database).run_once(0)) == 0


def test_the_end_of_overdue_runs_and_a_cancel(stored: Backlog) -> None:
    with stored.database.transaction() as connection:
        spec = PullWorkerSpec(id=PULLED, name="pulled")
        assert pull_workers.create(connection, spec, tenant_id=TENANT, max_workers=1)
        pull_workers.record(connection, tenant_id=TENANT, worker_ids=[PULLED])
    older, newer = stored.insert(2, is_published=True, worker_id=PULLED)
    picks = [pull.Pick(queue=older.queue, priority=older.priority, count=2)]
    with stored.database.connect() as connection:
        made = [tokens.make(TokenKind.RUN, "00") for _ in range(2)]
        assert len(pull.claim(connection, picks, made, claim_id=str(uuid4()), key_id=None, name="box")) == 2
    for minutes, job in ((1, older), (2, newer)):
        statement = "UPDATE pulled_runs SET end_by = now() - %(m)s * interval '1 minute' WHERE job_id = %(id)s::uuid"
        stored.run(statement, m=minutes, id=rows.job_uuid(job.id))
    assert _beside_a_cancel(stored, older, newer, lambda: PulledRunWatch(stored.database).run_once(0)) == 2
    assert stored.count("status = 'cancelled'") == 2


def test_a_replacement_of_deduped_jobs_and_a_cancel(stored: Backlog) -> None:
    def trigger(*keys: str) -> list[Job]:
        specs = [JobSpec(worker_id=WORKER, dedupe=Dedupe(key=key, mode=DedupeMode.REPLACE)) for key in keys]
        with stored.database.transaction() as connection:
            return make_jobs(connection, specs, tenant_id=TENANT)

    (older,), (newer,) = trigger("b"), trigger("a")
    assert len(_beside_a_cancel(stored, older, newer, lambda: trigger("a", "b"))) == 2
    assert stored.count("status = 'queued'") == 2
