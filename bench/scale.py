"""`python -m bench.scale [--jobs 5000000]`: the cost of millions of rows of one tenant: reads, drains, urgent starts.

Fills one system with 10,000 jobs and one with many, and sends every read that clients may send: prints p99 over HTTP
for both, and their ratio. Checks the plan of every combination of filters and of every other read: a plan that scans a
whole table, or discards thousands of rows, is a fault. Then it drains with millions of finished jobs, and with a
million waiting. Exits with 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from urllib.parse import quote

import requests

from ava.domain import ids
from ava.domain.jobs.job import JobSpec, Status
from ava.domain.jobs.job_filter import JobFilter
from ava.store.engine.database import Database as StoreDatabase
from ava.store.jobs.reads.lists import Payloads
from bench import plans, rows
from bench.load import percentile
from bench.servers import Servers, until
from bench.systems import HEADERS, Ours

FEW = 10_000
#: Timed rounds of each read, max seconds of a round, and its first requests, which do not count.
_ROUNDS = 7
_ROUND_SECONDS = 4.0
_WARM_UP = 20
_URL = "/v1/ava/jobs?per_page=20"
#: Prefixes of the reads whose cost must not grow with the table.
PROMISED = ("list", "show", "logs")
#: p50 and p99 in milliseconds of each read.
Figures = dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The result."""

    few: Figures
    many: Figures
    faults: list[str]
    #: Jobs per second with few finished jobs, with many, and with a backlog; empty without drains.
    drains: tuple[float, ...]
    #: Milliseconds from the triggers of urgent jobs to their starts, with the backlog.
    urgent: list[float]


# Reading -------------------------------------------------------------------------------------------------------------


def _some(system: Ours) -> list[str]:
    """Return ids from all over the table."""
    count = system.database.value("SELECT reltuples FROM pg_class WHERE relname = 'jobs'")
    share = min(100.0, 100 * 2_000 / max(1, count))
    found = system.database.rows("SELECT id::text FROM jobs TABLESAMPLE BERNOULLI (%s)", share)
    return [ids.encode("job", id_) for (id_,) in random.sample(found, min(len(found), 500))]


def _ids(system: Ours, status: Status) -> list[str]:
    return [
        job.id
        for job in system.jobs.page(system.caller, JobFilter(status=status), limit=20, payloads=Payloads())[0].jobs
    ]


def _reads(system: Ours, some: list[str], jobs: int) -> dict[str, Callable[[int], str]]:
    """Return the timed requests, each as a function from a number to a path. All lists except the last fill a page."""
    newest = system.jobs.page(system.caller, JobFilter(status=Status.COMPLETED), limit=1, payloads=Payloads())[0].jobs[
        0
    ]
    lately = quote((newest.created_at - timedelta(seconds=30)).isoformat())
    long_ago = quote((newest.created_at - rows.APART * jobs / 2).isoformat())
    filters = {
        "list": "",
        "list, page 50": "&page=50",
        "list, by status": "&filter[status]=failed",
        "list, by rare status": "&filter[status]=running",
        "list, by worker": "&filter[worker_id]=wkr_noop",
        "list, by rare worker": "&filter[worker_id]=wkr_rare",
        "list, by trigger": "&filter[trigger]=event",
        "list, by rare trigger": "&filter[trigger]=scheduled",
        "list, after": f"&filter[created_after]={lately}",
        "list, before": f"&filter[created_before]={long_ago}",
        "list, between": f"&filter[created_after]={long_ago}&filter[created_before]={lately}",
        "list, by status, worker": "&filter[worker_id]=wkr_noop&filter[status]=failed",
        "list, by status, trigger": "&filter[status]=cancelled&filter[trigger]=webhook",
        "list, by all": "&filter[worker_id]=wkr_noop&filter[status]=completed&filter[trigger]=manual"
        f"&filter[created_after]={long_ago}&filter[created_before]={lately}",
        "list, nothing found": "&filter[status]=running&filter[worker_id]=wkr_none",
    }
    queued = _ids(system, Status.QUEUED)
    paths: dict[str, Callable[[int], str]] = {
        name: lambda _, path=f"{_URL}{query}": path for name, query in filters.items()
    }
    return paths | {
        "show": lambda n: f"/v1/ava/jobs/{some[n % len(some)]}",
        "logs": lambda n: f"/v1/ava/jobs/{some[n % len(some)]}/logs",
        "logs, long": lambda _: f"/v1/ava/jobs/{newest.id}/logs",
        "logs, long, errors": lambda _: f"/v1/ava/jobs/{newest.id}/logs?filter[level]=error",
        "why, final": lambda n: f"/v1/ava/jobs/{some[n % len(some)]}/why",
        "why, queued": lambda n: f"/v1/ava/jobs/{queued[n % len(queued)]}/why",
        "queues": lambda _: "/v1/ava/queues",
        "overview": lambda _: "/v1/ava/overview",
        "nodes": lambda _: "/v1/ava/nodes",
    }


@dataclass
class _Reader:
    """A client that times every read of one system."""

    session: requests.Session
    address: str
    paths: dict[str, Callable[[int], str]]
    #: p50 and p99 in milliseconds of each round, by read.
    rounds: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def time(self, name: str, most: int) -> None:
        """Time one round of one read."""
        took: list[float] = []
        until_at = time.monotonic() + _ROUND_SECONDS
        for number in range(most + _WARM_UP):
            began = time.perf_counter()
            response = self.session.get(self.address + self.paths[name](number))
            took.append((time.perf_counter() - began) * 1000)
            assert response.ok, response.text
            if time.monotonic() > until_at:
                break
        took = took[_WARM_UP:]
        self.rounds.setdefault(name, []).append((percentile(took, 50), percentile(took, 99)))

    @property
    def figures(self) -> Figures:
        """Return p50 and p99 of each read: medians over the rounds, because a hiccup affects only one of them."""
        return {
            name: (median(p50 for p50, _ in rounds), median(p99 for _, p99 in rounds))
            for name, rounds in self.rounds.items()
        }


def read(systems: dict[int, Ours], *, requests_each: int) -> list[Figures]:
    """Time every read of every system, alternating; `systems` by number of jobs. Returns the figures of each."""
    with ExitStack() as stack:
        readers = []
        for jobs, system in systems.items():
            session = stack.enter_context(requests.Session())
            session.headers.update(HEADERS)
            address = f"http://127.0.0.1:{stack.enter_context(system.api())}"
            readers.append(_Reader(session, address, _reads(system, _some(system), jobs)))
        for _ in range(_ROUNDS):
            for name in readers[0].paths:
                for reader in readers:
                    reader.time(name, requests_each)
    return [reader.figures for reader in readers]


def explain(system: Ours) -> list[str]:
    """Check the plan of every read. Returns the faults."""
    newest = system.jobs.page(system.caller, JobFilter(status=Status.COMPLETED), limit=1, payloads=Payloads())[0].jobs[
        0
    ]
    database = StoreDatabase(system.database.url, name="bench", statement_seconds=120)
    findings, count = plans.check(database, newest.created_at, _some(system), newest.id)
    database.close()
    print(f"  {len(findings):,} statements of {count:,} reads explained; the slowest:", flush=True)
    for found in sorted(findings, key=lambda finding: -finding.milliseconds)[:5]:
        counts = f"{found.removed:,} discarded, {found.sorted_rows:,} sorted"
        print(f"    {found.milliseconds:.1f} ms, {counts}: {found.name}")
    return [fault for finding in findings for fault in finding.faults]


# Draining ------------------------------------------------------------------------------------------------------------


def _finished_since(system: Ours, timestamp: object) -> int:
    return int(system.database.value("SELECT count(*) FROM jobs WHERE completed_at > %s", timestamp))


def drain(system: Ours, *, jobs: int) -> float:
    """Return the jobs per second of a drain that retains existing rows."""
    timestamp = system.database.value("SELECT clock_timestamp()")
    system.fill(jobs)
    return _drained(system, timestamp, jobs)


def _drained(system: Ours, timestamp: object, jobs: int) -> float:
    with system.workers():
        until(lambda: _finished_since(system, timestamp) > 0)
        began, done = time.monotonic(), _finished_since(system, timestamp)
        until(lambda: _finished_since(system, timestamp) >= jobs, seconds=300, every=0.2)
        return (_finished_since(system, timestamp) - done) / (time.monotonic() - began)


def drain_with_backlog(system: Ours, *, waiting: int, jobs: int) -> tuple[float, list[float]]:
    """Return the jobs per second while a backlog waits in the database, and milliseconds until urgent jobs started."""
    rows.wait_in_database(system.database, waiting)
    timestamp = system.database.value("SELECT clock_timestamp()")
    with system.workers():
        until(lambda: _finished_since(system, timestamp) > jobs // 10)
        began, done = time.monotonic(), _finished_since(system, timestamp)
        until(lambda: _finished_since(system, timestamp) - done >= jobs, seconds=300, every=0.2)
        rate = (_finished_since(system, timestamp) - done) / (time.monotonic() - began)
        return rate, _urgent(system)


def _urgent(system: Ours) -> list[float]:
    took: list[float] = []
    for _ in range(100):
        spec = JobSpec(worker_id="wkr_mark", input_json="{}", priority=1)
        ((job,), _) = system.jobs.trigger(system.caller, [spec])
        until(lambda job=job: system.jobs.show(system.caller, job.id).is_final, every=0.01)
        final = system.jobs.show(system.caller, job.id)
        assert final.started_at is not None
        took.append((final.started_at - final.created_at).total_seconds() * 1000)
    return took


# All of it -----------------------------------------------------------------------------------------------------------


def measure(servers: Servers, *, jobs: int, waiting: int, drained: int, requests_each: int) -> Scale:
    """Measure a small system and a large one."""
    systems = {size: Ours(servers, "redis", f"jobs_{size}") for size in (FEW, jobs)}
    for size, system in systems.items():
        rows.fill(system.database, size)
    # Only for the large one: for a small table a full scan may be the best plan.
    faults = explain(systems[jobs])
    few, many = read(systems, requests_each=requests_each)
    drains: list[float] = []
    urgent: list[float] = []
    if drained:
        for system in systems.values():
            rows.forget_open(system.database)
            drains.append(drain(system, jobs=drained))
        systems[jobs].clear()
        rate, urgent = drain_with_backlog(systems[jobs], waiting=waiting, jobs=drained)
        drains.append(rate)
    return Scale(few=few, many=many, faults=faults, drains=tuple(drains), urgent=urgent)


def _table(few: Figures, many: Figures, jobs: int) -> list[str]:
    lines = [
        f"| read | {FEW:,}: p50 ms | p99 ms | {jobs:,}: p50 ms | p99 ms | ratio of p99 |",
        "|---|---|---|---|---|---|",
    ]
    for name, (p50, p99) in many.items():
        before = few[name]
        lines.append(f"| {name} | {before[0]:.1f} | {before[1]:.1f} | {p50:.1f} | {p99:.1f} | {p99 / before[1]:.2f} |")
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5_000_000)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--drain", type=int, default=10_000, help="jobs of each drain; 0 for none")
    parser.add_argument("--requests", type=int, default=200, help="timed requests of each read in a round")
    return parser.parse_args()


def main() -> int:
    """Measure, and print the result."""
    given, began = _options(), time.monotonic()
    with ExitStack() as stack:
        found = measure(
            Servers(stack),
            jobs=given.jobs,
            waiting=given.waiting,
            drained=given.drain,
            requests_each=given.requests,
        )
    print("\n" + "\n".join(_table(found.few, found.many, given.jobs)) + "\n")
    if found.drains:
        beside = (f"beside {FEW:,} jobs", f"beside {given.jobs:,} jobs", f"with {given.waiting:,} waiting")
        for what, rate in zip(beside, found.drains, strict=True):
            print(f"drain {what}: {rate:,.0f} jobs/s")
        p50, p99 = percentile(found.urgent, 50), percentile(found.urgent, 99)
        print(f"an urgent job then starts after {p50:.1f} ms (p50), {p99:.1f} ms (p99)")
    for fault in found.faults:
        print(f"FAULT: {fault}")
    print(f"{len(found.faults)} faults; took {time.monotonic() - began:.0f} s")
    return int(bool(found.faults))


if __name__ == "__main__":
    sys.exit(main())
