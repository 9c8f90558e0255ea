"""`python -m bench.pulled`: compare pulled runs with a node's, and measure the cost of idle claims for an API process.

Where `make typescript` has built the package, a worker in TypeScript is measured too, to its handler's first line.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from chaos.pulled_worker import WORKER, PulledWorker, make_worker
from harness.servers.postgres import running_postgres
from harness.servers.redis import fresh_redis_url, running_redis
from harness.system import ROOT, System

_JOBS = 200
_IDLE = 1_000
#: Less than the 30 s timeout of a claim, counted from the first one.
_IDLE_SECONDS = 10.0
_SETTLED_SHARE = 0.08
#: Milliseconds from the job's creation to its start; for a pulled one until its worker has it.
_WAITS = "SELECT extract(epoch FROM started_at - created_at) * 1000 FROM jobs WHERE worker_id = %s"
#: Milliseconds from the job's creation to the first line of a handler that returns when it began.
_FIRST_LINES = """
SELECT ((output ->> 'began')::float8 - extract(epoch FROM created_at)::float8) * 1000 FROM jobs
WHERE worker_id = %s AND output ->> 'began' IS NOT NULL
"""
_PACKAGE = ROOT / "clients/typescript/dist/index.js"


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder, running_postgres() as postgres, running_redis() as redis:
        broker = fresh_redis_url(redis)
        system = System(Path(folder), database_url=postgres.url, broker_url=broker, api_processes=1)
        system.run("db", "upgrade")
        system.start(environ={"AVA_HANDLERS": "workers,workers.sleep,bench.handlers"})
        try:
            _measure(system, Path(folder))
        finally:
            system.stop()


def _measure(system: System, folder: Path) -> None:
    token = make_worker(system)
    worker = PulledWorker(system=system, effects=folder / "effects", token=token, seconds=0.0, capacity=1)
    worker.start()
    time.sleep(2)
    _compare(system, "wkr_sleep", _WAITS, "start")
    worker.stop()
    if _PACKAGE.exists():
        _measure_typescript(system, token)
    _idle(system, token)


def _compare(system: System, of_node: str, times: str, what: str) -> None:
    """Print the times of pulled jobs and of a node's worker, alternating."""
    for _ in range(_JOBS):
        for worker_id in (WORKER, of_node):
            system.wait_for(system.trigger(worker_id, input={"seconds": 0})["id"], "completed")
    pulled, node = (
        statistics.median(float(each) for (each,) in system.query(times, worker_id)) for worker_id in (WORKER, of_node)
    )
    print(f"from the trigger to the {what}: pulled p50 {pulled:.1f} ms, {of_node} {node:.1f} ms, {pulled / node:.2f} x")


def _measure_typescript(system: System, token: str) -> None:
    node = shutil.which("node")
    assert node is not None, "node is not installed"
    environ = {"AVA_URL": system.url, "AVA_API_KEY": token, "AVA_SLUG": WORKER.removeprefix("wkr_")}
    worker = subprocess.Popen([node, str(ROOT / "bench/mark.mjs")], env=os.environ | environ)
    try:
        _compare(system, "wkr_mark", _FIRST_LINES, "first line in TypeScript")
    finally:
        worker.terminate()
        worker.wait()


def _settle(api: psutil.Process) -> None:
    """Wait until the process has accepted the claims, even on a busy machine: then they cost it nearly nothing."""
    share = 1.0
    while share > _SETTLED_SHARE:
        used = sum(api.cpu_times()[:2])
        time.sleep(1)
        share = sum(api.cpu_times()[:2]) - used


def _idle(system: System, token: str) -> None:
    api = max(psutil.Process(system.api.pid).children(), key=lambda each: each.memory_info().rss)  # type: ignore[union-attr]
    body = json.dumps({"workers": [WORKER], "wait": 30})
    request = (
        f"POST /v1/ava/runs/claim HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    address = urlsplit(system.url)
    before = api.memory_info().rss
    held = [socket.create_connection((address.hostname, address.port)) for _ in range(_IDLE)]
    threads = [threading.Thread(target=each.sendall, args=(request,)) for each in held]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _settle(api)
    memory = (api.memory_info().rss - before) / _IDLE / 1024
    began, used = time.monotonic(), sum(api.cpu_times()[:2])
    time.sleep(_IDLE_SECONDS)
    share = (sum(api.cpu_times()[:2]) - used) / (time.monotonic() - began)
    print(f"{_IDLE} idle claims: {memory:.0f} KiB each, {share:.1%} of a core in the API process")
    for each in held:
        each.close()


if __name__ == "__main__":
    main()
