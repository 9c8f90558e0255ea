"""The memory of runs: a run that takes more than its worker allows ends, and no other one does."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from harness.busy import busy_factor
from harness.control_groups import GroupRefused, memory_group
from harness.polling import wait_until
from harness.system import System
from tests.acceptance.conftest import on_redis, running_system
from tests.acceptance.ids import uuids
from tests.acceptance.memory_handlers import LIMIT_MB

# Memory is the node's and the child's.
pytestmark = on_redis
HANDLERS = "tests.acceptance.memory_handlers"
EXCEEDED = re.compile(rf"MemoryExceeded: (\d+) of {LIMIT_MB} MiB")


@pytest.fixture(scope="module")
def system(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    start = {"concurrency": 2, "environ": {"AVA_HANDLERS": HANDLERS}}
    folder = tmp_path_factory.mktemp("memory")
    with running_system(folder, module_database_url, module_broker_url, **start) as running:
        yield running


def run(system: System, worker: str, **payload: Any) -> dict[str, Any]:
    job = system.trigger(f"wkr_m_{worker}", input=payload)
    return system.wait_for(job["id"])


def exceed(system: System, worker: str, **payload: Any) -> dict[str, Any]:
    """Run a job that takes more than it may. Returns its record."""
    record = run(system, worker, **payload)
    assert record["status"] == "failed", record
    found = EXCEEDED.fullmatch(record["error"])
    assert found is not None, record
    assert int(found[1]) > LIMIT_MB
    assert record["attempt"] == 1
    # Nothing of it is left, and the process, or another one, goes on.
    assert run(system, "takes")["status"] == "completed"
    return record


@pytest.mark.parametrize(
    ("worker", "payload"), [("grows", {}), ("subprocess", {}), ("grows_async", {"mb": LIMIT_MB + 20})]
)
def test_a_run_above_its_memory_ends(system: System, worker: str, payload: dict[str, Any]) -> None:
    exceed(system, worker, **payload)


def test_one_that_does_not_stop_ends_within_two_seconds_of_its_limit(system: System) -> None:
    record = exceed(system, "grows", swallows=True)
    # At 100 MB a second, from about 65 MiB that an empty run takes.
    above_after = (LIMIT_MB - 65) / 95
    assert record["duration_ms"] / 1000 < (above_after + 2) * busy_factor(), record
    assert any(re.search(r"stopped: \d+ of 256 MiB", message) for message in system.messages(record["id"]))


def test_a_killed_run_says_so_in_its_log_and_what_it_has_used(system: System) -> None:
    record = exceed(system, "jumps")
    assert re.fullmatch(r"Handler failed after \d+ms \(its process was killed\)", system.messages(record["id"])[-1])
    # The first look may come while it still takes memory.
    assert record["usage"]["peak_memory_mb"] > LIMIT_MB, record
    assert record["usage"]["cpu_ms"] > 0


@pytest.mark.parametrize("worker", ["repeated", "repeated_killed"])
def test_exceeded_memory_is_an_error_that_retry_on_may_name(system: System, worker: str) -> None:
    record = run(system, worker)
    assert (record["status"], record["attempt"], record["output"]) == ("completed", 2, 2), record


def test_what_other_runs_keep_in_a_process_does_not_stop_a_run_with_a_limit(system: System) -> None:
    """Otherwise a job would fail because of what a job of another tenant has left in the process."""
    pids = set[int]()
    # Until both processes have kept something.
    for _ in range(6):
        record = run(system, "keeps", mb=LIMIT_MB)
        assert record["status"] == "completed", record
        pids.add(record["output"])
        if len(pids) == 2:
            break
    taken = [run(system, "takes", mb=60, seconds=1.2) for _ in range(2)]
    assert [record["status"] for record in taken] == ["completed"] * 2, taken


def test_a_run_above_its_memory_stops_no_brief_job_beside_it(system: System) -> None:
    jobs = system.post(
        "/v1/ava/jobs/bulk",
        json={"jobs": [{"worker_id": "wkr_m_brief", "input": {"n": n}} for n in range(100)]
              + [{"worker_id": "wkr_m_jumps", "priority": 1} for _ in range(2)]},
    ).json()["data"]  # fmt: skip
    unfinished = "SELECT count(*) FROM jobs WHERE completed_at IS NULL"
    wait_until(lambda: system.query(unfinished) == [(0,)], seconds=60, what="all have ended")
    found = "SELECT output, losses FROM jobs WHERE worker_id = 'wkr_m_brief' AND id = ANY(%s::uuid[])"
    brief = system.query(found, uuids([job["id"] for job in jobs]))
    assert sorted(brief) == [(n, 0) for n in range(100)]
    assert all(EXCEEDED.fullmatch(system.show(job["id"])["error"]) for job in jobs[100:])


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"AVA_HANDLERS": "tests.acceptance.tiny_handlers"}, r"Worker 'tiny': max_memory_mb is 1; an empty run takes"),
        ({"AVA_MAX_MEMORY_MB": "1"}, r"AVA_MAX_MEMORY_MB: it is 1; an empty run takes"),
    ],
)
def test_a_node_refuses_less_than_an_empty_run_takes(system: System, environ: dict[str, str], reason: str) -> None:
    node = system.spawn("worker", "-c", "1", environ=environ)
    assert node.wait() != 0
    found = re.search(rf"{reason} (\d+) MiB in this node", node.output)
    assert found is not None, node.output
    assert int(found[1]) > 30


def test_a_nodes_own_limit_holds_for_workers_that_name_none(system: System) -> None:
    [first] = system.workers
    first.terminate()
    system.workers = []
    try:
        system.start_nodes(1, environ={"AVA_MAX_MEMORY_MB": "128"})
        assert run(system, "keeps", mb=10)["status"] == "completed"
        record = run(system, "keeps_long", mb=128)
        assert re.fullmatch(r"MemoryExceeded: \d+ of 128 MiB", record["error"]), record
        # A worker's own limit may be above it.
        assert run(system, "takes", mb=120, seconds=1.2)["status"] == "completed"
    finally:
        system.workers.pop().terminate()
        system.start_nodes(1, environ={"AVA_MAX_MEMORY_MB": ""})


def test_a_job_whose_process_the_kernel_kills_says_that_memory_was_short(system: System) -> None:
    try:
        with memory_group(500) as inside:
            [first] = system.workers
            first.terminate()
            system.workers = []
            with inside():
                system.start_nodes(1, concurrency=1)
            [node] = system.workers
            try:
                record = run(system, "fails_lost", mb=2000)
                assert record["error"] == "WorkerLost: killed by the kernel, out of memory", record
                # A kill of somebody else's is none of the kernel's.
                job = system.trigger("wkr_m_fails_lost", input={"mb": 1})
                system.wait_for(job["id"], "running")
                os.kill(node.children[0].pid, signal.SIGKILL)
                record = system.wait_for(job["id"])
                assert record["error"] == "WorkerLost: the worker process died (signal 9)", record
            finally:
                system.workers.pop().terminate()
                system.start_nodes(1)
    except GroupRefused as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("worker", ["repeated", "repeated_killed"])
def test_the_delays_that_a_tenant_has_set_hold_for_its_retries(system: System, worker: str) -> None:
    """`repeated_killed` is ended by its node, because its process was killed."""
    path = f"/v1/ava/workers/wkr_m_{worker}"
    retry = {"max": 1, "delays_seconds": [900], "jitter": 0}
    assert system.session.patch(f"{system.url}{path}", json={"retry": retry}).ok
    job = system.trigger(f"wkr_m_{worker}")
    waits = "SELECT extract(epoch FROM run_at - now())::float8 FROM jobs WHERE waits_for = 'retry'"
    found = wait_until(lambda: system.query(waits))
    assert 800 < found[0][0] < 901
    assert system.session.patch(f"{system.url}{path}", json={"retry": None}).ok
    assert system.post(f"/v1/ava/jobs/{job['id']}/cancel").ok


def test_a_job_says_what_its_run_has_used(system: System) -> None:
    record = run(system, "takes", cpu_seconds=0.4, mb=60, seconds=1.2)
    assert 400 <= record["usage"]["cpu_ms"] < 1_500, record
    assert 100 < record["usage"]["peak_memory_mb"] < LIMIT_MB
    assert record["usage"]["wait_ms"] >= 0
    (only,) = system.get(f"/v1/ava/jobs/{record['id']}/runs").json()["data"]
    assert {name: only[name] for name in record["usage"]} == record["usage"]
    # It ends before the first look.
    assert run(system, "brief", n=1)["usage"]["cpu_ms"] < 100
