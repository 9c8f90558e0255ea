"""Measure jobs of some milliseconds, like most real ones: AVA Jobs, a careful author's Celery, and plain Celery.

The *honest* baseline (`bench.peers.honest_celery`) stores a row and four log lines per job; the *bare* one stores
nothing. All jobs are queued before the processes start. The processor time is that of all processes of a system and of
PostgreSQL, without the broker's.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
from psycopg2.extras import execute_values

from bench.cost import postgres_processes, seconds_of
from bench.run import Run
from bench.servers import Servers, processes, until
from bench.systems import FullOurs
from bench.table import BASELINE, OURS, Figures

_MS = (2, 5, 10, 20, 100)
_CHILDREN = (2, 8)
_BROKERS = ("redis", "rabbitmq")
#: Seconds of one drain at the best possible rate, and its max number of jobs.
_SECONDS = 4
_MAX_JOBS = 4_000
#: The share of the jobs that end before the measure begins.
_BEFORE = 0.1


class _Ours:
    def __init__(self, system: FullOurs) -> None:
        self._system, self.database = system, system.database

    def fill(self, jobs: int, ms: float) -> None:
        self._system.clear()
        self._system.fill(jobs, handler="brief_nap", input_json=f'{{"ms":{ms}}}')

    def workers(self, children: int) -> Any:
        return self._system.workers(children=children)

    def finished(self, _jobs: int) -> int:
        return self._system.finished()


class _Celery:
    """One of `bench.peers`, by module name."""

    def __init__(self, servers: Servers, broker: str, name: str) -> None:
        self._folder, self._name = servers.folder, name
        self.database = servers.database(f"{name}_{broker}")
        self._environ = {
            f"BENCH_{name.upper()}_BROKER": servers.broker(broker),
            f"BENCH_{name.upper()}_DATABASE": self.database.url,
        }
        os.environ.update(self._environ)
        # The module reads its environment when it is loaded.
        self._module = importlib.reload(importlib.import_module(f"bench.peers.{name}_celery"))

    def fill(self, jobs: int, ms: float) -> None:
        with self._queue() as queue:
            queue.declare()
            queue.purge()
        if hasattr(self._module, "SCHEMA"):
            self.database.value(self._module.SCHEMA)
            rows = [(number, f'{{"ms":{ms}}}') for number in range(jobs)]
            self.database.each(execute_values, "INSERT INTO jobs (id, input) VALUES %s", rows)
        for number in range(jobs):
            self._module.nap.delay(number, ms)

    @contextmanager
    def workers(self, children: int) -> Iterator[list[int]]:
        command = ["celery", "-A", f"bench.peers.{self._name}_celery:queue", "worker", "-c", str(children)]
        options = ["-l", "WARNING", "--without-gossip", "--without-mingle"]
        with processes(self._folder, self._environ, [*command, *options]) as pids:
            yield pids

    def finished(self, jobs: int) -> int:
        # Prefetched jobs count as ended, before and after, so the difference is right.
        with self._queue() as queue:
            return jobs - int(queue.queue_declare().message_count)

    @contextmanager
    def _queue(self) -> Iterator[Any]:
        app, name = self._module.queue, self._module.QUEUE
        with app.connection_for_write() as connection:
            yield app.amqp.queues[name](connection.default_channel)


_Drained = _Ours | _Celery


def ordinary(run: Run) -> None:
    """Run jobs of 2 to 100 ms on two and eight processes, on both brokers."""
    for broker in _BROKERS:
        _compare(run, broker, _MS, _CHILDREN)


def ordinary_10_ms(run: Run) -> None:
    """Run jobs of 10 ms on eight processes, on Redis."""
    _compare(run, "redis", (10,), (8,))


def _compare(run: Run, broker: str, durations: Sequence[int], counts: Sequence[int]) -> None:
    ours = _Ours(run.full(broker))
    peers = {name: _Celery(run.servers, broker, name) for name in ("honest", "bare")}
    for _ in range(run.rounds):
        for ms in durations:
            for children in counts:
                jobs = run.count(min(_MAX_JOBS, round(_SECONDS * children * 1000 / ms)), least=300)
                measure = f"jobs of {ms} ms, {children} processes, {broker}"
                found = {name: _drain(peer, jobs, ms, children) for name, peer in peers.items()}
                own = _drain(ours, jobs, ms, children)
                for name, figures in found.items():
                    run.table.add(f"{measure}, beside {name} Celery", BASELINE, figures)
                    run.table.add(f"{measure}, beside {name} Celery", OURS, own)


def _drain(system: _Drained, jobs: int, ms: float, children: int) -> Figures:
    system.fill(jobs, ms)
    with system.workers(children) as pids:
        until(lambda: system.finished(jobs) >= _BEFORE * jobs, every=0.05)
        first, used, began = system.finished(jobs), _processor_seconds(system, pids), time.monotonic()
        # Rarely, because polling takes time from the measured processes.
        until(lambda: system.finished(jobs) >= jobs, seconds=300, every=0.1)
        seconds, count = time.monotonic() - began, jobs - first
        used = _processor_seconds(system, pids) - used
    return {
        "jobs/s": count / seconds,
        "share of the best possible": count / seconds * ms / 1000 / children,
        "CPU ms a job": used * 1000 / count,
    }


def _processor_seconds(system: _Drained, pids: Sequence[int]) -> float:
    own = [process for pid in pids for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]
    return sum(map(seconds_of, [*own, *postgres_processes(system.database)]))
