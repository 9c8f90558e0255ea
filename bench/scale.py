"""`python -m bench.scale [--jobs 5000000]`: what millions of rows cost: reading, draining, and an urgent job's start.

Fills the tables with finished jobs of one tenant, then compares with an all but empty system, in one run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import ExitStack

import requests

from ava.domain.job import JobSpec
from ava.store.reads import JobFilter
from bench.ground import Ground, until
from bench.load import percentile
from bench.systems import HEADERS, Ours

# The ids carry their moments, as those that the service makes do: one job each ten milliseconds up to now.
_FINISHED = """
INSERT INTO jobs (id, tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, created_at,
                  published_at, started_at, completed_at, node_id, run_no, attempt, max_attempts, output, error)
SELECT encode(substring(int8send((extract(epoch FROM t.at) * 1000)::bigint) FROM 3)
              || set_byte(substring(uuid_send(gen_random_uuid()) FROM 7), 0,
                          112 + get_byte(uuid_send(gen_random_uuid()), 6) %% 16), 'hex')::uuid,
       'ten_bench', 'wkr_' || (ARRAY['noop', 'mark', 'nap'])[1 + n %% 3],
       CASE WHEN n %% 50 = 0 THEN 'failed' ELSE 'completed' END,
       (ARRAY['manual', 'scheduled', 'webhook', 'event'])[1 + n %% 4], 5, 'default', '{"a":1}', 'usr_bench', t.at, t.at,
       t.at, t.at, '00000000-0000-7000-8000-000000000000', 1, 1, 1, '{"ok":1}',
       CASE WHEN n %% 50 = 0 THEN 'ValueError: one in fifty fails' END
FROM generate_series(%s::bigint, %s::bigint) AS n
CROSS JOIN LATERAL (SELECT now() - (%s - n) * interval '10 milliseconds' AS at) AS t
"""
_LINES = """
INSERT INTO job_logs (job_id, seq, ts, level, msg)
SELECT id, 4294967296 + l, created_at, 'info', 'Line ' || l FROM jobs CROSS JOIN generate_series(0, 3) AS l
WHERE created_at > now() - interval '3 hours'
"""
_BATCH = 250_000


def fill(system: Ours, jobs: int) -> None:
    """Write finished jobs, and log lines of the youngest million."""
    for first in range(1, jobs + 1, _BATCH):
        last = min(first + _BATCH - 1, jobs)
        system.database.value(_FINISHED, first, last, jobs)
        print(f"  {last:,} finished jobs are there", flush=True)
    system.database.value(_LINES)
    system.database.value("VACUUM (ANALYZE) jobs")
    system.database.value("VACUUM (ANALYZE) job_logs")


def _reads(system: Ours) -> dict[str, Callable[[int], str]]:
    """The requests that are measured, each as a path made of a number."""
    page = system.jobs.page(system.caller, JobFilter(), limit=100)[0]
    some = [job.id for job in page]
    after = page[-1].created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    lists = "/v1/ava/jobs?per_page=20"
    return {
        "show": lambda n: f"/v1/ava/jobs/{some[n % len(some)]}",
        "logs": lambda n: f"/v1/ava/jobs/{some[n % len(some)]}/logs",
        "list": lambda _: lists,
        "list, page 50": lambda _: f"{lists}&page=50",
        "list, by status": lambda _: f"{lists}&filter[status]=failed",
        "list, by worker": lambda _: f"{lists}&filter[worker_id]=wkr_nap",
        "list, by trigger": lambda _: f"{lists}&filter[trigger]=event",
        "list, by all": lambda _: (
            f"{lists}&filter[worker_id]=wkr_nap&filter[status]=failed&filter[trigger]=event"
            f"&filter[created_before]={after}"
        ),
        "list, nothing found": lambda _: f"{lists}&filter[status]=running&filter[worker_id]=wkr_none",
    }


def read(system: Ours, port: int, *, requests_each: int) -> dict[str, float]:
    """Milliseconds of each read, p99."""
    found: dict[str, float] = {}
    with requests.Session() as session:
        session.headers.update(HEADERS)
        for name, make in _reads(system).items():
            took: list[float] = []
            for number in range(requests_each + 20):
                began = time.perf_counter()
                answer = session.get(f"http://127.0.0.1:{port}{make(number)}")
                took.append((time.perf_counter() - began) * 1000)
                assert answer.ok, answer.text
            found[name] = percentile(took[20:], 99)
            found[f"{name}, p50"] = percentile(took[20:], 50)
    return found


def drain(system: Ours, *, jobs: int) -> float:
    """Jobs a second of a drain that leaves what is in the tables alone."""
    with system.workers():
        pass
    before = system.finished()
    system.fill(jobs)
    with system.workers():
        until(lambda: system.finished() > before)
        began, done = time.monotonic(), system.finished() - before
        until(lambda: system.finished() - before >= jobs, seconds=300, every=0.2)
        return (jobs - done) / (time.monotonic() - began)


def drain_with_backlog(system: Ours, *, waiting: int, jobs: int) -> float:
    """Jobs a second while a backlog waits in the database."""
    before = system.finished()
    system.database.value(_WAITING, waiting)
    system.database.value("VACUUM (ANALYZE) jobs")
    with system.workers():
        until(lambda: system.finished() - before > jobs // 10)
        began, done = time.monotonic(), system.finished()
        until(lambda: system.finished() - done >= jobs, seconds=300, every=0.2)
        rate = (system.finished() - done) / (time.monotonic() - began)
        print(f"  messages in the broker: {_messages(system):,}", flush=True)
        urgent = _urgent(system)
        print(f"  start of a priority-1 job: p50 {percentile(urgent, 50):.1f} ms, p99 {percentile(urgent, 99):.1f} ms")
    return rate


_WAITING = """
INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts)
SELECT 'ten_bench', 'wkr_noop', 'manual', 5, 'default', '{"a":1}', 'usr_bench', 1 FROM generate_series(1, %s)
"""


def _messages(system: Ours) -> int:
    statement = "SELECT count(*) FROM jobs WHERE status = 'queued' AND run_at IS NULL AND published_at IS NOT NULL"
    return int(system.database.value(statement))


def _urgent(system: Ours) -> list[float]:
    took: list[float] = []
    for _ in range(100):
        spec = JobSpec(worker_id="wkr_mark", input_json="{}", priority=1)
        (job,) = system.jobs.trigger(system.caller, [spec])
        until(lambda job=job: system.jobs.show(system.caller, job.id).is_final, every=0.01)
        final = system.jobs.show(system.caller, job.id)
        assert final.started_at is not None
        took.append((final.started_at - final.created_at).total_seconds() * 1000)
    return took


def main() -> None:
    """Measure an all but empty system and a full one."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5_000_000)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--drain", type=int, default=10_000)
    given = parser.parse_args()
    with ExitStack() as stack:
        ground = Ground(stack)
        system = Ours(ground, "redis")
        figures: dict[str, dict[str, float]] = {}
        for jobs in (10_000, given.jobs):
            system.clear()
            empty_rate = drain(system, jobs=given.drain)
            system.clear()
            fill(system, jobs)
            with system.api() as port:
                figures[f"{jobs:,}"] = read(system, port, requests_each=200)
            figures[f"{jobs:,}"]["drain, jobs/s"] = drain(system, jobs=given.drain)
            figures[f"{jobs:,}"]["drain, tables empty, jobs/s"] = empty_rate
        system.clear()
        figures[f"{given.waiting:,} waiting"] = {
            "drain, jobs/s": drain_with_backlog(system, waiting=given.waiting, jobs=given.drain)
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
