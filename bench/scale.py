"""Measure the cost of millions of rows of one tenant; the *baseline* is AVA Jobs with 10,000 jobs.

Sends every read that clients may send to both. Then it drains with millions of finished jobs, and with a million
waiting.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from urllib.parse import quote

import requests

from ava.domain import ids
from ava.domain.jobs.job import Job, Status
from ava.domain.jobs.job_filter import JobFilter
from ava.store.jobs.reads.lists import Payloads
from bench import rows
from bench.load import percentile
from bench.run import Run
from bench.servers import until
from bench.systems import HEADERS, Ours
from bench.table import BASELINE, OURS

FEW = 10_000
#: Timed rounds of each read, max seconds of a round, and its first requests, which do not count.
_ROUNDS = 7
_ROUND_SECONDS = 4.0
_WARM_UP = 20
_URL = "/v1/ava/jobs?per_page=20"
#: Prefixes of the reads whose cost must not grow with the table.
_PROMISED = ("list", "show", "logs")


def scale(run: Run) -> None:
    """Measure a small system and a large one."""
    jobs, drained = run.count(5_000_000), run.count(10_000)
    systems = {name: Ours(run.servers, "redis", f"jobs_{name[:3]}".lower()) for name in (BASELINE, OURS)}
    sizes = {BASELINE: FEW, OURS: jobs}
    for name, system in systems.items():
        rows.fill(system.database, sizes[name])
    many = systems[OURS]
    _read(run, systems, sizes)
    for name, system in systems.items():
        rows.forget_open(system.database)
        system.fill(drained)
        run.table.add("drain, 5 million finished", name, {"jobs/s": _drained(system, drained)})
    many.clear()
    rows.wait_in_database(many.database, run.count(1_000_000))
    run.table.add("drain, 1 million waiting", OURS, {"jobs/s": _drained(many, drained)})


def _read(run: Run, systems: dict[str, Ours], sizes: dict[str, int]) -> None:
    """Time every read of both systems, alternating."""
    with ExitStack() as stack:
        readers = {}
        for system, ours in systems.items():
            session = stack.enter_context(requests.Session())
            session.headers.update(HEADERS)
            address = f"http://127.0.0.1:{stack.enter_context(ours.api())}"
            readers[system] = _Reader(session, address, _reads(ours, _some(ours), sizes[system]))
        for _ in range(_ROUNDS):
            for name in readers[OURS].paths:
                for reader in readers.values():
                    reader.time(name, run.count(200, least=40))
    for system, reader in readers.items():
        for measure, is_promised in (("p99 at 5 million jobs", True), ("other reads at 5 million jobs, p99", False)):
            # Medians over the rounds, because a hiccup affects only one of them.
            figures = {
                f"{name}, ms": median(rounds)
                for name, rounds in reader.rounds.items()
                if name.startswith(_PROMISED) == is_promised
            }
            run.table.add(measure, system, figures)


def _drained(system: Ours, jobs: int) -> float:
    """Return the jobs per second until this many have ended, among rows that remain."""
    timestamp = system.database.value("SELECT clock_timestamp()")

    def ended() -> int:
        return int(system.database.value("SELECT count(*) FROM jobs WHERE completed_at > %s", timestamp))

    with system.workers():
        until(lambda: ended() > 0)
        began, first = time.monotonic(), ended()
        until(lambda: ended() >= jobs, seconds=300, every=0.2)
        return (ended() - first) / (time.monotonic() - began)


def _newest(system: Ours) -> Job:
    """Return the newest completed job."""
    return system.jobs.page(system.caller, JobFilter(status=Status.COMPLETED), limit=1, payloads=Payloads())[0].jobs[0]


def _some(system: Ours) -> list[str]:
    """Return ids from all over the table."""
    count = system.database.value("SELECT reltuples FROM pg_class WHERE relname = 'jobs'")
    share = min(100.0, 100 * 2_000 / max(1, count))
    found = system.database.rows("SELECT id::text FROM jobs TABLESAMPLE BERNOULLI (%s)", share)
    return [ids.encode("job", id_) for (id_,) in random.sample(found, min(len(found), 500))]


def _reads(system: Ours, some: list[str], jobs: int) -> dict[str, Callable[[int], str]]:
    """Return the timed requests, each as a function from a number to a path. All lists except the last fill a page."""
    newest = _newest(system)
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
    page = system.jobs.page(system.caller, JobFilter(status=Status.QUEUED), limit=20, payloads=Payloads())[0]
    queued = [job.id for job in page.jobs]
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
    #: The p99 in milliseconds of each round, by read.
    rounds: dict[str, list[float]] = field(default_factory=dict)

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
        self.rounds.setdefault(name, []).append(percentile(took[_WARM_UP:], 99))
