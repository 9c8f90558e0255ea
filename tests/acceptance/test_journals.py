"""Handlers that make children, keep steps and wait, on real servers: their processes are free meanwhile, and killed.

A deploy may change the handler of a job that waits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.polling import wait_until
from harness.running_process import RunningProcess
from harness.system import System
from tests.acceptance.conftest import on_redis, running_system
from tests.acceptance.journal_handlers import STEPS
from tests.acceptance.witness import Witness
from tests.commands import ava

# Steps and waits are in the database.
pytestmark = on_redis
#: The places where a process is killed: around the effects of the first, of one between and of the last of the steps.
POINTS = [f"{where} {name}" for name in STEPS[::2] for where in ("before", "within", "after")]


@pytest.fixture(scope="module")
def system(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node of two processes."""
    start = {"environ": {"AVA_HANDLERS": "tests.acceptance.journal_handlers"}}
    folder = tmp_path_factory.mktemp("journals")
    with running_system(folder, module_database_url, module_broker_url, **start) as running:
        yield running


def _await(system: System, job_id: str, status: str = "completed", *, seconds: float = 60) -> dict[str, Any]:
    system.wait_for(job_id, status, seconds=seconds)
    return system.show(job_id)


def test_a_chord_continues_once_with_the_outputs_of_its_parts(system: System, witness: Witness) -> None:
    id_ = system.trigger("wkr_t_chord", input={**witness.input, "parts": 5})["id"]
    job = _await(system, id_)
    assert job["output"] == {"total": 100}
    assert witness.words == ["entered", "left", "entered", "left"]
    assert (job["attempt"], job["waiting_for"]) == (1, None)
    lines = system.messages(id_)
    assert lines[:2] == ["Worker handler started", "makes the parts"]
    assert "Handler waits for 5 jobs" in lines
    assert lines.count("makes the parts") == 1
    assert "Handler continues" in lines
    assert lines[-2] == "adds up"
    children = system.query("SELECT trigger, parent_id::text, status FROM jobs WHERE parent_id IS NOT NULL")
    assert Counter((trigger, status) for trigger, _, status in children)["event", "completed"] >= 5


def test_jobs_that_wait_hold_no_process(system: System, witness: Witness) -> None:
    naps = [system.trigger("wkr_t_nap", input={**witness.input, "seconds": 4.0})["id"] for _ in range(6)]
    wait_until(lambda: witness.words.count("entered") == 6, what="all have been entered, on two processes")
    assert "awake" not in witness.words
    wait_until(lambda: system.show(naps[0])["waiting_for"], what="the first has left its process")
    record = system.show(naps[0])
    assert (record["status"], record["started_at"]) == ("queued", None)
    assert record["waiting_for"]["until"] is not None
    part = system.trigger("wkr_t_part", input={"n": 1})["id"]
    assert _await(system, part, seconds=15)["output"] == 10
    for nap in naps:
        assert _await(system, nap)["output"] == "rested"


def test_a_job_has_one_duration_wherever_it_is_shown(system: System) -> None:
    """Its last attempt began with a run before a sleep, and ended with one after it; so did the failed attempt."""
    id_ = system.trigger("wkr_t_doze")["id"]
    job = _await(system, id_)
    ran = job["duration_ms"]
    assert 100 <= ran < 1000
    total = round((datetime.fromisoformat(job["completed_at"]) - began_at(job)).total_seconds() * 1000)
    assert total >= 1000 + ran
    runs = system.get(f"/v1/ava/jobs/{id_}/runs").json()["data"]
    assert [(run["attempt"], run["outcome"]) for run in runs] == [
        (1, "waits"), (1, "failed"), (2, "waits"), (2, "completed"),
    ]  # fmt: skip
    assert sum(run["duration_ms"] for run in runs if run["attempt"] == 2) == ran
    failed, closing = (line for line in system.messages(id_) if re.match("Handler (failed|completed)", line))
    shown = re.fullmatch(r"Handler completed in (\d+)ms, (\d+)ms with its waits", closing)
    assert shown
    assert int(shown[1]) == ran
    # The times of a record are truncated to milliseconds.
    assert abs(int(shown[2]) - total) <= 1
    first = sum(run["duration_ms"] for run in runs if run["attempt"] == 1)
    assert failed.startswith(f"Handler failed after {first}ms, ")
    (listed,) = system.get("/v1/ava/jobs", params={"filter[worker_id]": "wkr_t_doze"}).json()["data"]
    (in_tree,) = system.get(f"/v1/ava/jobs/{id_}/tree").json()["data"]["jobs"]
    assert (listed["duration_ms"], in_tree["duration_ms"]) == (ran, ran)
    assert f"after {ran} ms" in system.get(f"/v1/ava/jobs/{id_}/why").json()["data"]["sentence"]
    entries = system.get(f"/v1/ava/jobs/{id_}/journal").json()["data"]
    assert [(entry["name"], entry["state"]) for entry in entries] == [("attempt 1", "done"), ("attempt 2", "done")]
    for_people = f"{ran} ms of {total / 1000:,.1f} s"
    assert for_people in ava(system, "jobs", "show", id_, "-o", "table").stdout
    assert for_people in ava(system, "jobs", "list", "--worker", "wkr_t_doze", "-o", "wide").stdout
    assert for_people in ava(system, "jobs", "tree", id_, "-o", "wide").stdout
    wait_until(lambda: _average(system, "wkr_t_doze") == ran, what=lambda: f"{_average(system, 'wkr_t_doze')} is {ran}")
    own = {"x-tenant-id": "ten_doze"}
    other = system.post("/v1/ava/jobs", json={"worker_id": "wkr_t_doze"}, headers=own).json()["data"]["id"]
    path = f"/v1/ava/jobs/{other}"
    wait_until(
        lambda: system.get(path, headers=own).json()["data"]["status"] == "completed", seconds=60, what="it ends"
    )
    latency = system.get("/v1/ava/overview", headers=own).json()["data"]["latency"]
    # The percentile is rounded to 0.1 ms, and each run's part of `duration_ms` is truncated to milliseconds.
    assert 0 <= latency["run_p50_ms"] - system.get(path, headers=own).json()["data"]["duration_ms"] <= 1


def began_at(job: dict[str, Any]) -> datetime:
    """Return the start of a job that has started."""
    return datetime.fromisoformat(job["started_at"])


def _average(system: System, worker_id: str) -> int | None:
    found = system.get("/v1/ava/analytics", params={"filter[worker_id]": worker_id}).json()["data"]["jobs"]
    average: int | None = found["avg_duration_ms"]
    return average


@pytest.mark.parametrize("once", ["at_least", "at_most"])
def test_a_killed_process_repeats_at_most_the_step_that_was_under_way(
    system: System, tmp_path: Path, once: str
) -> None:
    witnesses = {point: Witness(tmp_path / point.replace(" ", "-")) for point in POINTS}
    jobs = {
        point: system.trigger("wkr_t_steps", input={**witness.input, "once": once, "kill_at": point})["id"]
        for point, witness in witnesses.items()
    }
    for point, id_ in jobs.items():
        where, _, name = point.partition(" ")
        taken = Counter(witnesses[point].words)
        is_interrupted = once == "at_most" and where != "after"
        job = _await(system, id_, "failed" if is_interrupted else "completed", seconds=120)
        taken = Counter(witnesses[point].words)
        if is_interrupted:
            assert job["error"].startswith("StepInterrupted: "), point
            assert max(taken.values(), default=1) == 1, point
            continue
        assert job["output"] == list(STEPS), point
        repeated = {f"{name}:{id_}:{name}"} if where == "within" else set()
        assert {word for word, count in taken.items() if count > 1} == repeated, point
        assert set(taken) == {f"{step}:{id_}:{step}" for step in STEPS}, point


def test_a_handler_returns_a_child_and_what_its_waits_returned(system: System) -> None:
    output = _await(system, system.trigger("wkr_t_returns_outputs")["id"])["output"]
    assert (output["one"], output["map"]) == ([10], [10 * n for n in range(120)])
    assert output["child"]["status"] == "completed"
    assert system.show(output["child"]["id"])["worker_id"] == output["child"]["worker_id"]


@pytest.mark.parametrize("kill_at", ["", "before one", "within two"])
def test_a_handler_gets_each_event_that_it_waits_for_whatever_is_killed(
    system: System, witness: Witness, kill_at: str
) -> None:
    order = f"order {kill_at}"
    data = {**witness.input, "order": order, "payments": 3, "kill_at": kill_at}
    jobs = [system.trigger("wkr_t_payments", input=data)["id"]]
    # One that waits for the same events, and has come to its wait before any is sent.
    jobs.append(system.trigger("wkr_t_payments", input={**data, "kill_at": ""})["id"])
    wait_until(lambda: system.show(jobs[1])["waiting_for"] is not None, what="it waits")
    for payment in ("one", "two", "three"):
        for event in ({"order": "another", "payment": "none"}, {"order": order, "payment": payment}):
            response = system.post("/v1/ava/events", json={"type": "t.paid", "data": event})
            assert response.status_code == 201, response.text
    for job_id in jobs:
        job = _await(system, job_id, seconds=120)
        assert (job["output"], job["error"]) == (["one", "two", "three"], None)
    repeated = {"two"} if kill_at == "within two" else set()
    assert {word for word, count in Counter(witness.words).items() if count > 2} == repeated


@pytest.mark.parametrize("kill_at", ["", "before the request", "after the decision"])
def test_a_decision_reaches_its_job_whatever_is_killed(system: System, witness: Witness, kill_at: str) -> None:
    job_id = system.trigger("wkr_t_approved", input={**witness.input, "kill_at": kill_at})["id"]
    path = f"/v1/ava/approvals?filter[job_id]={job_id}"
    (asked,) = wait_until(lambda: system.get(path).json()["data"], what="it asks")
    wait_until(lambda: system.show(job_id)["waits_for"] == "approval", what="it has left its process")
    assert system.show(job_id)["waiting_for"]["approval"] == asked["id"]
    body = {"payload_hash": asked["payload_hash"], "data": {"n": 2}}
    headers = {"x-user-id": "usr_another"}
    response = system.post(f"/v1/ava/approvals/{asked['id']}/approve", json=body, headers=headers)
    assert response.status_code == 200, response.text
    job = _await(system, job_id, seconds=120)
    assert job["output"] == {"approved": True, "data": {"n": 2}, "by": ["usr_another"]}
    assert (len(system.get(path).json()["data"]), witness.words.count("acted")) == (1, 1)


def test_an_event_that_does_not_come_in_time_fails_its_job_and_holds_no_process(
    system: System, witness: Witness
) -> None:
    data = {**witness.input, "order": "unpaid", "payments": 1, "timeout": 1.5}
    job = _await(system, system.trigger("wkr_t_payments", input=data)["id"], "failed")
    assert job["error"] == "WaitTimeout: The event 'payment 0' did not arrive within 1.5 s."
    assert "Handler waits for an event, at most 1.5 s" in system.messages(job["id"])


# A deploy -----------------------------------------------------------------------------------------------------------

_BEFORE = """
from ava import worker
from tests.acceptance.witness import record

def effect(input, name):
    record(input, "old:" + name)
    return name

@worker("t_release", queue="deploys")
def release(input, env):
    env.step("build", effect, input, "build")
    env.step("check", effect, input, "check")
    env.step("dropped", effect, input, "dropped")
    children = [env.trigger("t_piece", {"n": n}, key=f"piece {n}") for n in range(2)]
    env.wait(*children, env.trigger("t_release_gate", input, key="approval"))
    env.step("publish", effect, input, "publish")

@worker("t_piece", queue="deploys")
def piece(input, env):
    return input["n"]

@worker("t_release_gate", queue="deploys")
def gate(input, env):
    env.sleep(input["seconds"])
"""
#: `check` comes first and `build` is called `compile`; `sign` is new, `dropped` is gone, and there is one more child.
_AFTER = """
from ava import worker
from tests.acceptance.witness import record

def effect(input, name):
    record(input, "new:" + name)
    return name

@worker("t_release", queue="deploys")
def release(input, env):
    found = [env.step("check", effect, input, "check")]
    found.append(env.step("sign", effect, input, "sign"))
    found.append(env.step("compile", effect, input, "compile", was=["build"]))
    approval = env.trigger("t_release_gate", input, key="gate", was=["approval"])
    children = [env.trigger("t_piece", {"n": n}, key=f"piece {n}") for n in (2, 1, 0)]
    outputs = env.wait(*children, approval)
    found.append(env.step("publish", effect, input, "publish"))
    return {"steps": found, "outputs": list(outputs)}

@worker("t_piece", queue="deploys")
def piece(input, env):
    return input["n"]

@worker("t_release_gate", queue="deploys")
def gate(input, env):
    env.sleep(input["seconds"])
"""


def test_a_job_that_waits_continues_with_steps_renamed_reordered_added_and_removed(
    system: System, witness: Witness, tmp_path: Path
) -> None:
    """The handler that continues is another one than the handler that began."""
    module = tmp_path / "released_handlers.py"
    module.write_text(_BEFORE)
    node = _start_deployed(system, tmp_path)
    job = system.trigger("wkr_t_release", input={**witness.input, "seconds": 4})["id"]
    wait_until(lambda: system.show(job)["waiting_for"] is not None, what=lambda: str(system.show(job)))
    node.kill()
    system.workers.remove(node)
    module.write_text(_AFTER)
    node = _start_deployed(system, tmp_path)
    found = _await(system, job, seconds=90)
    assert found["output"] == {"steps": ["check", "sign", "build", "publish"], "outputs": [2, 1, 0, None]}
    # What the old handler has done is not done again, also under another name.
    assert witness.words == ["old:build", "old:check", "old:dropped", "new:sign", "new:publish"]
    tree = system.get(f"/v1/ava/jobs/{job}/tree").json()["data"]["jobs"]
    assert sorted(each["name"] for each in tree if each["parent_id"] == job) == [
        "approval", "piece 0", "piece 1", "piece 2",
    ]  # fmt: skip
    assert found["attempt"] == 1
    system.workers.remove(node)
    assert node.terminate() == 0


def _start_deployed(system: System, folder: Path) -> RunningProcess:
    """Start a node of the handlers that are in the folder, beside the others."""
    python_path = f"{folder}:{system.environ['PYTHONPATH']}"
    environ = {"AVA_HANDLERS": "released_handlers", "PYTHONPATH": python_path}
    node = system.spawn("worker", "-c", "2", "-q", "deploys", environ=environ)
    system.workers.append(node)
    system.await_workers()
    return node
