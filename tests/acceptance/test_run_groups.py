"""Brief jobs that share a message: each is claimed, logged, cancelled, failed and rescued as one with its own."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import pytest
import redis

from ava import settings
from ava.broker.celery_app import make_app
from ava.domain.ids import encode
from ava.domain.jobs.messages import MAX_RUNS
from harness.polling import wait_until
from harness.running_process import RunningProcess
from harness.system import System
from tests.acceptance import groups
from tests.acceptance.conftest import on_redis
from tests.acceptance.groups import JOBS, LATE
from tests.acceptance.ids import uuids
from tests.acceptance.witness import Witness

# What a claim, an end and a loss are is in the database; `test_faults` kills processes and nodes on RabbitMQ too.
pytestmark = on_redis
WORKER = "wkr_t_brief"
#: Of nodes that are killed; `_once`: with `on_worker_lost="fail"`.
KILLED = "wkr_t_killed"
#: The number of one that is more urgent than all of them.
URGENT = JOBS
#: Those of the node.
PROCESSES = 2
#: A time-out of two seconds with half a second of grace, and a long one without any.
SHORT, LONG = "wkr_t_gil", "wkr_t_gil_long"
#: Seconds for which a handler holds the GIL: longer than any time-out here, and no more than a grace.
FOREVER, WHILE = 60, 5
_ENDS = """SELECT j.id::text, j.status, j.error, j.attempt, j.output,
    (SELECT array_agg(l.msg ORDER BY l.seq) FROM job_lines AS l WHERE l.tenant_id = j.tenant_id AND l.job_id = j.id)
FROM jobs AS j WHERE j.id = ANY(%s::uuid[])"""


@pytest.fixture(scope="module")
def _groups(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    with groups.started(
        tmp_path_factory.mktemp("groups"),
        database_url=module_database_url,
        broker_url=module_broker_url,
        workers=(WORKER, SHORT, LONG, KILLED, f"{KILLED}_once"),
    ) as system:
        yield system


@pytest.fixture(scope="module")
def node(_groups: System) -> RunningProcess:
    """A node of two processes."""
    handlers = "tests.acceptance.grouped_handlers"
    return groups.start_node(_groups, handlers=handlers, processes=PROCESSES, queue="default")


@pytest.fixture
def system(_groups: System, node: RunningProcess) -> System:
    """That node, and a dispatcher that knows the worker's jobs as brief."""
    return _groups


def _messages(system: System, node: RunningProcess) -> int:
    """Returns the number of messages that the node has taken."""
    app = make_app(settings.load(system.environ))
    try:
        found = app.control.inspect(timeout=5).stats().values()
        (stats,) = (each for each in found if each["pid"] == node.pid)
    finally:
        app.close()
    return int(stats["total"].get("ava.run_job", 0))


def _run(system: System, witness: Witness, changes: dict[int, dict[str, Any]] | None = None) -> list[str]:
    return groups.run_together(system, witness, WORKER, changes)


def _run_brief(system: System, witness: Witness) -> None:
    """Have both processes run jobs without a wait, so that they know the handler as brief."""
    ids = _run(system, witness)
    groups.await_others(system, ids)
    witness.path.unlink()


def test_several_jobs_share_a_message_and_each_has_its_own_end_and_lines(
    system: System, node: RunningProcess, witness: Witness
) -> None:
    before = _messages(system, node)
    ids = _run(system, witness, {LATE: {"fails": True}})
    wait_until(lambda: "queued" not in (now := groups.statuses(system, ids)) and "running" not in now, seconds=60)
    assert _messages(system, node) - before < JOBS
    assert sorted(map(int, witness.words)) == list(range(JOBS))
    found = {
        encode("job", id_): (status, error, attempt, output, lines)
        for id_, status, error, attempt, output, lines in system.query(_ENDS, uuids(ids))
    }
    for number, id_ in enumerate(ids):
        status, error, attempt, output, lines = found[id_]
        if number == LATE:
            assert (status, error) == ("failed", "ValueError: on purpose")
            continue
        assert (status, output, attempt) == ("completed", {"number": number}, 1)
        assert [line.partition(" ")[0] for line in lines] == ["Worker", "done", "Handler"]


def test_a_slow_job_requeues_the_rest_of_its_group(system: System, witness: Witness, tmp_path: Path) -> None:
    go = tmp_path / "go"
    ids = _run(system, witness, {LATE: {"until": str(go)}})
    groups.await_others(system, ids, LATE)
    assert system.show(ids[LATE])["status"] == "running"
    go.touch()
    system.wait_for(ids[LATE], "completed")
    assert sorted(map(int, witness.words)) == list(range(JOBS))


def test_groups_make_way_for_a_more_urgent_job(system: System, witness: Witness, tmp_path: Path) -> None:
    _run_brief(system, witness)
    go = tmp_path / "go"
    # Not from the first, because the API may publish some alone before it reads of the pause.
    ids = _run(system, witness, {number: {"until": str(go)} for number in range(LATE, JOBS)})
    wait_until(lambda: sum(int(word) >= LATE for word in witness.words) == PROCESSES, what="each is in a message")
    before = len(witness.words)
    urgent = system.trigger(WORKER, input={**witness.input, "number": URGENT}, priority=1)["id"]
    # It is marked as published before its message is sent. kombu's list of the most urgent messages has no suffix.
    with redis.Redis.from_url(system.broker_url) as broker:
        wait_until(lambda: broker.llen("default"), what="the message of the urgent job waits in the broker")
    go.touch()
    system.wait_for(urgent, "completed")
    # Each process runs what it has begun, and looks before it begins the next one.
    assert witness.words.index(str(URGENT)) <= before + 3 * PROCESSES
    groups.await_others(system, ids)
    assert sorted(map(int, witness.words)) == list(range(JOBS + 1))


def test_a_cancel_stops_the_job_of_a_group_that_runs_and_no_other(
    system: System, witness: Witness, tmp_path: Path
) -> None:
    ids = _run(system, witness, {LATE: {"until": str(tmp_path / "never")}})
    witness.wait_for(str(LATE))
    system.cancel(ids[LATE])
    # The node asks the database at once; nothing ends the handler by itself.
    system.wait_for(ids[LATE], "cancelled", seconds=10)
    groups.await_others(system, ids, LATE)
    assert sorted(map(int, witness.words)) == list(range(JOBS))


def test_a_cancel_of_a_claimed_job_before_its_turn_keeps_its_handler_from_running(
    system: System, witness: Witness, tmp_path: Path
) -> None:
    _run_brief(system, witness)
    go = tmp_path / "go"
    ids = _run(system, witness, {number: {"until": str(go)} for number in range(LATE, JOBS)})
    wait_until(lambda: sum(int(word) >= LATE for word in witness.words) == 2, what="both processes are busy")
    begun = set(map(int, witness.words))
    claimed = [n for n, status in enumerate(groups.statuses(system, ids)) if status == "running" and n not in begun]
    assert claimed, "others are claimed together with the two that run"
    for number in claimed:
        assert system.cancel(ids[number]).ok
    go.touch()
    wait_until(lambda: set(groups.statuses(system, ids)) <= {"completed", "cancelled"}, seconds=60)
    assert {system.show(ids[number])["status"] for number in claimed} == {"cancelled"}
    assert not set(map(str, claimed)) & set(witness.words)


def test_a_killed_process_repeats_only_its_current_run(system: System, witness: Witness, tmp_path: Path) -> None:
    go = tmp_path / "go"
    ids = _run(system, witness, {LATE: {"until": str(go)}})
    killed = witness.wait_for(str(LATE))
    os.kill(killed.pid, signal.SIGKILL)
    go.touch()
    groups.await_others(system, ids)
    runs = Counter(map(int, witness.words))
    assert set(runs) == set(range(JOBS))
    assert runs[LATE] == 2
    # The parent has written the buffered ends of its earlier runs.
    assert [number for number, count in runs.items() if count > 1] == [LATE]
    assert "Handler lost: the worker process died (signal 9)" in system.messages(ids[LATE])


def _run_until(system: System, witness: Witness, worker_id: str, queue: str, go: Path) -> tuple[list[str], list[int]]:
    """Have two processes run jobs until each waits for `go`. Returns the ids, and the numbers that they run then."""
    ids = groups.run_together(
        system, witness, worker_id, {n: {"until": str(go)} for n in range(LATE, JOBS)}, queue=queue
    )

    def running() -> list[int]:
        return [int(word) for word in witness.words if int(word) >= LATE]

    wait_until(lambda: len(running()) == PROCESSES, seconds=60, what="both processes wait")
    return ids, running()


def test_a_killed_node_repeats_few_runs_and_reports_no_ended_one_as_lost(system: System, tmp_path: Path) -> None:
    go = tmp_path / "go"
    shared, once = Witness(tmp_path / "shared"), Witness(tmp_path / "once")
    handlers = "tests.acceptance.grouped_handlers"
    nodes = [
        groups.start_node(system, handlers=handlers, processes=PROCESSES, queue=queue)
        for queue in ("killed_once", "killed")
    ]
    of_once, lost = _run_until(system, once, f"{KILLED}_once", "killed_once", go)
    of_shared, running = _run_until(system, shared, KILLED, "killed", go)
    killed = {word.pid for word in shared.read()}
    for node in nodes:
        # The parent must not write what its dead processes have buffered.
        node.send(signal.SIGSTOP)
        for process in node.children:
            process.kill()
        node.kill()
    go.touch()
    for queue in ("killed_once", "killed"):
        groups.start_node(system, handlers=handlers, processes=PROCESSES, queue=queue)
    groups.await_others(system, of_shared)
    groups.await_others(system, of_once, *lost)
    # Each job ran, and each process repeats its current run and those whose ends it had buffered.
    runs = Counter(map(int, shared.words))
    assert set(runs) == set(range(JOBS))
    assert max(runs.values()) == 2
    first = {int(word.word): word.pid for word in reversed(shared.read())}
    again = Counter(first[number] for number, count in runs.items() if count > 1)
    assert set(again) == killed
    assert max(again.values()) <= MAX_RUNS + 1
    assert all(runs[number] == 2 for number in running)
    # Ends that are not shared are written before the next run begins.
    wait_until(lambda: "running" not in groups.statuses(system, of_once), seconds=60)
    assert [n for n, status in enumerate(groups.statuses(system, of_once)) if status != "completed"] == sorted(lost)
    assert max(Counter(once.words).values()) == 1


# The current run -------------------------------------------------------------------------------------------------
# A stop, a time-out or a kill reaches a process for the run alone that it has, although code of it holds the GIL. What
# had returned is not run again, what had not begun goes back without a loss.


@pytest.fixture(scope="module")
def _gil_node(_groups: System) -> RunningProcess:
    """A node of one process."""
    return groups.start_node(_groups, handlers="tests.acceptance.gil_handlers", processes=1, queue="gil")


@pytest.fixture
def gil(_groups: System, _gil_node: RunningProcess) -> System:
    """That node, without jobs of tests before."""
    _groups.query("DELETE FROM jobs WHERE status NOT IN ('queued', 'running')")
    return _groups


def _run_gil(gil: System, witness: Witness, worker_id: str, changes: dict[int, dict[str, Any]]) -> list[str]:
    """Have jobs published together for a process that knows the handler as brief. Returns their ids."""
    ids = groups.run_together(gil, witness, worker_id, queue="gil")
    groups.await_others(gil, ids)
    witness.path.unlink()
    gil.query("DELETE FROM jobs")
    return groups.run_together(gil, witness, worker_id, changes, queue="gil")


def _losses(gil: System, ids: list[str]) -> dict[int, int]:
    """Returns the losses of the jobs that have any, by their numbers."""
    found = dict(gil.query("SELECT input->>'number', losses FROM jobs WHERE input->>'number' IS NOT NULL"))
    assert len(found) == len(ids)
    return {int(number): losses for number, losses in found.items() if losses}


def _assert_each_ran_once(witness: Witness, *, but: Set[int] = frozenset()) -> None:
    runs = Counter(map(int, witness.words))
    assert set(runs) == set(range(JOBS)) - but
    assert max(runs.values()) == 1, runs.most_common(20)


def test_a_job_that_holds_the_gil_past_its_time_out_costs_no_other_of_its_claim_anything(
    gil: System, witness: Witness
) -> None:
    ids = _run_gil(gil, witness, SHORT, {LATE: {"holds": FOREVER}})
    assert gil.wait_for(ids[LATE], seconds=60)["error"] == "Timeout: exceeded 2 s"
    groups.await_others(gil, ids, LATE)
    _assert_each_ran_once(witness)
    assert _losses(gil, ids) == {}


def test_no_process_is_killed_for_a_job_that_is_cancelled_while_it_waits_in_a_claim(
    gil: System, witness: Witness, tmp_path: Path
) -> None:
    ids = _run_gil(gil, witness, LONG, {LATE: {"holds": WHILE, "holding": str(tmp_path / "holding")}})
    wait_until((tmp_path / "holding").exists, seconds=60)
    begun = {int(word) for word in witness.words}
    claimed = [n for n, status in enumerate(groups.statuses(gil, ids)) if status == "running" and n not in begun]
    assert claimed, "others are claimed together with it"
    assert gil.cancel(ids[claimed[0]]).ok
    groups.await_others(gil, ids, claimed[0])
    assert gil.wait_for(ids[claimed[0]])["status"] == "cancelled"
    _assert_each_ran_once(witness, but={claimed[0]})
    assert _losses(gil, ids) == {}
    assert len({word.pid for word in witness.read()}) == 1


def test_a_process_that_stands_still_between_two_runs_is_killed_and_no_run_is_lost(
    gil: System, witness: Witness
) -> None:
    ids = _run_gil(gil, witness, SHORT, {LATE: {"holds_late": FOREVER}})
    assert gil.wait_for(ids[LATE], seconds=60)["error"] == "ValueError: on purpose"
    groups.await_others(gil, ids, LATE)
    _assert_each_ran_once(witness)
    assert _losses(gil, ids) == {}
    assert len({word.pid for word in witness.read()}) == 2


def test_a_run_that_is_lost_before_a_line_of_it_is_stored_has_its_first_line(
    gil: System, witness: Witness, tmp_path: Path
) -> None:
    holding = tmp_path / "holding"
    ids = _run_gil(gil, witness, LONG, {LATE: {"holds": 1, "holding": str(holding)}})
    wait_until(holding.exists, seconds=60)
    os.kill(witness.wait_for(str(LATE)).pid, signal.SIGKILL)
    groups.await_others(gil, ids)
    assert gil.messages(ids[LATE])[:2] == ["Worker handler started", "Handler lost: the worker process died (signal 9)"]
    assert _losses(gil, ids) == {LATE: 1}
    again = Counter(map(int, witness.words))
    assert [number for number, count in again.items() if count > 1] == [LATE]


def test_a_process_is_not_killed_for_the_job_before_while_its_next_one_holds_the_gil(
    gil: System, witness: Witness
) -> None:
    entries = [
        {"worker_id": LONG, "input": {**witness.input, "number": number, "holds": WHILE if number == 7 else 0}}
        for number in range(14)
    ]
    for _ in range(2):
        witness.path.unlink(missing_ok=True)
        # Each has a message of its own, because there are few.
        ids = [job["id"] for job in gil.post("/v1/ava/jobs/bulk", json={"jobs": entries}).json()["data"]]
        for job_id in ids:
            assert gil.wait_for(job_id)["status"] == "completed"
        assert Counter(map(int, witness.words)) == Counter(range(14))
        assert len({word.pid for word in witness.read()}) == 1


def test_the_time_out_that_a_tenant_has_set_holds_for_code_that_holds_the_gil(gil: System, witness: Witness) -> None:
    worker = f"/v1/ava/workers/{LONG}"
    assert gil.request("PATCH", worker, json={"timeout_seconds": 1}).ok
    try:
        job = gil.trigger(LONG, input={**witness.input, "number": 0, "holds": FOREVER})
        began = time.monotonic()
        assert gil.wait_for(job["id"], seconds=60)["error"] == "Timeout: exceeded 1 s"
        assert time.monotonic() - began < FOREVER / 2
    finally:
        assert gil.request("PATCH", worker, json={"timeout_seconds": None}).ok
