"""Drains of the peers: queued no-op jobs, two processes, from the end of the first job to the end of the last."""

from __future__ import annotations

import importlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis

from bench.measures import rates
from bench.peers import environment
from bench.run import Run
from bench.servers import ROOT, Servers, processes, until
from bench.systems import drained_seconds
from bench.table import Figures

#: Drains a number of jobs once and returns the figures of `bench.measures.drain`.
Drain = Callable[[int], Figures]

#: Max concurrent jobs of one Oban process, as in its documentation.
_OBAN_SLOTS = 10


def bare_celery(servers: Servers) -> Drain:
    """Celery on Redis with the baseline's options. It stores nothing, so its end is read from the broker."""
    url = servers.broker("redis")
    environ = {"BENCH_BARE_BROKER": url}
    os.environ.update(environ)
    from bench.peers import bare_celery as module

    # The module reads its environment when it is loaded.
    module = importlib.reload(module)
    client = redis.Redis.from_url(url)
    worker = ["celery", "-A", "bench.peers.bare_celery:queue", "worker", "-c", "2", "-l", "WARNING"]

    def drain(jobs: int) -> Figures:
        client.flushdb()
        for _ in range(jobs):
            module.noop.delay({"a": 1})

        def finished() -> int:
            # A job has ended when it is neither queued nor unacknowledged.
            return jobs - int(client.llen(module.QUEUE)) - int(client.hlen("unacked"))

        with processes(servers.folder, environ, [*worker, "--without-gossip", "--without-mingle"]):
            marks = []
            for share in (0.02, 0.5, 1):
                until(lambda share=share: finished() >= share * jobs, every=0.005)  # type: ignore[misc]
                marks.append((finished(), time.monotonic()))
        (first, began), (half, middle), (_, ended) = marks
        return {"jobs/s": (jobs - first) / (ended - began), "warm, jobs/s": (jobs - half) / (ended - middle)}

    return drain


def oban(servers: Servers) -> Drain:
    """Oban for Python, the open edition: ten concurrent jobs per process. It stores arguments and results."""
    python, database = environment.python(), servers.database("oban")
    environ = {"OBAN_DSN": database.url, "PYTHONPATH": str(ROOT)}
    program = str(Path(python).with_name("oban"))
    subprocess.run([program, "install"], env={**os.environ, **environ}, check=True, capture_output=True)
    start = ["oban", "start", "--cron-modules", "bench.peers.oban_noop", "--log-level", "warning"]
    command = [*start, "--queues", f"default:{_OBAN_SLOTS}"]
    ended = "SELECT count(*) FROM oban_jobs WHERE state = 'completed'"

    def drain(jobs: int) -> Figures:
        database.value("TRUNCATE oban_jobs")
        fill = [python, "-m", "bench.peers.oban_fill", str(jobs)]
        subprocess.run(fill, env={**os.environ, **environ}, check=True, capture_output=True)
        database.value("ANALYZE")
        with processes(servers.folder, environ, command, command, python=python):
            until(lambda: database.value(ended) >= jobs, every=0.5)
            return rates(jobs, *drained_seconds(database, "oban_jobs", "completed_at"))

    return drain


#: By the name in the table, in the order of measurement.
PEERS: dict[str, Callable[[Servers], Drain]] = {"bare Celery on Redis": bare_celery, "Oban, 10 slots": oban}


def available_drains(run: Run, measure: str) -> dict[str, Drain]:
    """Return the drains of the peers that this machine can run; a note in the table explains a missing one."""
    drains = {}
    for name, make in PEERS.items():
        try:
            drains[name] = make(run.servers)
        except environment.PeerMissing as why:
            run.table.note(f"{measure}, beside {name}", f"{name} is not measured: {why}")
    return drains
