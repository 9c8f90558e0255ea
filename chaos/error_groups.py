"""Many failures of twelve kinds: `python -m chaos.error_groups --jobs 10000`.

Handlers raise twelve kinds of errors with ids, numbers and addresses in their messages. The node writes the groups, the
dispatcher counts them, and `/v1/ava/errors` must have exactly twelve groups that contain all jobs. Returns 0 if it
does.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import Any

from ava import settings as settings_module
from ava.store.engine import schema
from chaos.failures import MESSAGES, values
from harness.polling import wait_until
from harness.servers.postgres import running_postgres
from harness.servers.redis import running_redis
from harness.servers.server import private_folder
from harness.system import System

_BULK = 1_000
_LONGEST_SECONDS = 900


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.error_groups", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs that fail (%(default)s)")
    options = parser.parse_args()
    with running_postgres() as postgres, running_redis() as redis, private_folder() as folder:
        schema.upgrade(settings_module.load({"DATABASE_URL": postgres.url, "BROKER_URL": redis.url}))
        system = System(folder, database_url=postgres.url, broker_url=redis.url, api_processes=1)
        try:
            system.start(workers=1, concurrency=2, environ={"AVA_HANDLERS": "chaos.failures"})
            return _fail(system, options.jobs)
        finally:
            system.stop()


def _fail(system: System, jobs: int) -> int:
    began, rng = time.monotonic(), random.Random(12)
    for first in range(0, jobs, _BULK):
        inputs = [
            {"kind": number % len(MESSAGES), "values": values(rng)} for number in range(first, min(first + _BULK, jobs))
        ]
        bulk = {"jobs": [{"worker_id": "wkr_chaos_failure", "input": each} for each in inputs]}
        system.post("/v1/ava/jobs/bulk", json=bulk).raise_for_status()
    wait_until(lambda: _counted(_groups(system)) == jobs, seconds=_LONGEST_SECONDS, what="every failure is counted")
    groups = _groups(system)
    errors = system.query("SELECT count(DISTINCT error)::int FROM jobs")[0][0]
    seconds = time.monotonic() - began
    print(f"{jobs:,} failures with {errors:,} different errors in {seconds:.0f} s: {len(groups)} groups")
    for group in sorted(groups, key=lambda each: each["kind"]):
        print(f"  {group['count']:,} × {group['kind']}: {group['message']}")
    return int(len(groups) != len(MESSAGES))


def _groups(system: System) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = system.get("/v1/ava/errors?per_page=100").json()["data"]
    return found


def _counted(groups: list[dict[str, Any]]) -> int:
    return sum(group["count"] for group in groups)


if __name__ == "__main__":
    sys.exit(main())
