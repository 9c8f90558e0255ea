"""`python -m bench.containments`: hold 100,000 queued jobs of a tenant, and start another tenant's jobs meanwhile.

One job of the contained tenant runs at a time, so that the other process is free for the other tenant before and
during the containment.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.load import percentile
from harness.servers.postgres import running_postgres
from harness.servers.redis import fresh_redis_url, running_redis
from harness.system import System

#: The promised seconds until all jobs are held, and the promised ratio of start latencies.
_MAX_SECONDS, _MAX_RATIO = 10, 1.5
_BULK = 1000
#: Jobs of the other tenant before the containment, and seconds between them.
_BEFORE, _PAUSE_SECONDS = 200, 0.03
_OPERATOR = {"x-platform-role": "platform-system-admin"}
_CONTAINED = {"x-tenant-id": "ten_contained"}
_STARTED = """
SELECT (1000 * extract(epoch FROM started_at - created_at))::float8 FROM jobs
WHERE tenant_id = 'ten_test' AND created_at BETWEEN to_timestamp(%s) AND to_timestamp(%s) AND started_at IS NOT NULL
"""
_SWEPT = """
SELECT extract(epoch FROM swept_at)::float8, extract(epoch FROM swept_at - created_at)::float8 FROM containments
"""
_HELD = "SELECT count(*) FROM jobs WHERE tenant_id = 'ten_contained' AND waits_for = 'contained'"


def _fill(system: System, jobs: int) -> None:
    limit = system.request("PUT", "/v1/ava/tenants/ten_contained/limits", json={"max_running": 1}, headers=_OPERATOR)
    assert limit.status_code == 200, limit.text
    job = {"worker_id": "wkr_brief_nap", "input": {"ms": 1000}}
    for _ in range(jobs // _BULK):
        response = system.post("/v1/ava/jobs/bulk", json={"jobs": [job] * _BULK}, headers=_CONTAINED)
        assert response.status_code == 201, response.text


def _trigger_until(system: System, is_over: Any) -> None:
    """Trigger jobs, each after the previous one has ended."""
    while not is_over():
        system.show(system.trigger("wkr_plain")["id"], wait=60)
        time.sleep(_PAUSE_SECONDS)


def measure(system: System, jobs: int) -> tuple[float, list[float], list[float]]:
    """Return the seconds until all jobs were held, and the other tenant's latencies in ms before and during that."""
    _fill(system, jobs)
    system.query("VACUUM ANALYZE jobs")
    numbers = itertools.count()
    _trigger_until(system, lambda: next(numbers) >= 20)
    numbers, began = itertools.count(), time.time()
    _trigger_until(system, lambda: next(numbers) >= _BEFORE)
    contained = time.time()
    body = {"scope": {"tenant": True}, "reason": "a measure", "running": "let_end"}
    assert system.post("/v1/ava/containments", json=body, headers=_CONTAINED).status_code == 201
    _trigger_until(system, lambda: system.query(_SWEPT)[0][0] is not None)
    ((swept_at, seconds),) = system.query(_SWEPT)
    ((held,),) = system.query(_HELD)
    assert held > 0.99 * jobs, held
    time.sleep(1)
    before, during = (
        [ms for (ms,) in system.query(_STARTED, *times)] for times in ((began, contained), (contained, swept_at))
    )
    return seconds, before, during


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="queued jobs of the scope (%(default)s)")
    jobs = parser.parse_args().jobs
    environ = {"AVA_HANDLERS": "bench.handlers", "AVA_TENANT_MAX_QUEUED": str(2 * jobs)}
    with tempfile.TemporaryDirectory() as folder, running_postgres() as postgres, running_redis() as redis:
        system = System(Path(folder), database_url=postgres.url, broker_url=fresh_redis_url(redis))
        system.run("db", "upgrade")
        system.start(environ=environ)
        try:
            seconds, before, during = measure(system, jobs)
        finally:
            system.stop()
    print(f"{jobs:,} jobs held after {seconds:.1f} s (promised: {_MAX_SECONDS})")
    for name, found in (("before", before), ("meanwhile", during)):
        p50, p95 = percentile(found, 50), percentile(found, 95)
        print(f"start latency of another tenant {name}: p50 {p50:.1f} ms, p95 {p95:.1f} ms, {len(found)} jobs")
    ratios = [percentile(during, share) / percentile(before, share) for share in (50, 95)]
    print(f"ratios: p50 {ratios[0]:.2f}, p95 {ratios[1]:.2f} (promised: {_MAX_RATIO})")


if __name__ == "__main__":
    main()
