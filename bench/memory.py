"""Measure runs above their memory limit next to short jobs.

A node of two processes drains short jobs, alternately while the other process sleeps (the *baseline*), and while
handlers there allocate 100 MB a second until they are stopped at their limit, one after the other.
"""

from __future__ import annotations

from typing import Any

from bench.run import Run
from bench.servers import running_system
from bench.table import BASELINE, OURS
from harness.polling import wait_until
from harness.system import System
from tests.acceptance.memory_handlers import LIMIT_MB

_HANDLERS = {"AVA_HANDLERS": "tests.acceptance.memory_handlers"}
#: Memory of an empty run, and the handler's allocation per second (it sleeps between its steps).
_EMPTY_MB, _MB_PER_SECOND = 65, 95
_UNFINISHED = "SELECT count(*) FROM jobs WHERE worker_id = 'wkr_m_brief' AND completed_at IS NULL"
#: From their creation to the last end, from the rows, because requesting each job takes longer than it runs.
_SECONDS = """SELECT extract(epoch FROM max(completed_at) - min(created_at))::float8 FROM (
    SELECT created_at, completed_at FROM jobs WHERE worker_id = 'wkr_m_brief' ORDER BY id DESC LIMIT %s) AS newest"""


def memory(run: Run) -> None:
    """Measure the seconds of short jobs with and without the other runs, and the slowest end of these."""
    name, count = "1,000 short jobs beside runs above their memory limit", run.count(1000)
    with running_system(environ=_HANDLERS, api_processes=1) as (system, _):
        # One at a time, so that the other process is left to the short jobs.
        limit = {"scope": "platform", "max_running": 1}
        as_admin = {"x-platform-role": "platform-admin"}
        system.request("PATCH", "/v1/ava/workers/wkr_m_grows", json=limit, headers=as_admin).raise_for_status()
        _drain(system, count)
        for _ in range(run.rounds):
            sleeper = system.trigger("wkr_m_takes", input={"seconds": 600}, priority=1)
            system.wait_for(sleeper["id"], "running")
            run.table.add(name, BASELINE, {"seconds": _drain(system, count)})
            system.post(f"/v1/ava/jobs/{sleeper['id']}/cancel").raise_for_status()
            system.wait_for(sleeper["id"])
            eaters = [system.trigger("wkr_m_grows", priority=1) for _ in range(3)]
            system.wait_for(eaters[0]["id"], "running")
            beside = _drain(system, count)
            late = max(_seconds_above(system.wait_for(each["id"], seconds=60)) for each in eaters)
            run.table.add(name, OURS, {"seconds": beside, "latest end after its limit, s": late})


def _drain(system: System, count: int) -> float:
    entries = [{"worker_id": "wkr_m_brief", "input": {"n": n}} for n in range(count)]
    response = system.post("/v1/ava/jobs/bulk", json={"jobs": entries})
    response.raise_for_status()
    wait_until(lambda: system.query(_UNFINISHED) == [(0,)], seconds=120)
    ((seconds,),) = system.query(_SECONDS, count)
    return float(seconds)


def _seconds_above(record: dict[str, Any]) -> float:
    assert record["error"].startswith("MemoryExceeded: "), record
    return float(record["duration_ms"]) / 1000 - (LIMIT_MB - _EMPTY_MB) / _MB_PER_SECOND
