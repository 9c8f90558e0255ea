"""Jobs of a paused worker: they are accepted and wait, and none of them starts until the worker is active again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ava.dispatcher.duties.waiting_jobs import ParkedJobs, PausedWorkers, move_due_jobs
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.domain.worker import WorkerSettings, WorkerStatus
from ava.errors import WorkerDeprecated
from ava.settings import Settings
from ava.store.fleet import worker_settings
from ava.store.fleet.worker_settings import PLATFORM
from ava.store.jobs.moves import park
from ava.store.jobs.reads import lists
from tests.backlog import WORKER, Backlog, open_backlog

WAITING = "waits_for = 'worker' AND published_at IS NULL AND status = 'queued'"


@pytest.fixture
def stored(database_settings: Settings) -> Iterator[Backlog]:
    """Jobs alone, and a broker that no process consumes."""
    with open_backlog(database_settings) as backlog:
        yield backlog


def _set(stored: Backlog, status: WorkerStatus | None, *, tenant_id: str = "ten_test") -> None:
    with stored.database.transaction() as connection:
        worker_settings.lock(connection, tenant_id=tenant_id, worker_id=WORKER)
        settings = WorkerSettings(status=status)
        worker_settings.write(connection, settings, tenant_id=tenant_id, worker_id=WORKER, user_id="usr_test")


def _return(stored: Backlog) -> int:
    return ParkedJobs(stored.database, node_dead_seconds=14).run_once(0)


@pytest.mark.parametrize("tenant_id", ["ten_test", PLATFORM])
def test_what_waits_is_set_aside_and_returned_published_or_not(stored: Backlog, tenant_id: str) -> None:
    stored.insert(3, is_published=True)
    stored.insert(2)
    stored.announce("wkr_other")
    stored.insert(1, worker_id="wkr_other")
    duty = PausedWorkers(stored.database)
    assert duty.run_once(0) == 0
    _set(stored, WorkerStatus.PAUSED, tenant_id=tenant_id)
    assert duty.run_once(1) == 5
    assert stored.count(WAITING) == 5
    assert duty.run_once(2) == 0
    _set(stored, WorkerStatus.ACTIVE, tenant_id=tenant_id)
    assert duty.run_once(3) == 0
    assert _return(stored) == 5
    assert stored.count("waits_for IS NULL AND published_at IS NULL") == 6


def test_more_jobs_than_a_batch_move_in_one_call(stored: Backlog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ava.dispatcher.duties.waiting_jobs._JOBS_PER_STATEMENT", 3)
    stored.insert(10)
    _set(stored, WorkerStatus.PAUSED)
    duty = PausedWorkers(stored.database)
    assert duty.run_once(0) == 10
    _set(stored, None)
    assert _return(stored) == 10


def test_a_trigger_a_retry_and_a_due_job_of_a_paused_worker_wait(stored: Backlog) -> None:
    (dated,) = stored.insert()
    stored.run("UPDATE jobs SET waits_for = 'retry', run_at = now() - interval '1 second'")
    _set(stored, WorkerStatus.PAUSED)
    (job,) = stored.insert(is_published=True)
    assert (job.waits_for, job.published_at, job.run_at) == (WaitsFor.WORKER, None, None)
    assert move_due_jobs(stored.database) == 1
    with stored.database.connect() as connection:
        found = lists.show(connection, tenant_id="ten_test", job_id=dated.id)
    assert found is not None
    assert found.waits_for is WaitsFor.WORKER


def test_a_message_that_was_published_before_the_pause_starts_nothing_and_its_job_is_set_aside(
    stored: Backlog,
) -> None:
    stored.join()
    (job,) = stored.insert(is_published=True)
    _set(stored, WorkerStatus.PAUSED)
    assert stored.claim(job) is None
    with stored.database.connect() as connection:
        assert park.park_unclaimed(connection, run=RunKey(*job.key, 1), worker_id=WORKER)
        assert not park.park_unclaimed(connection, run=RunKey(*job.key, 1), worker_id=WORKER)
    assert stored.count(WAITING) == 1
    _set(stored, None)
    assert _return(stored) == 1
    # The message of before the pause stays refused.
    assert stored.claim(job) is None
    assert stored.claim(job, run_no=2) is not None


def test_a_claim_says_if_its_worker_has_settings(stored: Backlog) -> None:
    stored.join()
    first, second = stored.insert(2, is_published=True)
    claimed = stored.claim(first)
    assert claimed is not None
    assert not claimed.has_settings
    _set(stored, WorkerStatus.ACTIVE, tenant_id=PLATFORM)
    claimed = stored.claim(second)
    assert claimed is not None
    assert claimed.has_settings


def test_a_tenants_own_status_counts_before_that_of_the_platform(stored: Backlog) -> None:
    _set(stored, WorkerStatus.PAUSED, tenant_id=PLATFORM)
    _set(stored, WorkerStatus.ACTIVE)
    assert stored.insert()[0].waits_for is None
    _set(stored, None)
    assert stored.insert()[0].waits_for is WaitsFor.WORKER


def test_a_deprecated_worker_takes_no_new_jobs_and_runs_those_that_wait(stored: Backlog) -> None:
    stored.join()
    (waiting,) = stored.insert(is_published=True)
    _set(stored, WorkerStatus.DEPRECATED)
    with pytest.raises(WorkerDeprecated):
        stored.insert()
    assert PausedWorkers(stored.database).run_once(0) == 0
    assert stored.claim(waiting) is not None
