"""Write millions of rows of one tenant, distributed like those of a busy one: for `bench.scale`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from bench.servers import Database

#: The time from one job to the next.
APART = timedelta(milliseconds=10)
_NODE = "00000000-0000-7000-8000-000000000001"

# Ids contain times, like real ones: one job every ten milliseconds up to now. A job's properties result from
# multiplying its number by primes, so they are independent of each other. Rare values are frequent enough that ten
# thousand jobs fill a page of them, like millions do.
_JOBS = """
INSERT INTO jobs (id, tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, created_at,
                  waits_for, run_at, scheduled_at, published_at, started_at, completed_at, node_id, run_no, attempt,
                  max_attempts, output, error, stop_status, cancel_requested_at, cancelled_by,
                  end_no)
SELECT encode(substring(int8send(round(extract(epoch FROM t.at) * 1000)::bigint) FROM 3)
              || set_byte(substring(uuid_send(gen_random_uuid()) FROM 7), 0, (112 + n %% 16)::int), 'hex')::uuid,
       'ten_bench', t.worker, t.status, t.trigger, t.priority, 'default', '{"incident_id":"inc_01hxyz","n":1}',
       'usr_bench', t.at,
       CASE WHEN t.is_dated THEN 'schedule' END, CASE WHEN t.is_dated THEN now() + interval '1 year' END,
       CASE WHEN t.is_dated THEN now() + interval '1 year' END,
       CASE WHEN t.status <> 'queued' THEN t.at END,
       CASE WHEN t.has_run THEN t.at + interval '20 milliseconds' END,
       CASE WHEN t.is_final THEN t.at + interval '80 milliseconds' END,
       CASE WHEN t.has_run THEN %(node)s::uuid END, t.has_run::int, t.has_run::int, 1,
       CASE WHEN t.status = 'completed' THEN '{"sent":true}'::json END,
       CASE WHEN t.status = 'failed' THEN 'ValueError: no such channel' END,
       CASE WHEN t.status = 'cancelled' THEN 'cancelled' END,
       CASE WHEN t.status = 'cancelled' THEN t.at END, CASE WHEN t.status = 'cancelled' THEN 'usr_bench' END,
       CASE WHEN t.is_final THEN n END
FROM (
    SELECT s.*, s.status IN ('completed', 'failed', 'cancelled') AS is_final, s.status <> 'queued' AS has_run,
           s.status = 'queued' AND n %% 11 = 0 AS is_dated
    FROM (
        SELECT n, date_trunc('milliseconds', now()) - (%(jobs)s - n) * %(apart)s AS at,
            CASE WHEN n * 7919 %% 1000 < 3 THEN 'running' WHEN n * 7919 %% 1000 < 30 THEN 'queued'
                 WHEN n * 7919 %% 1000 < 80 THEN 'failed' WHEN n * 7919 %% 1000 < 120 THEN 'cancelled'
                 ELSE 'completed' END AS status,
            CASE WHEN n * 104729 %% 1000 < 3 THEN 'scheduled' WHEN n * 104729 %% 1000 < 100 THEN 'webhook'
                 WHEN n * 104729 %% 1000 < 300 THEN 'event' ELSE 'manual' END AS trigger,
            CASE WHEN n * 1299709 %% 400 = 7 THEN 'wkr_rare' WHEN n %% 3 = 0 THEN 'wkr_noop'
                 ELSE 'wkr_w' || n * 15485863 %% 20 END AS worker,
            CASE WHEN n * 611953 %% 10 < 7 THEN 5 ELSE 1 + n * 611953 %% 10 END AS priority
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
    ) AS s
) AS t
"""
# A few lines for the newest jobs, and one long log, with few lines that are not `info`.
_LINES = """
INSERT INTO job_logs (tenant_id, job_id, seq, times, levels, msgs)
SELECT tenant_id, id, 4294967296 + l, ARRAY[created_at], CASE l WHEN 2 THEN 'w' ELSE 'i' END, ARRAY['Line ' || l]
FROM (SELECT tenant_id, id, created_at FROM jobs WHERE status = 'completed' ORDER BY id DESC LIMIT 20000) AS j
CROSS JOIN generate_series(0, 3) AS l
"""
_LONG_LOG = """
INSERT INTO job_logs (tenant_id, job_id, seq, times, levels, msgs)
SELECT tenant_id, id, 4294967296 + 4 + l, ARRAY[created_at], CASE WHEN l %% 20000 = 0 THEN 'e' ELSE 'i' END,
       ARRAY['Line ' || l]
FROM (SELECT tenant_id, id, created_at FROM jobs WHERE status = 'completed' ORDER BY id DESC LIMIT 1) AS j
CROSS JOIN generate_series(1, 200000) AS l
"""
_WAITING = """
INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts)
SELECT 'ten_bench', 'wkr_noop', 'manual', 5, 'default', '{"a":1}', 'usr_bench', 1 FROM generate_series(1, %s)
"""
_BATCH = 250_000


def fill(database: Database, jobs: int) -> None:
    """Write jobs in every status, and log lines of the youngest."""
    began = time.monotonic()
    without_events(database, True)
    with indexed_afterwards(database):
        for first in range(1, jobs + 1, _BATCH):
            last = min(first + _BATCH - 1, jobs)
            database.run(_JOBS, {"first": first, "last": last, "jobs": jobs, "apart": APART, "node": _NODE})
            print(f"  {last:,} jobs written after {time.monotonic() - began:.0f} s", flush=True)
    without_events(database, False)
    number_ends(database, jobs)
    for statement in (_LINES, _LONG_LOG, "VACUUM (ANALYZE) jobs", "VACUUM (ANALYZE) job_logs"):
        database.run(statement, {})
    print(f"  filled after {time.monotonic() - began:.0f} s", flush=True)


@contextmanager
def indexed_afterwards(database: Database) -> Iterator[None]:
    """Drop the indexes of the jobs and create them after the rows, which takes a fraction of the time."""
    indexes = database.rows(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'jobs' AND indexname <> 'jobs_pkey'"
    )
    database.value("SET maintenance_work_mem = '1GB'")
    for name, _ in indexes:
        database.value(f"DROP INDEX {name}")
    yield
    for _, definition in indexes:
        database.value(definition)


def forget_open(database: Database) -> None:
    """Delete queued and running jobs, because no node is to run them."""
    database.run("DELETE FROM jobs WHERE tenant_id = 'ten_bench' AND status IN ('queued', 'running')", {})
    database.run("VACUUM (ANALYZE) jobs", {})


def wait_in_database(database: Database, jobs: int) -> None:
    """Write jobs that wait to be published."""
    without_events(database, True)
    database.value(_WAITING, jobs)
    without_events(database, False)
    database.run("VACUUM (ANALYZE) jobs", {})


def number_ends(database: Database, most: int) -> None:
    """Mark the numbers of ends up to `most` as assigned, and their jobs as counted."""
    database.value("SELECT setval('job_ends', %s)", most)
    database.run("UPDATE count_progress SET counted_to = %(most)s, high_water_no = %(most)s", {"most": most})


def without_events(database: Database, is_off: bool) -> None:
    """Turn the triggers of the tables off, or on again."""
    # The triggers search for subscribed endpoints; there are none.
    database.run(f"SET session_replication_role = {'replica' if is_off else 'origin'}", {})
