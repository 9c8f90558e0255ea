"""Kill processes while jobs wait for events: each accepted event wakes its job exactly once."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import suppress

import requests

from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from chaos.load import Accepted
from harness.polling import wait_until
from harness.system import HEADERS

_WORKER = "wkr_chaos_awaits"
_JOBS, _SENDERS = 500, 4
#: Jobs that are waiting when the first event is sent; the others begin to wait later.
_FIRST_WAITING = 100
_BETWEEN_KILLS_SECONDS = 0.5
_WAITING = "SELECT count(*) FROM jobs WHERE waits_for = 'event'"
_UNFINISHED = f"SELECT count(*) FROM jobs WHERE worker_id = '{_WORKER}' AND completed_at IS NULL"


def _kill_while_events_come(cluster: Cluster) -> Injury:
    """Kill children, the API and the active dispatcher, and wipe the broker, while awaited events arrive."""
    system = cluster.system
    jobs = [{"worker_id": _WORKER, "input": {"number": n, "seconds": 0.01}, "priority": 1} for n in range(_JOBS)]
    response = system.post("/v1/ava/jobs/bulk", json={"jobs": jobs}, timeout=60)
    response.raise_for_status()
    made = [job["id"] for job in response.json()["data"]]
    cluster.load.accepted += [Accepted(id=job_id, at=time.monotonic()) for job_id in made]
    wait_until(lambda: system.query(_WAITING)[0][0] >= _FIRST_WAITING, seconds=120, what="jobs wait")
    senders = [
        threading.Thread(target=_send_all, args=(system.url, range(first, _JOBS, _SENDERS)), daemon=True)
        for first in range(_SENDERS)
    ]
    for sender in senders:
        sender.start()
    rng, rounds = random.Random(44), 0
    while any(sender.is_alive() for sender in senders):
        _kill_some(cluster, rng)
        rounds += 1
        time.sleep(_BETWEEN_KILLS_SECONDS)
    since = time.monotonic()
    wait_until(lambda: system.query(_UNFINISHED) == [(0,)], seconds=180, what="every job got its event")
    return Injury(since=since, recovered_at=time.monotonic(), measured=[f"{rounds} rounds of kills"])


def _send_all(url: str, numbers: range) -> None:
    """Send each job's event until it is accepted."""
    for number in numbers:
        event = {"type": "chaos.go", "id": str(number), "data": {"number": number}}
        while True:
            with suppress(requests.RequestException):
                response = requests.post(f"{url}/v1/ava/events", json=event, headers=HEADERS, timeout=20)
                if response.status_code == 201:
                    break
            time.sleep(0.05)
        time.sleep(0.02)


def _kill_some(cluster: Cluster, rng: random.Random) -> None:
    system = cluster.system
    for pid in [child.pid for node in system.workers for child in node.children][:1]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if rng.random() < 0.3:
        assert system.api
        for child in system.api.children:
            child.kill()
        system.api.kill()
        system.start_api()
    if rng.random() < 0.3:
        system.await_dispatcher().kill()
        system.start_dispatcher()
    cluster.wipe_broker()


FAULTS = (
    Fault(
        name="kill -9 of children, the API and the dispatcher and a wiped broker while events come that jobs wait for",
        inject=_kill_while_events_come,
        promised_seconds=60,
        runs_alone=True,
    ),
)
