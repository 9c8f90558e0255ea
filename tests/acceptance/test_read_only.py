"""A primary that became read-only, as a demoted one does: an outage like any other."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.polling import wait_until
from harness.servers.server import Server
from harness.system import System
from tests.acceptance.test_outages import WORKER, _environ

ON_REDIS = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)


def _trigger(system: System) -> int:
    return system.post("/v1/ava/jobs", json={"worker_id": WORKER, "input": {}}).status_code


@ON_REDIS
def test_while_the_primary_is_read_only_requests_get_503_and_results_are_kept(
    system: System, private_postgres: Server, tmp_path: Path
) -> None:
    system.start(workers=1, environ=_environ(tmp_path), database_url=private_postgres.url)
    job_ids = [str(system.trigger(WORKER, input={"seconds": seconds})["id"]) for seconds in (2, 9)]
    for job_id in job_ids:
        system.wait_for(job_id, "running")
    with private_postgres.read_only():
        # Nodes count as dead after 4 s.
        system.start_worker(wait=False)
        # Each session of PostgreSQL takes the changed setting once its signal has reached it.
        wait_until(lambda: {_trigger(system) for _ in range(5)} == {503}, what="the primary is read-only")
        statuses = set()
        ends_at = time.monotonic() + 7
        while time.monotonic() < ends_at:
            statuses.add(_trigger(system))
            time.sleep(0.1)
        assert statuses == {503}
    for job_id in job_ids:
        assert system.wait_for(job_id, "completed")["attempt"] == 1
    assert system.query("SELECT DISTINCT losses, run_no FROM jobs WHERE input::text <> '{}'") == [(0, 1)]
    # The node that was started meanwhile has registered.
    system.await_workers()
    entries = system.query("SELECT status, count(*) > 10 FROM audit GROUP BY status ORDER BY status DESC LIMIT 1")
    assert entries == [(503, True)]


@ON_REDIS
def test_a_node_that_cannot_register_ends_with_one_line(system: System, private_postgres: Server) -> None:
    system.database_url = private_postgres.url
    with private_postgres.read_only():
        node = system.spawn("worker", "-c", "1")
        assert node.wait(30) == 1
    assert len([line for line in node.output.splitlines() if "Node cannot start" in line]) == 1
    wait_until(lambda: not system.leftovers(), what="its processes have ended as well")
