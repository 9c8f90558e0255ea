"""Measure the load of a backlog on the broker and an urgent job's start: `python -m chaos.backlog --jobs 1000000`."""

from __future__ import annotations

import argparse
import sys
import time

import psycopg2
import redis

from chaos.cluster import Cluster, open_cluster
from chaos.load import WORKER
from harness.servers.server import private_folder

_FILL = """
INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts)
SELECT 'ten_test', %s, 'manual', 2 + n %% 9, 'default',
       '{"seconds": 0.05}', 'usr_test', 1 FROM generate_series(1, %s) AS n
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.backlog", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs of the backlog (%(default)s)")
    options = parser.parse_args()
    with private_folder() as folder, open_cluster("redis", folder, jobs=1, per_second=1) as cluster:
        return _measure(cluster, options.jobs)


def _measure(cluster: Cluster, jobs: int) -> int:
    _fill(cluster, jobs)
    urgent_seconds: list[float] = []
    max_messages, max_bytes = 0, 0
    with redis.Redis.from_url(cluster.broker.url) as broker:
        for _ in range(10):
            began = time.monotonic()
            job = cluster.system.trigger(WORKER, priority=1, input={"seconds": 0})
            cluster.system.wait_for(job["id"], "completed", seconds=60)
            urgent_seconds.append(time.monotonic() - began)
            max_messages = max(max_messages, sum(broker.llen(key) for key in broker.keys("default*")))
            max_bytes = max(max_bytes, broker.info("memory")["used_memory"])
    left = cluster.system.query("SELECT count(*) FROM jobs WHERE status = 'queued'")[0][0]
    print(f"backlog: {jobs} jobs, {left} of them still waiting")
    print(f"broker: at most {max_messages} messages, {max_bytes / 2**20:.0f} MiB")
    print(f"an urgent job: median {sorted(urgent_seconds)[5]:.2f} s, at most {max(urgent_seconds):.2f} s to its end")
    return 0


def _fill(cluster: Cluster, jobs: int) -> None:
    connection = psycopg2.connect(cluster.system.database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(_FILL, (WORKER, jobs))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobs")
    connection.close()


if __name__ == "__main__":
    sys.exit(main())
