"""What analytics and errors say while dispatchers are killed; `python -m chaos.counts` does the same for long."""

from __future__ import annotations

from pathlib import Path

from chaos import counts
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import System


def test_figures_are_exact_through_kills_of_the_dispatcher_that_counts(
    database_url: str, redis_server: Server, tmp_path: Path
) -> None:
    broker_url = fresh_redis_url(redis_server)
    system = System(tmp_path, database_url=database_url, broker_url=broker_url, api_processes=1)
    try:
        system.start(workers=0, dispatchers=2)
        assert counts.check(system, jobs=2_000, kills=2) == []
        system.query("UPDATE job_counts SET completed = completed + 1 WHERE trigger = '' AND worker_id = 'wkr_1'")
        assert counts.differences(system), "what is wrong is found"
    finally:
        system.stop()
