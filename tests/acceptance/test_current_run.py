"""A stop, a time-out or a kill reaches a process for the run alone that it has, although code of it holds the GIL.

What had returned is not run again, what had not begun goes back without a loss.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path

import pytest

from harness.polling import wait_until
from harness.system import System
from tests.acceptance import groups
from tests.acceptance.conftest import on_redis
from tests.acceptance.groups import JOBS, LATE
from tests.acceptance.witness import Witness

#: A time-out of two seconds with half a second of grace, and a long one without any.
SHORT, LONG = "wkr_t_gil", "wkr_t_gil_long"
#: Seconds for which a handler holds the GIL: longer than any time-out here, and no more than a grace.
FOREVER, WHILE = 60, 5


@pytest.fixture(scope="module")
def system(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node of one process."""
    with groups.started(
        tmp_path_factory.mktemp("current"),
        database_url=module_database_url,
        broker_url=module_broker_url,
        handlers="tests.acceptance.gil_handlers",
        workers=(SHORT, LONG),
        processes=1,
    ) as system:
        yield system


def _run_brief(system: System, witness: Witness, worker_id: str) -> None:
    """Have the process run jobs without a wait, so that it knows the handler as brief."""
    ids = groups.run_together(system, witness, worker_id)
    groups.await_others(system, ids)
    witness.path.unlink()


def _losses(system: System, ids: list[str]) -> dict[int, int]:
    """Returns the losses of the jobs that have any, by their numbers."""
    found = dict(system.query("SELECT input->>'number', losses FROM jobs WHERE input->>'number' IS NOT NULL"))
    assert len(found) == len(ids)
    return {int(number): losses for number, losses in found.items() if losses}


@pytest.fixture
def no_jobs(system: System) -> None:
    system.query("DELETE FROM jobs WHERE status NOT IN ('queued', 'running')")


def _assert_each_ran_once(witness: Witness, *, but: Set[int] = frozenset()) -> None:
    runs = Counter(map(int, witness.words))
    assert set(runs) == set(range(JOBS)) - but
    assert max(runs.values()) == 1, runs.most_common(20)


@pytest.mark.usefixtures("no_jobs")
def test_a_job_that_holds_the_gil_past_its_time_out_costs_no_other_of_its_claim_anything(
    system: System, witness: Witness
) -> None:
    _run_brief(system, witness, SHORT)
    system.query("DELETE FROM jobs")
    ids = groups.run_together(system, witness, SHORT, {LATE: {"holds": FOREVER}})
    assert system.wait_for(ids[LATE], seconds=60)["error"] == "Timeout: exceeded 2 s"
    groups.await_others(system, ids, LATE)
    _assert_each_ran_once(witness)
    assert _losses(system, ids) == {}


@on_redis
@pytest.mark.usefixtures("no_jobs")
def test_no_process_is_killed_for_a_job_that_is_cancelled_while_it_waits_in_a_claim(
    system: System, witness: Witness, tmp_path: Path
) -> None:
    _run_brief(system, witness, LONG)
    system.query("DELETE FROM jobs")
    ids = groups.run_together(system, witness, LONG, {LATE: {"holds": WHILE, "holding": str(tmp_path / "holding")}})
    wait_until((tmp_path / "holding").exists, seconds=60)
    begun = {int(word) for word in witness.words}
    claimed = [n for n, status in enumerate(groups.statuses(system, ids)) if status == "running" and n not in begun]
    assert claimed, "others are claimed together with it"
    assert system.cancel(ids[claimed[0]]).ok
    groups.await_others(system, ids, claimed[0])
    assert system.wait_for(ids[claimed[0]])["status"] == "cancelled"
    _assert_each_ran_once(witness, but={claimed[0]})
    assert _losses(system, ids) == {}
    assert len({word.pid for word in witness.read()}) == 1


@pytest.mark.usefixtures("no_jobs")
def test_a_process_that_stands_still_between_two_runs_is_killed_and_no_run_is_lost(
    system: System, witness: Witness
) -> None:
    _run_brief(system, witness, SHORT)
    system.query("DELETE FROM jobs")
    ids = groups.run_together(system, witness, SHORT, {LATE: {"holds_late": FOREVER}})
    assert system.wait_for(ids[LATE], seconds=60)["error"] == "ValueError: on purpose"
    groups.await_others(system, ids, LATE)
    _assert_each_ran_once(witness)
    assert _losses(system, ids) == {}
    assert len({word.pid for word in witness.read()}) == 2


@on_redis
@pytest.mark.usefixtures("no_jobs")
def test_a_run_that_is_lost_before_a_line_of_it_is_stored_has_its_first_line(
    system: System, witness: Witness, tmp_path: Path
) -> None:
    _run_brief(system, witness, LONG)
    system.query("DELETE FROM jobs")
    holding = tmp_path / "holding"
    ids = groups.run_together(system, witness, LONG, {LATE: {"holds": 1, "holding": str(holding)}})
    wait_until(holding.exists, seconds=60)
    os.kill(witness.wait_for(str(LATE)).pid, signal.SIGKILL)
    groups.await_others(system, ids)
    assert system.messages(ids[LATE])[:2] == [
        "Worker handler started",
        "Handler lost: the worker process died (signal 9)",
    ]
    assert _losses(system, ids) == {LATE: 1}
    again = Counter(map(int, witness.words))
    assert [number for number, count in again.items() if count > 1] == [LATE]


@on_redis
@pytest.mark.usefixtures("no_jobs")
def test_a_process_is_not_killed_for_the_job_before_while_its_next_one_holds_the_gil(
    system: System, witness: Witness
) -> None:
    entries = [
        {"worker_id": LONG, "input": {**witness.input, "number": number, "holds": WHILE if number == 7 else 0}}
        for number in range(14)
    ]
    for _ in range(3):
        witness.path.unlink(missing_ok=True)
        # Each has a message of its own, because there are few.
        ids = [job["id"] for job in system.post("/v1/ava/jobs/bulk", json={"jobs": entries}).json()["data"]]
        for job_id in ids:
            assert system.wait_for(job_id)["status"] == "completed"
        assert Counter(map(int, witness.words)) == Counter(range(14))
        assert len({word.pid for word in witness.read()}) == 1


@on_redis
@pytest.mark.usefixtures("no_jobs")
def test_the_time_out_that_a_tenant_has_set_holds_for_code_that_holds_the_gil(system: System, witness: Witness) -> None:
    worker = f"/v1/ava/workers/{LONG}"
    assert system.request("PATCH", worker, json={"timeout_seconds": 1}).ok
    try:
        job = system.trigger(LONG, input={**witness.input, "number": 0, "holds": FOREVER})
        began = time.monotonic()
        assert system.wait_for(job["id"], seconds=60)["error"] == "Timeout: exceeded 1 s"
        assert time.monotonic() - began < FOREVER / 2
    finally:
        assert system.request("PATCH", worker, json={"timeout_seconds": None}).ok
