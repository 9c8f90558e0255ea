"""Results that a child holds while the database is away, and runs that no process runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.polling import wait_until
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import ROOT, System
from harness.timestamps import LATER
from harness.tracebacks import tracebacks
from tests.acceptance.ids import uuids

ENVIRON = {
    "AVA_HANDLERS": "tests.acceptance.impatient_handlers",
    "AVA_HEARTBEAT_SECONDS": "0.3",
    "AVA_NODE_DEAD_SECONDS": "10",
}


@pytest.fixture(scope="module")
def system(own_postgres: Server, redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An API and a dispatcher on that PostgreSQL; each test has a node of its own."""
    folder = tmp_path_factory.mktemp("held")
    system = System(
        folder, database_url=own_postgres.url, broker_url=fresh_redis_url(redis_server), api_processes=1
    )  # fmt: skip
    system.expects_traceback = True  # The process that gives up logs why.
    try:
        system.start(workers=0, environ=ENVIRON)
        yield system
    finally:
        system.stop()
    system.assert_clean()


@pytest.fixture(autouse=True)
def _no_nodes(system: System) -> Iterator[None]:
    yield
    while system.workers:
        assert system.workers.pop().terminate() == 0


@pytest.mark.redis
def test_a_result_is_held_for_a_while_and_then_the_run_is_rescued(
    system: System, own_postgres: Server, tmp_path: Path
) -> None:
    system.start_nodes()
    # The job ends during an outage that is short enough: its end is written, and it does not run again.
    job_id = _begin(system, seconds=1.0, until=str(tmp_path / "short"))
    own_postgres.kill()
    (tmp_path / "short").touch()
    time.sleep(1.2)
    own_postgres.start()
    record = system.wait_for(job_id, "completed")
    assert (record["output"], record["attempt"]) == ({"lines": 10}, 1)
    assert [line for line in system.messages(job_id) if line.startswith("line ")] == [f"line {n}" for n in range(10)]
    assert _losses_and_runs(system, job_id) == [(0, 1)]
    # This outage is too long.
    job_id = _begin(system, seconds=1.0, until=str(tmp_path / "long"))
    own_postgres.kill()
    (tmp_path / "long").touch()
    wait_until(lambda: "End of run not written" in system.workers[0].output, seconds=60, what="the process gives up")
    own_postgres.start()
    record = system.wait_for(job_id, "completed")
    assert (record["output"], record["attempt"]) == ({"lines": 10}, 1)
    assert _losses_and_runs(system, job_id) == [(1, 2)]
    assert any(line.startswith("Handler lost") for line in system.messages(job_id))


def _begin(system: System, **input: object) -> str:
    job_id = str(system.trigger("wkr_t_steady", input=input)["id"])
    wait_until(lambda: "line 1" in system.messages(job_id), what="it runs")
    return job_id


def _losses_and_runs(system: System, *ids: str) -> list[tuple[int, int]]:
    rows = system.query("SELECT losses, run_no FROM jobs WHERE id = ANY(%s::uuid[])", uuids(list(ids)))
    return sorted((int(losses), int(runs)) for losses, runs in rows)


@pytest.mark.redis
def test_an_orphaned_run_that_never_began_is_rescued_without_a_loss(system: System) -> None:
    system.start_nodes(concurrency=1)
    (node,) = system.workers
    held = system.trigger("wkr_t_steady", input={"seconds": 3})["id"]
    system.wait_for(held, "running")
    orphan = system.trigger("wkr_t_steady", input={"seconds": 0.1}, scheduled_at=LATER)["id"]
    # As an unknown fault might leave it.
    system.query(
        "UPDATE jobs SET status = 'running', waits_for = NULL, run_at = NULL, started_at = now(), run_no = 1,"
        " attempt = 1, node_id = (SELECT id FROM nodes WHERE stopped_at IS NULL) WHERE status = 'queued'"
    )
    assert system.wait_for(orphan, "completed", seconds=20)["attempt"] == 1
    assert "Handler not started: no process of its node has the run" in system.messages(orphan)
    assert system.wait_for(held, "completed")["attempt"] == 1
    assert _losses_and_runs(system, held, orphan) == [(0, 1), (0, 2)], "an orphan that never began is no loss"
    assert "Orphaned run rescued" in node.output
    assert not tracebacks(node.output, without=f"{ROOT}/tests/"), node.output
