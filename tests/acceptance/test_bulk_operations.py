"""An operation on thousands of jobs, with the dispatchers killed in the middle of it."""

from __future__ import annotations

import pytest

from harness.polling import wait_until
from harness.system import System
from tests.failed_jobs import insert_failed

JOBS = 6_004
WORKER = (
    "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
    " VALUES ('wkr_nightly', 'Nightly', 60, 0, 10, 'default', 'requeue')"
)
ONCE = (
    "SELECT count(*), count(DISTINCT j.retry_of), count(DISTINCT j.input->>'number') FROM jobs AS j"
    " JOIN jobs AS o ON o.id = j.retry_of WHERE j.input::text = o.input::text AND o.retry_of IS NULL"
)


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_each_of_thousands_of_jobs_is_retried_once_though_the_dispatchers_are_killed(system: System) -> None:
    # No node has the handler, so the new jobs wait, and none of them fails again.
    system.start(workers=0, dispatchers=2)
    system.query(WORKER)
    insert_failed(system, JOBS, worker_id="wkr_nightly")
    body = {"filter": {"status": "failed", "worker_id": "wkr_nightly"}}
    assert system.post("/v1/ava/jobs/retry", json={**body, "dry_run": True}).json()["data"]["total"] == JOBS
    operation = system.post("/v1/ava/jobs/retry", json=body).json()["data"]
    path = f"/v1/ava/operations/{operation['id']}"
    wait_until(lambda: system.get(path).json()["data"]["done"] > 0, what="the first batch is done")
    for dispatcher in system.dispatchers:
        dispatcher.kill()
    killed_at = system.get(path).json()["data"]["done"]
    assert killed_at < JOBS, "they were killed in the middle of it"
    assert system.query(ONCE) == [(killed_at, killed_at, killed_at)]
    system.start_dispatcher()
    ended = system.get(path, params={"wait": 60}, timeout=90).json()["data"]
    assert (ended["state"], ended["total"], ended["done"], ended["failed"]) == ("done", JOBS, JOBS, 0)
    assert system.query(ONCE) == [(JOBS, JOBS, JOBS)]
