"""`python -m bench.memory [--rounds 5] [--count 1000]`: a run above its memory limit next to short jobs.

A node of two processes drains short jobs, alternately while the other process sleeps, and while handlers there allocate
100 MB a second until they are stopped at their limit, one after the other. Prints the time of the short jobs, and how
long after crossing its limit each run ended.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ava import settings as settings_module
from ava.store.engine import schema
from harness.polling import wait_until
from harness.servers.postgres import running_postgres
from harness.servers.redis import running_redis
from harness.system import System
from tests.acceptance.memory_handlers import LIMIT_MB

_HANDLERS = {"AVA_HANDLERS": "tests.acceptance.memory_handlers"}
#: Memory of an empty run, and the handler's allocation per second (it sleeps between its steps).
_EMPTY_MB, _MB_PER_SECOND = 65, 95
_UNFINISHED = "SELECT count(*) FROM jobs WHERE worker_id = 'wkr_m_brief' AND completed_at IS NULL"
#: From their creation to the last end, from the rows, because requesting each job takes longer than it runs.
_SECONDS = """SELECT extract(epoch FROM max(completed_at) - min(created_at))::float8 FROM (
    SELECT created_at, completed_at FROM jobs WHERE worker_id = 'wkr_m_brief' ORDER BY id DESC LIMIT %s) AS newest"""
_MAX_SLOWER, _MAX_SECONDS = 1.1, 2.0


def measure(system: System, *, count: int, rounds: int) -> dict[str, float]:
    """Return the median seconds for `count` short jobs with and without the other runs, and the slowest end."""
    alone, beside, late = [], [], []
    # One at a time, so that the other process is left to the short jobs.
    limit = {"scope": "platform", "max_running": 1}
    as_admin = {"x-platform-role": "platform-admin"}
    system.request("PATCH", "/v1/ava/workers/wkr_m_grows", json=limit, headers=as_admin).raise_for_status()
    _drain(system, count)
    for _ in range(rounds):
        sleeper = system.trigger("wkr_m_takes", input={"seconds": 600}, priority=1)
        system.wait_for(sleeper["id"], "running")
        alone.append(_drain(system, count))
        system.post(f"/v1/ava/jobs/{sleeper['id']}/cancel").raise_for_status()
        system.wait_for(sleeper["id"])
        eaters = [system.trigger("wkr_m_grows", priority=1) for _ in range(3)]
        system.wait_for(eaters[0]["id"], "running")
        beside.append(_drain(system, count))
        late += [_seconds_above(system.wait_for(each["id"], seconds=60)) for each in eaters]
    return {
        "seconds alone": statistics.median(alone),
        "seconds beside": statistics.median(beside),
        "slower by the factor": statistics.median(beside) / statistics.median(alone),
        "latest end after its limit, s": max(late),
    }


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


def main() -> int:
    """Measure and print. Returns the exit code: 1 if a promise is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000, choices=range(10, 1001), metavar="10..1000")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ava-bench-")))
        urls = {"DATABASE_URL": stack.enter_context(running_postgres()).url}
        urls["BROKER_URL"] = stack.enter_context(running_redis()).url
        schema.upgrade(settings_module.load(urls))
        system = System(folder, database_url=urls["DATABASE_URL"], broker_url=urls["BROKER_URL"], api_processes=1)
        stack.callback(system.stop)
        system.start(concurrency=2, environ=_HANDLERS)
        figures = measure(system, count=given.count, rounds=given.rounds)
    for name, value in figures.items():
        print(f"{name:<30} {value:.2f}")
    is_fast_enough = figures["slower by the factor"] <= _MAX_SLOWER
    return 0 if is_fast_enough and figures["latest end after its limit, s"] <= _MAX_SECONDS else 1


if __name__ == "__main__":
    raise SystemExit(main())
