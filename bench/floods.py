"""`python -m bench.floods`: a neighbour's triggers during another tenant's flood of jobs that complete or fail."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from multiprocessing import Process
from pathlib import Path

import requests

from harness.servers.postgres import running_postgres
from harness.servers.redis import fresh_redis_url, running_redis
from harness.system import HEADERS, System

_BULK = 100
#: Seconds between the neighbour's triggers, and seconds of a flood before the first of them.
_PAUSE, _LEAD = 0.1, 2.0


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="of each measure (%(default)s)")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder, running_postgres() as postgres, running_redis() as redis:
        system = System(Path(folder), database_url=postgres.url, broker_url=fresh_redis_url(redis))
        system.run("db", "upgrade")
        system.start(environ={"AVA_HANDLERS": "workers,bench.handlers"})
        try:
            _measure(system, "alone", seconds)
            for worker_id, what in (("wkr_noop", "that complete"), ("wkr_fails", "that fail")):
                flood = Process(target=_flood, args=(system.url, worker_id, seconds + _LEAD))
                flood.start()
                time.sleep(_LEAD)
                _measure(system, f"beside jobs {what}", seconds)
                flood.join()
                system.post("/v1/ava/jobs/cancel", json={"filter": {}}, headers={"x-tenant-id": "ten_flood"})
        finally:
            system.stop()


def _flood(url: str, worker_id: str, seconds: float) -> None:
    """Trigger as many jobs as the API accepts, a hundred per request."""
    jobs = [{"worker_id": worker_id, "input": {}}] * _BULK
    headers = {**HEADERS, "x-tenant-id": "ten_flood"}
    ends = time.monotonic() + seconds
    with requests.Session() as session:
        while time.monotonic() < ends:
            session.post(f"{url}/v1/ava/jobs/bulk", json={"jobs": jobs}, headers=headers)


def _measure(system: System, name: str, seconds: float) -> None:
    before = _ended(system)
    took, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.perf_counter()
        system.trigger("wkr_noop")
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(_PAUSE)
    rate = (_ended(system) - before) / seconds
    cuts = statistics.quantiles(took, n=20)
    print(f"{name}: triggers p50 {cuts[9]:.1f} ms, p95 {cuts[18]:.1f} ms; {rate:.0f} jobs of the flood ended a second")


def _ended(system: System) -> int:
    count = "SELECT count(*) FROM jobs WHERE tenant_id = 'ten_flood' AND completed_at IS NOT NULL"
    return int(system.query(count)[0][0])


if __name__ == "__main__":
    main()
