"""Jobs of a paused worker: they are accepted and wait, and none of them starts until the worker is active again."""

from __future__ import annotations

import pytest

from ava.dispatcher.duties.waiting_jobs import ParkedJobs, PausedWorkers
from ava.domain.worker import WorkerSettings, WorkerStatus
from ava.errors import DatabaseUnavailable, WorkerDeprecated
from ava.store.fleet import worker_settings
from ava.store.fleet.worker_settings import PLATFORM
from ava.store.jobs.transitions import park
from tests.backlog import WORKER, Backlog


def _set(stored: Backlog, status: WorkerStatus | None, *, tenant_id: str = "ten_test") -> None:
    with stored.database.transaction() as connection:
        worker_settings.lock(connection, tenant_id=tenant_id, worker_id=WORKER)
        settings = WorkerSettings(status=status)
        worker_settings.write(connection, settings, tenant_id=tenant_id, worker_id=WORKER)


def _return(stored: Backlog) -> int:
    return ParkedJobs(stored.database, node_dead_seconds=14).run_once(0)


def test_more_jobs_than_a_batch_move_in_one_call(stored: Backlog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ava.dispatcher.duties.waiting_jobs._JOBS_PER_STATEMENT", 3)
    stored.insert(10)
    _set(stored, WorkerStatus.PAUSED)
    duty = PausedWorkers(stored.database)
    assert duty.run_once(0) == 10
    _set(stored, None)
    assert _return(stored) == 10


def test_the_second_pass_over_a_paused_worker_is_repeated_after_an_outage(
    stored: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    duty = PausedWorkers(stored.database)
    _set(stored, WorkerStatus.PAUSED)
    assert duty.run_once(0) == 0
    # Its transaction read the status before the pause.
    stored.insert()
    stored.run("UPDATE jobs SET waits_for = NULL")
    with monkeypatch.context() as patched:
        patched.setattr(park, "park_of_worker", fail)
        with pytest.raises(DatabaseUnavailable):
            duty.run_once(11)
    assert duty.run_once(12) == 1


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


def test_a_deprecated_worker_takes_no_new_jobs_and_runs_those_that_wait(stored: Backlog) -> None:
    stored.join()
    (waiting,) = stored.insert(is_published=True)
    _set(stored, WorkerStatus.DEPRECATED)
    with pytest.raises(WorkerDeprecated):
        stored.insert()
    assert PausedWorkers(stored.database).run_once(0) == 0
    assert stored.claim(waiting) is not None
