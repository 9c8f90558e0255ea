"""Faults while a hook receives: each delivery with a 202 response has exactly one job."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import requests

from ava.domain import ids
from chaos.cluster import Cluster, Plan
from chaos.fault import Fault, Injury
from chaos.load import WORKER, Accepted
from harness.polling import wait_until

#: Number of deliveries, and of sending threads.
_DELIVERIES, _SENDERS = 1_000, 4
_SECRET = "the-secret-of-chaos"
#: Max seconds for which a sender retries without a response.
_PATIENCE_SECONDS = 120.0
_MADE = """
SELECT d.source_id, j.id::text FROM hook_deliveries AS d JOIN jobs AS j ON j.tenant_id = d.tenant_id
    AND j.id = ANY(d.job_ids) WHERE j.trigger = 'webhook'
"""


class _Sender:
    """A provider that sends each delivery, under its own id, until the response is 202."""

    def __init__(self, url: str, numbers: Iterator[int]) -> None:
        self._url = url
        self._numbers = numbers
        self.answered: set[str] = set()
        self.broken: list[str] = []
        self.thread = threading.Thread(target=self._send_all, daemon=True)
        self.thread.start()

    def _send_all(self) -> None:
        for number in self._numbers:
            if number >= _DELIVERIES:
                return
            self._insist(f"delivery-{number}", json.dumps({"number": number, "seconds": 0.01}).encode())

    def _insist(self, delivery: str, body: bytes) -> None:
        digest = hmac.new(_SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"x-github-event": "chaos", "x-github-delivery": delivery, "x-hub-signature-256": f"sha256={digest}"}
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                response = requests.post(self._url, data=body, headers=headers, timeout=20)
            except requests.RequestException:
                time.sleep(0.05)
                continue
            if response.status_code == 202:
                self.answered.add(delivery)
                if len(response.json()["data"]["job_ids"]) != 1:
                    self.broken.append(f"{delivery} was answered without its job")
                return
            if response.status_code != 503:
                self.broken.append(f"{delivery} was answered with {response.status_code}")
                return
            time.sleep(0.05)


def _kill_while_receiving(cluster: Cluster) -> Injury:
    """Kill the API's processes and the active dispatcher, and wipe the broker, while a thousand deliveries arrive."""
    numbers = count()
    url = _make_hook(cluster)
    senders = [_Sender(url, numbers) for _ in range(_SENDERS)]
    system = cluster.system
    since = time.monotonic()
    while any(sender.thread.is_alive() for sender in senders):
        assert system.api
        for child in system.api.children:
            child.kill()
        system.api.kill()
        system.start_api()
        cluster.wipe_broker()
        system.await_dispatcher().kill()
        system.start_dispatcher()
        since = time.monotonic()
        time.sleep(1.0)
    return _judge(cluster, senders, since)


def _make_hook(cluster: Cluster) -> str:
    fields: dict[str, Any] = {"name": "chaos", "provider": "github", "secret": _SECRET, "worker_id": WORKER}
    response = cluster.system.post("/v1/ava/hooks", json={**fields, "input": {"seconds": {"$get": "data.seconds"}}})
    response.raise_for_status()
    url: str = response.json()["data"]["url"]
    return url


def _judge(cluster: Cluster, senders: list[_Sender], since: float) -> Injury:
    """Compare deliveries with jobs: exactly one job for each delivery with a 202 response, and none for others."""
    broken = [each for sender in senders for each in sender.broken]
    answered = {each for sender in senders for each in sender.answered}
    made: dict[str, list[str]] = {}
    for delivery, job_id in cluster.system.query(_MADE):
        made.setdefault(delivery, []).append(job_id)
    broken += [f"{delivery} was answered and has no job" for delivery in answered - made.keys()]
    broken += [f"{delivery} has {len(jobs)} jobs" for delivery, jobs in made.items() if len(jobs) > 1]
    broken += [] if len(answered) == _DELIVERIES else [f"{len(answered)} of {_DELIVERIES} deliveries were answered"]
    wait_until(
        lambda: (
            cluster.system.query("SELECT count(*) FROM jobs WHERE trigger = 'webhook' AND completed_at IS NULL")
            == [(0,)]
        ),
        seconds=120,
        what="every job of a delivery is final",
    )
    jobs = [job_id for found in made.values() for job_id in found]
    cluster.load.accepted += [Accepted(id=ids.encode("job", job_id), at=time.monotonic()) for job_id in jobs]
    return Injury(since=since, recovered_at=time.monotonic(), broken=broken)


FAULTS = (
    Fault(
        name="kill -9 of the API and the dispatcher and a wiped broker, again and again, while a hook receives",
        inject=_kill_while_receiving,
        promised_seconds=180,
        plan=Plan(
            environ={
                "AVA_ENCRYPTION_KEY": "dGhpcyBpcyBhIGtleSBvZiB0aGUgdGVzdHMgb25seSE=",
                "AVA_RATE_LIMIT_HOOK": "1000000/minute",
                "AVA_RATE_LIMIT_ADDRESS": "1000000/minute",
            }
        ),
        runs_alone=True,
    ),
)
