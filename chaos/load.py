"""A persistent load of jobs over HTTP: each trigger is sent until it is accepted, with its own idempotency key."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from harness.system import HEADERS

WORKER = "wkr_chaos_effect"
_CLIENTS = 4
_BULK = 250
#: Seconds of a job: most are short, some are long and urgent.
_SECONDS = (0.02, 0.03, 0.05, 0.08)
LONG_SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A job whose trigger got 201."""

    id: str
    #: The time of the response on the monotonic clock.
    at: float


class Load:
    """Clients that trigger jobs: half in bulk, the rest one by one during the fault."""

    def __init__(self, url: str, *, total: int, per_second: float) -> None:
        self._url = url
        self._pause = _CLIENTS / per_second
        self._total = total
        self._asked = 0
        self._may_end, self._is_stopped = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._random = random.Random(4)
        self.accepted: list[Accepted] = []
        #: Responses other than 201, by status or error, and the longest response time in seconds.
        self.refusals: dict[str, int] = {}
        self.slowest = 0.0
        self._threads = [threading.Thread(target=self._trickle, daemon=True) for _ in range(_CLIENTS)]

    def start(self) -> None:
        """Trigger half of the jobs in bulk, and start the clients that trigger the others."""
        for _ in range(self._total // 2 // _BULK):
            self._insist("/v1/ava/jobs/bulk", {"jobs": [self._job() for _ in range(_BULK)]})
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Trigger the jobs that are still missing, and wait until all are accepted."""
        self._may_end.set()
        for thread in self._threads:
            thread.join(120)
            if thread.is_alive():
                raise RuntimeError("The load was not accepted within two minutes.")
        while (missing := self._total - len(self.accepted)) > 0:
            jobs = [self._job() for _ in range(min(missing, _BULK))]
            self._insist("/v1/ava/jobs/bulk", {"jobs": jobs})

    def stop(self) -> None:
        """Trigger no more jobs, even if some are missing."""
        self._may_end.set()
        self._is_stopped.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def trigger_one(self, *, tenant_id: str = HEADERS["x-tenant-id"], **fields: Any) -> str:
        """Trigger a job with these additional fields. Returns its id."""
        return self._insist_on_all("/v1/ava/jobs", {**self._job(), **fields}, {**HEADERS, "x-tenant-id": tenant_id})[-1]

    def trigger_bulk(self, *worker_ids: str, count: int, seconds: float = 0.02, **fields: Any) -> list[str]:
        """Trigger `count` jobs of each of these workers in bulk, in addition to the load. Returns their ids."""
        jobs = [
            {"worker_id": each, "input": {"seconds": seconds}, **fields} for each in worker_ids for _ in range(count)
        ]
        return self.trigger_jobs(jobs)

    def trigger_jobs(self, jobs: Sequence[Mapping[str, Any]], headers: Mapping[str, str] = HEADERS) -> list[str]:
        """Trigger these jobs in bulk, in addition to the load. Returns their ids."""
        self._total += len(jobs)
        return self._insist_on_all("/v1/ava/jobs/bulk", {"jobs": jobs}, headers)

    def trigger_replicated(self, has_ended: threading.Event) -> str | None:
        """Trigger a job with `Durability: replicated` until it is accepted. Returns its id.

        Once `has_ended` is set, accept it without replication and return None.
        """
        body, headers = self._job(), {**HEADERS, "Idempotency-Key": uuid.uuid4().hex, "Durability": "replicated"}
        while not (accepted := self._attempt("/v1/ava/jobs", body, headers)):
            if has_ended.is_set():
                headers.pop("Durability", None)
            time.sleep(0.1)
        return accepted[0] if "Durability" in headers else None

    def move(self, url: str) -> None:
        """Send further requests to this URL, like a load balancer."""
        self._url = url

    def _trickle(self) -> None:
        while not self._may_end.is_set():
            self._insist_on_all("/v1/ava/jobs", self._job())
            time.sleep(self._pause)

    def _job(self) -> dict[str, Any]:
        with self._lock:
            self._asked += 1
            if self._asked % 40 == 0:
                return {"worker_id": WORKER, "priority": 1, "input": {"seconds": LONG_SECONDS}}
            seconds, priority = self._random.choice(_SECONDS), self._random.randint(1, 10)
            return {"worker_id": WORKER, "priority": priority, "input": {"seconds": seconds}}

    def _insist(self, path: str, body: dict[str, Any]) -> str:
        return self._insist_on_all(path, body)[-1]

    def _insist_on_all(self, path: str, body: dict[str, Any], headers: Mapping[str, str] = HEADERS) -> list[str]:
        """Send a request until it is accepted, or the load is stopped. Returns the ids of its jobs."""
        repeated = {**headers, "Idempotency-Key": uuid.uuid4().hex}
        while not (accepted := self._attempt(path, body, repeated)) and not self._is_stopped.is_set():
            time.sleep(0.1)
        return accepted

    def _attempt(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> list[str]:
        """Send a request once. Returns the ids of its jobs; none if it was not accepted."""
        began = time.monotonic()
        try:
            response = requests.post(self._url + path, json=body, headers=headers, timeout=30)
        except requests.RequestException as error:
            self._refused(type(error).__name__)
            return []
        self.slowest = max(self.slowest, time.monotonic() - began)
        if response.status_code == 201:
            return self._record(response.json()["data"])
        self._refused(str(response.status_code))
        return []

    def _record(self, data: Any) -> list[str]:
        records = data if isinstance(data, list) else [data]
        at = time.monotonic()
        self.accepted += [Accepted(id=record["id"], at=at) for record in records]
        return [str(record["id"]) for record in records]

    def _refused(self, what: str) -> None:
        with self._lock:
            self.refusals[what] = self.refusals.get(what, 0) + 1
