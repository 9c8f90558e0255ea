"""Drains of the peers: queued no-op jobs, two processes, from the end of the first job to the end of the last."""

from __future__ import annotations

import importlib
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from bench.peers import environment
from bench.servers import ROOT, Database, Servers, processes, until

#: Drains a number of jobs once and returns the jobs per second.
Drain = Callable[[int], float]

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

    def drain(jobs: int) -> float:
        client.flushdb()
        for _ in range(jobs):
            module.noop.delay({"a": 1})

        def finished() -> int:
            # A job has ended when it is neither queued nor unacknowledged.
            return jobs - int(client.llen(module.QUEUE)) - int(client.hlen("unacked"))

        with processes(servers.folder, environ, [*worker, "--without-gossip", "--without-mingle"]):
            until(lambda: finished() > jobs / 50, every=0.005)
            first, began = finished(), time.monotonic()
            until(lambda: finished() >= jobs)
            return (jobs - first) / (time.monotonic() - began)

    return drain


def oban(servers: Servers) -> Drain:
    """Oban for Python, the open edition: ten concurrent jobs per process. It stores arguments and results."""
    python, database = environment.python(), servers.database("oban")
    environ = {"OBAN_DSN": database.url, "PYTHONPATH": str(ROOT)}
    program = str(Path(python).with_name("oban"))
    subprocess.run([program, "install"], env={**os.environ, **environ}, check=True, capture_output=True)
    start = ["oban", "start", "--cron-modules", "bench.peers.oban_noop", "--log-level", "warning"]
    ended = "SELECT {} FROM oban_jobs WHERE state = 'completed'"
    span = "extract(epoch FROM max(completed_at) - min(completed_at))::float8"
    clear = "TRUNCATE oban_jobs"
    command = [*start, "--queues", f"default:{_OBAN_SLOTS}"]
    return _postgres_drain(servers, database, python, environ, command, "oban_fill", (clear, ended, span))


def pgqueuer(servers: Servers) -> Drain:
    """PgQueuer on asyncpg, batches of ten. It stores status lines, but no inputs or results."""
    python, database = environment.python(), servers.database("pgqueuer")
    install = [python, "-m", "pgqueuer", "--pg-dsn", database.url]
    for command in (["install", "--durability", "durable"], ["autovac"]):
        subprocess.run([*install, *command], check=True, capture_output=True)
    environ = {"BENCH_PGQUEUER": database.url, "PYTHONPATH": str(ROOT)}
    ended = "SELECT {} FROM pgqueuer_log WHERE status = 'successful'"
    span = "extract(epoch FROM max(created) - min(created))::float8"
    clear = "TRUNCATE pgqueuer, pgqueuer_log"
    command = ["bench.peers.pgqueuer_noop"]
    return _postgres_drain(servers, database, python, environ, command, "pgqueuer_noop", (clear, ended, span))


def _postgres_drain(
    servers: Servers,
    database: Database,
    python: str,
    environ: dict[str, str],
    command: list[str],
    module: str,
    statements: tuple[str, str, str],
) -> Drain:
    """`statements`: delete all jobs; query the ended ones; the SQL of the seconds between the first and last end."""
    clear, ended, span = statements

    def value(what: str) -> Any:
        return database.value(ended.format(what))

    def drain(jobs: int) -> float:
        database.value(clear)
        fill = [python, "-m", f"bench.peers.{module}", str(jobs)]
        subprocess.run(fill, env={**os.environ, **environ}, check=True, capture_output=True)
        with suppress(Exception):
            database.value("ANALYZE")
        with processes(servers.folder, environ, command, command, python=python):
            until(lambda: value("count(*)") >= jobs, every=0.5)
            return float((jobs - 1) / value(span))

    return drain


#: By the name in the table, in the order of measurement.
PEERS: dict[str, Callable[[Servers], Drain]] = {
    "bare Celery on Redis": bare_celery,
    "Oban, 10 slots": oban,
    "PgQueuer": pgqueuer,
}
