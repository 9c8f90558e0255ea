"""A process passes the place of a limit on, and runs the job that gets it: with its stop, its rescue and its limit."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from harness.polling import wait_until
from harness.system import System
from tests.acceptance.witness import Witness

ENVIRON = {"AVA_HANDLERS": "tests.acceptance.limited_handlers"}
WORKER = "wkr_t_limited"
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


def _pass_place_to(system: System, witness: Witness, **payload: Any) -> str:
    """Have a process run a job that has got the place of another. Returns the job."""
    system.start_nodes(1, concurrency=3, environ=ENVIRON)
    brief, held = {**witness.input, "seconds": 0.2}, {**witness.input, "seconds": 60}
    *_, last = _trigger(system, held, brief, {**witness.input, **payload})
    wait_until(lambda: _passed(system, "running") == 1, what="a place was passed")
    assert system.show(last)["status"] == "running"
    return last


def test_a_limit_is_kept_while_places_pass(nodes: System, witness: Witness) -> None:
    nodes.start_nodes(2, concurrency=2, environ=ENVIRON)
    jobs = _trigger(nodes, *[{**witness.input, "seconds": 0.02}] * 100)
    for job in jobs:
        assert nodes.wait_for(job)["status"] == "completed"
    running = most = 0
    for word in sorted(witness.read(), key=lambda word: word.at):
        running += 1 if word.word == "begin" else -1
        most = max(most, running)
    assert most == 2
    assert witness.words.count("done") == 100
    assert _passed(nodes, "completed") > 40
    # The processes take their turns at the broker again and again, so that no job waits behind all of them.
    assert _passed(nodes, "completed") < 98


def test_a_run_that_has_got_a_place_is_cancelled(nodes: System, witness: Witness) -> None:
    job_id = _pass_place_to(nodes, witness, seconds=60)
    assert nodes.cancel(job_id).status_code == 200
    record = nodes.wait_for(job_id)
    assert record["status"] == "cancelled"
    assert record["duration_ms"] < 30_000


def test_a_run_that_has_got_a_place_and_does_not_stop_is_killed(nodes: System, witness: Witness) -> None:
    job_id = _pass_place_to(nodes, witness, seconds=60, stubborn=True)
    pid = witness.read()[-1].pid
    assert nodes.cancel(job_id).status_code == 200
    assert nodes.wait_for(job_id)["status"] == "cancelled"
    wait_until(lambda: pid not in {child.pid for child in nodes.workers[0].children}, what="its process is replaced")
    assert witness.words.count("done") == 1


def test_a_run_that_has_got_a_place_is_rescued_when_its_process_dies(nodes: System, witness: Witness) -> None:
    job_id = _pass_place_to(nodes, witness, seconds=6)
    os.kill(witness.read()[-1].pid, signal.SIGKILL)
    # Its parent knows what the process ran, and need not find that out from the database.
    wait_until(lambda: "Run rescued from a dead process" in nodes.workers[0].output, seconds=5)
    assert nodes.wait_for(job_id)["status"] == "completed"
    assert sum("Handler lost" in message for message in nodes.messages(job_id)) == 1


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


@pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True)
def test_the_pool_of_celery_passes_no_place_on(nodes: System, witness: Witness) -> None:
    nodes.start_nodes(1, environ={**ENVIRON, "AVA_POOL": "celery"})
    for job in _trigger(nodes, *[{**witness.input, "seconds": 0.05}] * 10):
        assert nodes.wait_for(job)["status"] == "completed"
    assert _passed(nodes, "completed") == 0
