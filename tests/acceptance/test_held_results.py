"""Results that a child holds while the database is away, and runs that no process runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.moments import LATER
from harness.polling import wait_until
from harness.servers.server import Server
from harness.system import System

ENVIRON = {
    "AVA_HANDLERS": "tests.acceptance.impatient_handlers",
    "AVA_HEARTBEAT_SECONDS": "0.3",
    "AVA_NODE_DEAD_SECONDS": "10",
}
ON_REDIS = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)


@ON_REDIS
def test_a_result_is_held_for_a_while_and_then_the_run_is_rescued(
    system: System, private_postgres: Server, tmp_path: Path
) -> None:
    system.expects_traceback = True  # The process that gives up logs why.
    system.start(environ=ENVIRON, database_url=private_postgres.url)
    # The job ends during an outage that is short enough: its end is written, and it does not run again.
    job_id = _begin(system, seconds=1.0, until=str(tmp_path / "short"))
    private_postgres.kill()
    (tmp_path / "short").touch()
    time.sleep(1.2)
    private_postgres.start()
    record = system.wait_for(job_id, "completed")
    assert (record["output"], record["attempt"]) == ({"lines": 10}, 1)
    assert [line for line in system.messages(job_id) if line.startswith("line ")] == [f"line {n}" for n in range(10)]
    assert system.query("SELECT losses, run_no FROM jobs") == [(0, 1)]
    # This outage is too long.
    job_id = _begin(system, seconds=1.0, until=str(tmp_path / "long"))
    private_postgres.kill()
    (tmp_path / "long").touch()
    wait_until(lambda: "End of run not written" in system.workers[0].output, seconds=60, what="the process gives up")
    private_postgres.start()
    record = system.wait_for(job_id, "completed")
    assert (record["output"], record["attempt"]) == ({"lines": 10}, 1)
    assert system.query("SELECT max(losses), max(run_no) FROM jobs") == [(1, 2)]
    assert any(line.startswith("Handler lost") for line in system.messages(job_id))


def _begin(system: System, **input: object) -> str:
    job_id = str(system.trigger("wkr_t_steady", input=input)["id"])
    wait_until(lambda: "line 1" in system.messages(job_id), what="it runs")
    return job_id


@ON_REDIS
def test_an_orphaned_run_is_rescued_and_its_job_runs(system: System) -> None:
    system.start(concurrency=1, environ=ENVIRON)
    held = system.trigger("wkr_t_steady", input={"seconds": 3})["id"]
    system.wait_for(held, "running")
    orphan = system.trigger("wkr_t_steady", input={"seconds": 0.1}, scheduled_at=LATER)["id"]
    # As an unknown fault might leave it.
    system.query(
        "UPDATE jobs SET status = 'running', waits_for = NULL, run_at = NULL, started_at = now(), run_no = 1,"
        " attempt = 1, node_id = (SELECT id FROM nodes) WHERE status = 'queued'"
    )
    assert system.wait_for(orphan, "completed", seconds=20)["attempt"] == 1
    assert "Handler lost: no process of its node runs it" in system.messages(orphan)
    assert system.wait_for(held, "completed")["attempt"] == 1
    assert sorted(system.query("SELECT losses, run_no FROM jobs")) == [(0, 1), (1, 2)]
    assert "Orphaned run rescued" in system.workers[0].output
