"""A pull worker, like a program outside the service: it claims over HTTP, and records its effects."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from chaos.effects import Effect, append
from harness.system import HEADERS, System

WORKER = "wkr_chaos_pulled"
_HEARTBEAT_SECONDS = 4.0
_numbers = itertools.count(1)


def make_worker(system: System, tenant_id: str = HEADERS["x-tenant-id"]) -> str:
    """Create the worker of a tenant. Returns the token of a key that claims its runs."""
    headers = {"x-tenant-id": tenant_id}
    body = {"slug": WORKER.removeprefix("wkr_"), "runtime": "pull", "retry": {"max": 0}}
    assert system.post("/v1/ava/workers", json=body, headers=headers).status_code == 201
    body = {"name": "chaos", "role": "worker", "workers": [WORKER]}
    return str(system.post("/v1/ava/keys", json=body, headers=headers).json()["data"]["token"])


@dataclass(kw_only=True)
class PulledWorker:
    """One process of a tenant. It may die or freeze at any time."""

    system: System
    #: The file for its effects, in the format of the load's handlers.
    effects: Path
    token: str
    seconds: float = 0.05
    capacity: int = 20
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._is_ending = threading.Event()
        self._is_dead = False
        self._held: set[str] = set()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._work, self._beat)]

    def start(self) -> None:
        """Begin to claim."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the current runs have ended."""
        self._is_ending.set()
        for thread in self._threads:
            thread.join(60)

    def die(self) -> None:
        """End without reporting on the current runs."""
        self._is_dead = True
        self._is_ending.set()

    def claim(self, *, wait: float = 1.0) -> list[dict[str, Any]]:
        """Claim runs once. Returns none without a response, although the claim may have succeeded."""
        body = {"workers": [WORKER], "capacity": self.capacity, "wait": wait, "name": "chaos"}
        headers = {"Authorization": f"Bearer {self.token}"}
        response = self._post("claim", body, headers)
        if response is None or response.status_code >= 500:
            time.sleep(0.1)
            return []
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["data"]
        return found

    def call(self, run: str, name: str, body: dict[str, Any]) -> requests.Response:
        """Repeat a call until there is a response, like a client."""
        while (response := self._post(f"{run}/{name}", body, {})) is None or response.status_code >= 500:
            time.sleep(0.1)
        return response

    def _post(self, path: str, body: Any, headers: dict[str, str]) -> requests.Response | None:
        try:
            return requests.post(f"{self.system.url}/v1/ava/runs/{path}", json=body, headers=headers, timeout=20)
        except requests.RequestException:
            return None

    def begin(self, claimed: dict[str, Any]) -> str:
        """Begin a claimed run by using its token. Returns the run's name in the records; "" if the run is lost."""
        if self.call(claimed["run"], "progress", {"fraction": 0.1}).status_code != 200:
            return ""
        name = f"{os.getpid()}.{next(_numbers)}"
        self._record(claimed, name, "begin")
        return name

    def _record(self, claimed: dict[str, Any], name: str, kind: str, at: float | None = None) -> None:
        job = claimed["job"]
        detail = json.dumps({"attempt": job["attempt"], "worker": job["worker_id"], "of": claimed["input"].get("of")})
        effect = Effect(job_id=job["id"], run=name, kind=kind, at=at or time.monotonic(), detail=detail)
        append(str(self.effects), effect)

    def _work(self) -> None:
        while not self._is_ending.is_set():
            claimed = self.claim()
            names = {each["run"]: self.begin(each) for each in claimed}
            # Not earlier: a heartbeat would tell the service that the run has begun.
            self._held |= {each["run"] for each in claimed}
            time.sleep(self.seconds)
            for each in claimed:
                if self._is_dead:
                    return
                if name := names[each["run"]]:
                    self._end(each, name)
                self._held.discard(each["run"])

    def _end(self, claimed: dict[str, Any], name: str) -> None:
        """Report the end of a run, and record it if it is accepted: a lost run can write nothing."""
        at = time.monotonic()
        response = self.call(claimed["run"], "end", {"output": {"run": name}})
        if response.status_code == 200:
            self._record(claimed, name, "done", at)
        else:
            self.broken.append(f"an end of a live worker was refused: {response.text}")

    def _beat(self) -> None:
        while not self._is_ending.wait(_HEARTBEAT_SECONDS):
            if held := list(self._held):
                self._post("heartbeat", {"runs": held}, {})


def are_completed(system: System, job_ids: Collection[str]) -> Callable[[], bool]:
    """Return a function that returns True once all of these jobs are completed."""
    statement = f"SELECT count(*) FROM jobs WHERE worker_id = '{WORKER}' AND status = 'completed'"
    return lambda: system.query(statement)[0][0] >= len(job_ids)
