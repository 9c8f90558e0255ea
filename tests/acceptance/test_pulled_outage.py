"""No pulled run is lost to an outage of the API, and the dispatcher finds a dead worker's run after the outage."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import requests

from ava.domain.worker import PULLED_SILENT_SECONDS
from harness.polling import wait_until
from harness.running_process import lives
from harness.system import System
from tests.acceptance.conftest import on_redis
from tests.acceptance.ids import uuids

# No message of the broker is about a pulled run.
pytestmark = on_redis
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
