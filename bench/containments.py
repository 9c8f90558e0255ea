"""Hold 100,000 queued jobs of a tenant, and start another tenant's jobs before (the *baseline*) and meanwhile.

One job of the contained tenant runs at a time, so that the other process is free for the other tenant before and
during the containment.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

from bench.load import percentile
from bench.run import Run
from bench.servers import running_system
from bench.table import BASELINE, OURS
from harness.system import System

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


def containments(run: Run) -> None:
    """Measure the seconds until all jobs are held, and the other tenant's start latencies."""
    jobs = run.count(100_000)
    environ = {"AVA_HANDLERS": "bench.handlers", "AVA_TENANT_MAX_QUEUED": str(2 * jobs)}
    with running_system(environ=environ) as (system, _):
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
        for name, times in ((BASELINE, (began, contained)), (OURS, (contained, swept_at))):
            took = [ms for (ms,) in system.query(_STARTED, *times)]
            figures = {f"p{percent} ms": percentile(took, percent) for percent in (50, 95)}
            run.table.add("start latency beside 100,000 contained jobs", name, figures)
        run.table.add("100,000 jobs contained", OURS, {"all held after s": seconds})
