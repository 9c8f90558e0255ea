"""A process passes the place of a limit on, and runs the job that gets it: with its stop, its rescue and its limit."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from harness.polling import wait_until
from harness.system import System
from tests.acceptance.conftest import on_redis
from tests.acceptance.witness import Witness

# The settings of one test stay for the nodes of the next.
ENVIRON = {"AVA_HANDLERS": "tests.acceptance.limited_handlers", "AVA_POOL": "ava"}
WORKER = "wkr_t_limited"
# A place passes in the database, without a message.
pytestmark = on_redis
#: Such jobs began without a message, in the statement that ended the run before.
_PASSED = "started_at - published_at < interval '1 ms' AND tenant_id = %s"


def _trigger(system: System, *inputs: dict[str, Any]) -> list[str]:
    answer = system.post("/v1/ava/jobs/bulk", json={"jobs": [{"worker_id": WORKER, "input": each} for each in inputs]})
    assert answer.status_code == 201, answer.text
    return [record["id"] for record in answer.json()["data"]]


def _passed(system: System, status: str) -> int:
    tenant_id = system.session.headers["x-tenant-id"]
    ((count,),) = system.query(f"SELECT count(*) FROM jobs WHERE status = '{status}' AND {_PASSED}", tenant_id)
    return int(count)


def _pass_place_to(system: System, folder: Path, **payload: Any) -> tuple[str, int]:
    """Have a process run a job that has got the place of another. Returns the job and the process."""
    folder.mkdir()
    others = Witness(folder / "others").input
    # The one place is taken all the time, the other one passes.
    for number in range(20):
        witness = Witness(folder / str(number))
        _, job_id = _trigger(system, {**others, "seconds": 0.05}, {**witness.input, **payload})
        process = witness.wait_for("begin", seconds=30).pid
        if _passed(system, "running"):
            return job_id, process
        # On a busy machine the process may have asked for its next message before.
        system.cancel(job_id)
        system.wait_for(job_id)
    raise AssertionError("no place was passed")


def test_a_limit_is_kept_while_places_pass(nodes: System, witness: Witness) -> None:
    nodes.start_nodes(2, concurrency=2, environ=ENVIRON)
    jobs = _trigger(nodes, *[{**witness.input, "seconds": 0.02}] * 100)
    done = "SELECT count(*) FROM jobs WHERE status = 'completed' AND tenant_id = %s"
    tenant_id = nodes.session.headers["x-tenant-id"]
    wait_until(lambda: nodes.query(done, tenant_id) == [(len(jobs),)], what="all are completed")
    running = most = 0
    for word in sorted(witness.read(), key=lambda word: word.at):
        running += 1 if word.word == "begin" else -1
        most = max(most, running)
    assert most == 2
    assert witness.words.count("done") == 100
    assert _passed(nodes, "completed") > 40
    # The processes take their turns at the broker again and again, so that no job waits behind all of them.
    assert _passed(nodes, "completed") < 98


def test_a_run_that_has_got_a_place_is_cancelled_rescued_and_killed_as_any_other(
    nodes: System, witness: Witness, tmp_path: Path
) -> None:
    nodes.start_nodes(1, concurrency=3, environ=ENVIRON)
    _trigger(nodes, {**witness.input, "seconds": 60})
    witness.wait_for("begin")
    _cancel_one(nodes, tmp_path / "cancelled")
    _lose_one(nodes, tmp_path / "lost")
    _kill_one(nodes, tmp_path / "killed")
    assert witness.words == ["begin"], "the job beside them goes on"


def _cancel_one(nodes: System, folder: Path) -> None:
    job_id, _ = _pass_place_to(nodes, folder, seconds=60)
    assert nodes.cancel(job_id).status_code == 200
    record = nodes.wait_for(job_id)
    assert record["status"] == "cancelled"
    assert record["duration_ms"] < 30_000


def _lose_one(nodes: System, folder: Path) -> None:
    job_id, process = _pass_place_to(nodes, folder, seconds=6)
    os.kill(process, signal.SIGKILL)
    # Its parent knows what the process ran, and need not find that out from the database.
    wait_until(lambda: "Run rescued from a dead process" in nodes.workers[0].output, what="the rescue")
    assert nodes.wait_for(job_id)["status"] == "completed"
    assert sum("Handler lost" in message for message in nodes.messages(job_id)) == 1


def _kill_one(nodes: System, folder: Path) -> None:
    """Cancel a run that does not stop."""
    job_id, process = _pass_place_to(nodes, folder, seconds=60, stubborn=True)
    assert nodes.cancel(job_id).status_code == 200
    assert nodes.wait_for(job_id)["status"] == "cancelled"
    assert nodes.show(job_id)["duration_ms"] < 30_000
    wait_until(
        lambda: process not in {child.pid for child in nodes.workers[0].children}, what="its process is replaced"
    )


def test_a_node_that_shuts_down_passes_no_place_on(nodes: System, witness: Witness) -> None:
    nodes.start_nodes(1, concurrency=2, environ=ENVIRON)
    _trigger(nodes, *[{**witness.input, "seconds": 0.1}] * 500)
    wait_until(lambda: _passed(nodes, "completed") > 4, what="places pass")
    node = nodes.workers[0]
    node.send(signal.SIGTERM)
    assert node.child.wait(20), "it ends long before the jobs do"
    assert node.exit_code == 0
    running = "SELECT count(*) FROM jobs WHERE status = 'running' AND tenant_id = %s"
    assert nodes.query(running, nodes.session.headers["x-tenant-id"]) == [(0,)]


def test_the_pool_of_celery_passes_no_place_on(nodes: System, witness: Witness) -> None:
    nodes.start_nodes(1, environ={**ENVIRON, "AVA_POOL": "celery"})
    for job in _trigger(nodes, *[{**witness.input, "seconds": 0.05}] * 10):
        assert nodes.wait_for(job)["status"] == "completed"
    assert _passed(nodes, "completed") == 0
