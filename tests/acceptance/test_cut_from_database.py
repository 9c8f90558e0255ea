"""A machine that is cut off from PostgreSQL alone: a node starts jobs once it is healed, and ends when it is asked to.

`ava doctor` says what is wrong there, soon. No pulled run is lost to an outage of the API, and the dispatcher finds a
dead worker's run after it.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from ava.domain.worker import PULLED_SILENT_SECONDS
from chaos.proxy import Proxy, proxy_to, through
from harness.polling import wait_until
from harness.running_process import RunningProcess, lives
from harness.system import System
from tests.acceptance.conftest import on_redis
from tests.acceptance.ids import uuids
from tests.acceptance.slot_system import await_ended, await_running, trigger_many

_HANDLERS = "workers,workers.sleep,tests.acceptance.handlers,tests.acceptance.slot_handlers"
#: Seconds within which a node ends: 1 s of drain, 10 s of grace, its last writes, on a busy machine.
_END_SECONDS = 30


_ENVIRON = {"AVA_HANDLERS": _HANDLERS, "AVA_DRAIN_SECONDS": "1"}


def _start(system: System, proxy: Proxy, *arguments: str) -> RunningProcess:
    node = system.spawn("worker", *arguments, environ=_ENVIRON | _urls(system, proxy))
    system.workers.append(node)
    system.await_workers()
    return node


def _urls(system: System, proxy: Proxy) -> dict[str, str]:
    return {"DATABASE_URL": through(proxy, system.database_url), "DATABASE_POOL_URL": ""}


def _fill(system: System) -> None:
    """Trigger brief jobs and long ones, more than the node runs while it is cut off.

    One is longer than a cut. There are so few that they never keep all processes busy for as long as the test waits.
    """
    seconds = [20 if n == 3 else 6 if n % 50 == 13 else 0.001 if n % 2 else 0.05 for n in range(500)]
    response = system.post(
        "/v1/ava/jobs/bulk",
        json={"jobs": [{"worker_id": "wkr_t_work", "input": {"seconds": each}, "priority": 9} for each in seconds]},
    )
    assert response.status_code == 201, response.text


def _completed(system: System) -> int:
    ((count,),) = system.query("SELECT count(*) FROM jobs WHERE status = 'completed'")
    return int(count)


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_node_that_was_cut_from_the_database_twice_starts_jobs_at_once(system: System) -> None:
    system.start(workers=0, environ={"AVA_NODE_DEAD_SECONDS": "6", "AVA_HEARTBEAT_SECONDS": "1"})
    with closing(proxy_to(system.database_url)) as proxy:
        _assert_jobs_start_after_two_cuts(system, proxy)
        system.stop()


def _assert_jobs_start_after_two_cuts(system: System, proxy: Proxy) -> None:
    node = _start(system, proxy, "-c", "3")
    for _ in range(2):
        _fill(system)
        before = _completed(system)
        wait_until(lambda before=before: _completed(system) > before + 20, what="jobs run")  # type: ignore[misc]
        proxy.cut()
        wait_until(lambda: "Database is unreachable" in node.output, what="the node notices")
        time.sleep(10)
        proxy.heal()
        before = _completed(system)
        wait_until(
            lambda before=before: _completed(system) > before + 20,  # type: ignore[misc]
            seconds=15,
            what=lambda: f"jobs run again:\n{node.output[-6000:]}",
        )
    assert "was taken by no job" not in node.output


def _assert_end(system: System, nodes: list[RunningProcess], number: signal.Signals) -> None:
    for node in nodes:
        node.send(number)
    for node in nodes:
        node.wait(_END_SECONDS)
        assert "Traceback" not in node.output
        system.workers.remove(node)


def _assert_jobs_run_elsewhere(system: System, ids: list[str]) -> None:
    system.start_nodes(0, environ=_ENVIRON)
    system.start_worker("--slots", "40", concurrency=1)
    assert {record["status"] for record in await_ended(system, ids)} == {"completed"}


@on_redis
def test_a_node_ends_although_no_end_of_a_run_can_be_written(nodes: System) -> None:
    # A closed proxy refuses connections, one that is cut accepts them and answers nothing, and `drop` loses packets.
    faults = (Proxy.close, Proxy.cut, Proxy.drop)
    with ExitStack() as proxies:
        cut = [proxies.enter_context(closing(proxy_to(nodes.database_url))) for _ in faults]
        started = [_start(nodes, proxy, "--slots", "5", "-c", "1") for proxy in cut]
        # As many as the nodes have slots and processes.
        ids = trigger_many(nodes, 15, worker_id="wkr_slot_sleep", input={"seconds": 3})
        ids += trigger_many(nodes, 3, worker_id="wkr_sleep", input={"seconds": 3})
        await_running(nodes, ids)
        for fault, proxy in zip(faults, cut, strict=True):
            fault(proxy)
        # The handlers return meanwhile.
        time.sleep(4)
        _assert_end(nodes, started, signal.SIGTERM)
    _assert_jobs_run_elsewhere(nodes, ids)


@on_redis
def test_runs_of_a_node_that_alone_is_cut_off_stop_before_they_run_elsewhere(nodes: System, tmp_path: Path) -> None:
    with closing(proxy_to(nodes.database_url)) as proxy:
        node = _start(nodes, proxy, "--slots", "40", "-c", "1")
        # Unlike the pool's parent, a slot process waits for a silent server without a limit.
        files = {worker_id: tmp_path / worker_id for worker_id in ("wkr_slot_tick", "wkr_process_tick")}
        ids = [
            nodes.trigger(worker_id, input={"seconds": 60, "path": str(file)})["id"]
            for worker_id, file in files.items()
        ]
        await_running(nodes, ids)
        proxy.cut()
        nodes.start_nodes(0, environ=_ENVIRON)
        nodes.start_worker("--slots", "40", concurrency=1, wait=False)
        for file in files.values():
            # Meanwhile the first run would be seen to continue.
            wait_until(lambda file=file: _seconds_elsewhere(file) > 2, seconds=60, what=f"{file.name} runs elsewhere")  # type: ignore[misc]
        for name, file in files.items():
            (_, (_, last)), (_, (first, _)) = _ticks(file).items()
            assert last < first, f"{name} ran in two processes for {last - first:.1f} s:\n{node.output[-3000:]}"
        for job_id in ids:
            assert nodes.cancel(job_id).ok
    # Its processes may be waiting for the database.
    node.kill()
    nodes.workers.remove(node)


def _seconds_elsewhere(file: Path) -> float:
    """Return for how long a second process has run a handler."""
    _, *others = _ticks(file).values()
    return max((last - first for first, last in others), default=0)


def _ticks(file: Path) -> dict[str, tuple[float, float]]:
    """Return the first and the last time of each process that ran a handler, in their order."""
    times: dict[str, list[float]] = {}
    for pid, at in map(str.split, file.read_text().splitlines()):
        times.setdefault(pid, []).append(float(at))
    return {pid: (found[0], found[-1]) for pid, found in times.items()}


@on_redis
def test_a_node_ends_at_once_although_no_message_can_be_claimed(nodes: System) -> None:
    kinds = {"wkr_slot_sleep": ("--slots", "40", "-c", "0"), "wkr_sleep": ("-c", "2", "-q", "default")}
    with ExitStack() as proxies:
        cut = [proxies.enter_context(closing(proxy_to(nodes.database_url))) for _ in kinds]
        started = [_start(nodes, proxy, *arguments) for proxy, arguments in zip(cut, kinds.values(), strict=True)]
        for proxy in cut:
            proxy.drop()
        ids = [job for kind in kinds for job in trigger_many(nodes, 2, worker_id=kind, input={"seconds": 0})]
        # The nodes take the messages meanwhile.
        time.sleep(2)
        _assert_end(nodes, started, signal.SIGQUIT)
    _assert_jobs_run_elsewhere(nodes, ids)


@on_redis
def test_doctor_waits_for_a_silent_database_only_once(nodes: System) -> None:
    with closing(proxy_to(nodes.database_url)) as cut, closing(proxy_to(nodes.database_url)) as dropping:
        cut.cut()
        dropping.drop()
        doctors = [nodes.spawn("doctor", environ=_urls(nodes, proxy)) for proxy in (cut, dropping)]
        # Five seconds for the connection, and the other checks on a busy machine.
        assert [doctor.wait(20) for doctor in doctors] == [1, 1]
    for doctor in doctors:
        lines = {line[4:].partition(":")[0]: line for line in doctor.output.splitlines()}
        assert "the database cannot be reached: connection to server" in lines["database"]
        assert lines["connections"] == "!!  connections: not checked, because the database cannot be reached"
        assert lines["broker"].startswith("ok  "), lines["broker"]
        assert lines["queues"].startswith("ok  "), lines["queues"]


# An outage of the API ---------------------------------------------------------------------------------------------

_OUTAGE_SECONDS = 25.0


class _Heartbeats(threading.Thread):
    """Sends heartbeats of some runs every 2 s, also during an outage of the API."""

    def __init__(self, system: System, runs: list[str]) -> None:
        super().__init__(daemon=True)
        self._url = f"{system.url}/v1/ava/runs/heartbeat"
        self._runs = runs
        self._is_ending = threading.Event()

    def run(self) -> None:
        while not self._is_ending.is_set():
            with suppress(requests.RequestException):
                requests.post(self._url, json={"runs": self._runs}, timeout=5)
            self._is_ending.wait(2.0)

    def stop(self) -> None:
        self._is_ending.set()
        self.join(10)


def _claim(system: System, count: int) -> tuple[list[str], list[str]]:
    """Trigger jobs and claim their runs. Returns the ids of the jobs and the tokens of the runs."""
    assert system.post("/v1/ava/workers", json={"slug": "outage", "runtime": "pull"}).status_code == 201
    body = {"name": "box", "role": "worker", "workers": ["wkr_outage"]}
    key = {"Authorization": f"Bearer {system.post('/v1/ava/keys', json=body).json()['data']['token']}"}
    for _ in range(count):
        system.trigger("wkr_outage")
    claimed: list[dict[str, Any]] = []
    claim = {"workers": ["wkr_outage"], "capacity": count, "wait": 5}

    def have_all() -> bool:
        response = requests.post(f"{system.url}/v1/ava/runs/claim", json=claim, headers=key, timeout=30)
        claimed.extend(response.json()["data"])
        return len(claimed) == count

    wait_until(have_all, what="all runs are claimed")
    return [each["job"]["id"] for each in claimed], [each["run"] for each in claimed]


@on_redis
def test_pulled_runs_survive_an_outage_of_the_api_and_a_dead_one_is_found_after_it(nodes: System) -> None:
    jobs, runs = _claim(nodes, 4)
    *alive, dead = runs
    heartbeats = _Heartbeats(nodes, alive)
    heartbeats.start()
    # A word of each, so that a loss of it counts.
    assert requests.post(f"{nodes.url}/v1/ava/runs/heartbeat", json={"runs": runs}, timeout=5).ok
    assert nodes.api is not None
    processes = nodes.api.children
    nodes.api.kill()
    wait_until(lambda: not any(lives(each) for each in processes), what="no API process lives")
    ended_at = time.monotonic() + _OUTAGE_SECONDS
    losses = "SELECT sum(losses) FROM jobs WHERE id = ANY(%s::uuid[])"
    while time.monotonic() < ended_at:
        assert nodes.query(losses, uuids(jobs)) == [(0,)]
        time.sleep(0.5)
    nodes.start_api()
    back_at = time.monotonic()
    is_queued = "SELECT 1 FROM jobs WHERE id = ANY(%s::uuid[]) AND status = 'queued'"
    wait_until(lambda: nodes.query(is_queued, uuids(jobs[-1:])), seconds=60, what="the dead worker's run is rescued")
    # An API process records its heartbeat before it is ready.
    found_after = time.monotonic() - back_at
    assert PULLED_SILENT_SECONDS - 10 < found_after < PULLED_SILENT_SECONDS + 10
    for run in alive:
        response = requests.post(f"{nodes.url}/v1/ava/runs/{run}/end", json={"output": 1}, timeout=10)
        assert (response.status_code, response.json()["data"]) == (200, {"status": "completed", "suspended": False})
    heartbeats.stop()
    assert nodes.query(losses, uuids(jobs[:-1])) == [(0,)]
    response = requests.post(f"{nodes.url}/v1/ava/runs/{dead}/end", json={"output": 1}, timeout=10)
    assert response.status_code == 409
