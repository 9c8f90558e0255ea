"""Measure reads of analytics and errors of a tenant with millions of jobs, over 200 workers and 90 days."""

from __future__ import annotations

import time
from contextlib import closing

import requests

from ava.services.reports import recount
from ava.store.engine.database import Database as StoreDatabase
from bench import rows
from bench.load import percentile
from bench.servers import Database
from bench.systems import HEADERS, Ours
from bench.table import Figures

_DAYS = 90
_BATCH = 250_000
_WARM_UP = 20
_MAX_SECONDS = 30.0
# Every job has ended. Its properties are functions of its number, and independent of each other.
_JOBS = """
INSERT INTO jobs (id, tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, created_at,
                  published_at, started_at, completed_at, node_id, run_no, attempt, max_attempts, output, error,
                  stop_status, cancel_requested_at, cancelled_by, end_no)
SELECT encode(substring(int8send(round(extract(epoch FROM t.at) * 1000)::bigint) FROM 3)
              || set_byte(substring(uuid_send(gen_random_uuid()) FROM 7), 0, (112 + n %% 16)::int), 'hex')::uuid,
       'ten_bench', 'wkr_w' || n * 15485863 %% 200, t.status,
       (ARRAY['manual', 'scheduled', 'webhook', 'event'])[1 + n / 200 %% 4], 5, 'default', '{"n":1}', 'usr_bench',
       t.at, t.at, t.at + t.waited, t.at + t.waited + t.ran, '00000000-0000-7000-8000-000000000001', 1, 1, 1,
       CASE WHEN t.status = 'completed' THEN '{"sent":true}'::json END,
       CASE WHEN t.status = 'failed' THEN 'ValueError: no such channel' END,
       CASE WHEN t.status = 'cancelled' THEN 'cancelled' END,
       CASE WHEN t.status = 'cancelled' THEN t.at END, CASE WHEN t.status = 'cancelled' THEN 'usr_bench' END, n
FROM (
    SELECT n,
        date_trunc('milliseconds', now()) - interval '1 hour' - (%(jobs)s - n) * (interval '90 days' / %(jobs)s) AS at,
        exp((hashint8(-n) & 1023) / 90.0) * interval '1 ms' AS waited,
        exp((hashint8(n) & 1023) / 75.0) * interval '1 ms' AS ran,
        CASE WHEN n * 611953 %% 100 < 4 THEN 'failed' WHEN n * 611953 %% 100 < 6 THEN 'cancelled'
             ELSE 'completed' END AS status
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
) AS t
"""
# The max number of groups of a tenant, each with failed jobs on each day.
_GROUPS = """
INSERT INTO error_groups (id, tenant_id, worker_id, kind, message, first_seen_at, last_seen_at, sample_job_id)
SELECT gen_random_uuid(), 'ten_bench', 'wkr_w' || n %% 200, 'ValueError', 'no such channel ' || n,
    now() - interval '90 days', now() - n * interval '1 minute', gen_random_uuid()
FROM generate_series(1, 1000) AS n
"""
_DAYS_OF_GROUPS = """
INSERT INTO error_days (tenant_id, error_id, day, jobs)
SELECT g.tenant_id, g.id, date_trunc('day', now(), 'UTC') - n * interval '1 day', 1 + n
FROM error_groups AS g CROSS JOIN generate_series(0, 90) AS n
"""
_TABLES = ("jobs", "job_counts", "job_time_histograms", "error_groups", "error_days")
_READS = {
    "analytics": "analytics?days=90",
    "analytics, by day": "analytics?days=90&group_by=day",
    "analytics, by hour, percentiles": "analytics?days=90&group_by=hour&percentiles=true",
    "analytics, one worker": "analytics?days=90&group_by=day&percentiles=true&filter[worker_id]=wkr_w7",
    "errors": "errors?days=90",
    "errors, page of 100": "errors?days=90&per_page=100",
    "errors, page 9 of 100": "errors?days=90&per_page=100&page=9",
    "errors, one worker": "errors?days=90&filter[worker_id]=wkr_w7&filter[status]=open",
}


def fill(ours: Ours, jobs: int) -> None:
    """Write `jobs` ended jobs, count them like the system, and write error groups."""
    database, began = ours.database, time.monotonic()
    rows.without_events(database, True)
    with rows.indexed_afterwards(database):
        for first in range(1, jobs + 1, _BATCH):
            last = min(first + _BATCH - 1, jobs)
            database.run(_JOBS, {"first": first, "last": last, "jobs": jobs})
            print(f"  {last:,} jobs written after {time.monotonic() - began:.0f} s", flush=True)
    rows.without_events(database, False)
    rows.number_ends(database, jobs)
    database.run("ANALYZE jobs", {})
    with closing(StoreDatabase(database.url, name="bench", statement_seconds=600)) as store:
        counted = sum(number for _, number in recount(store, retention_days=_DAYS + 2))
    for statement in (_GROUPS, _DAYS_OF_GROUPS, *(f"VACUUM (ANALYZE) {table}" for table in _TABLES)):
        database.run(statement, {})
    print(f"  {counted:,} jobs counted after {time.monotonic() - began:.0f} s: {_sizes(database)}", flush=True)


def _sizes(database: Database) -> str:
    counts = {table: database.value(f"SELECT count(*) FROM {table}") for table in _TABLES[1:]}
    return ", ".join(f"{count:,} rows of {table}" for table, count in counts.items())


def read(ours: Ours, *, requests_each: int) -> Figures:
    """Return p50 and p99 of each read over HTTP, in milliseconds."""
    figures: Figures = {}
    with ours.api() as port, requests.Session() as session:
        session.headers.update(HEADERS)
        for name, path in _READS.items():
            took = _timed(session, f"http://127.0.0.1:{port}/v1/ava/{path}", requests_each)
            figures |= {f"{name}, p50 ms": percentile(took, 50), f"{name}, p99 ms": percentile(took, 99)}
    return figures


def _timed(session: requests.Session, url: str, most: int) -> list[float]:
    took: list[float] = []
    until_at = time.monotonic() + _MAX_SECONDS
    while len(took) < most + _WARM_UP and (time.monotonic() < until_at or len(took) < 2 * _WARM_UP):
        began = time.perf_counter()
        response = session.get(url)
        took.append((time.perf_counter() - began) * 1000)
        assert response.ok, response.text
    return took[_WARM_UP:]
