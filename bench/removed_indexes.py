"""`python -m bench.removed_indexes [--jobs 5000000]`: the plans of reads whose index was replaced by another.

98 % of the jobs have ended, over 30 days; the newest 2 % are running, may start, or wait for each reason. A tenth
belongs to trees of twenty, and two trees have the max number of jobs. Exits with 1 if a plan scans the table, or
discards or sorts thousands of rows.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import closing

from ava.domain import ids
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.domain.limits.rates import Rate
from ava.domain.limits.table import TREE_JOBS
from ava.domain.worker import OnWorkerLost, WorkerLimits, WorkerSpec
from ava.settings import load
from ava.store.engine import schema
from ava.store.engine.database import Connection
from ava.store.engine.database import Database as StoreDatabase
from ava.store.engine.statement import IN_ORDER
from ava.store.fleet import workers
from ava.store.jobs import old_jobs
from ava.store.jobs.reads import lists, searches, trees
from ava.store.jobs.transitions import permits
from ava.store.reports import metrics, queue_counts, tenant_usage
from bench import plans, rows
from bench.servers import Database
from harness.servers.postgres import running_postgres

_TENANT = "ten_a"
_BATCH = 250_000
#: Jobs that retention reads in one statement.
_POLLED_AT = 1_000
_COUNTED = 10_000
# A job's id is a function of its number, so that the number of a tree's first job gives the tree's id.
_ID = """
CREATE FUNCTION bench_id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM timestamptz '{now}' - ({jobs} - n) * (interval '30 days' / {jobs})) * 1000
        )::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid $$
"""
_JOBS = """
INSERT INTO jobs (id, tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, created_at,
                  waits_for, run_at, published_at, started_at, completed_at, node_id, run_no, attempt, max_attempts,
                  output, error, stop_status, cancel_requested_at, end_no, limit_key, rate_key, parent_id, tree_id)
SELECT bench_id(n), tenant_id, worker_id, status, 'manual', 5, 'default', '{"n":1}', 'usr_bench', at, waits_for,
       CASE WHEN waits_for IN ('schedule', 'retry', 'sleep') THEN now() + interval '1 year' END,
       CASE WHEN has_run OR is_admitted THEN at END, CASE WHEN has_run THEN at END, CASE WHEN is_final THEN at END,
       CASE WHEN has_run THEN '00000000-0000-7000-8000-000000000001'::uuid END, has_run::int, has_run::int, 1,
       CASE WHEN status = 'completed' THEN '{"sent":true}'::json END,
       CASE WHEN status = 'failed' THEN 'ValueError: no such channel' END,
       CASE WHEN status = 'cancelled' THEN status END, CASE WHEN status = 'cancelled' THEN at END,
       CASE WHEN is_final THEN n END,
       CASE WHEN is_limited THEN worker_id || ' ' || tenant_id END, CASE WHEN is_limited THEN worker_id END,
       CASE WHEN n <> root THEN bench_id(root) END, bench_id(root)
FROM (
    SELECT n, root, worker_id, is_limited, now() - (%(jobs)s - n) * (interval '30 days' / %(jobs)s) AS at,
           CASE WHEN root IS NOT NULL THEN 'ten_a' ELSE 'ten_' || substr('aaabcd', 1 + (draw %% 6)::int, 1) END
               AS tenant_id,
           NOT is_open AS is_final, NOT is_open OR draw < 50 AS has_run,
           is_open AND is_limited AND draw BETWEEN 50 AND 149 AS is_admitted,
           CASE WHEN is_open THEN CASE WHEN draw < 50 THEN 'running' ELSE 'queued' END
                WHEN draw < 50 THEN 'failed' WHEN draw < 80 THEN 'cancelled' ELSE 'completed' END AS status,
           CASE WHEN NOT is_open OR draw < 150 THEN NULL WHEN draw < 700 AND is_limited THEN 'permit'
                WHEN draw < 700 THEN NULL
                ELSE (ARRAY['schedule', 'retry', 'sleep', 'event', 'children', 'jobs'])[1 + draw %% 6] END
               AS waits_for
    FROM (
        SELECT n, 'wkr_w' || n %% 20 AS worker_id, n %% 20 = 0 AS is_limited, (hashint8(n) & 1048575) %% 1000 AS draw,
               n > 0.98 * %(jobs)s OR n = %(open_tree)s + %(tree_jobs)s - 1 AS is_open,
               CASE WHEN n - %(open_tree)s BETWEEN 0 AND %(tree_jobs)s - 1 THEN %(open_tree)s
                    WHEN n - %(ended_tree)s BETWEEN 0 AND %(tree_jobs)s - 1 THEN %(ended_tree)s
                    WHEN n / 20 %% 10 = 0 THEN n - n %% 20 END AS root
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
    ) AS numbered
) AS t
"""
_RUNNING = """
SELECT tenant_id, id::text, run_no FROM jobs WHERE rate_key IS NOT NULL AND status = 'running' ORDER BY id LIMIT 1
"""


# `follow_limits` compares its jobs' keys with it.
_LIMITED_WORKER = WorkerSpec(
    id="wkr_w0",
    name="Limited",
    description="",
    timeout_seconds=60,
    max_retries=0,
    cancel_grace_seconds=1,
    queue="default",
    tenants=None,
    on_worker_lost=OnWorkerLost.REQUEUE,
    limits=WorkerLimits(max_running=1_000, max_running_per="tenant", rate=Rate(jobs=1_000, seconds=1.0)),
)


def _fill(database: Database, jobs: int) -> dict[str, str]:
    """Write the jobs. Returns the ids of an unfinished tree, of an ended one, and of a small one."""
    began = time.monotonic()
    roots = {"a tree of 10,000 with a job that waits": jobs // 2, "a tree of 10,000 that has ended": jobs // 4}
    roots["a tree of 20"] = jobs // 8 // 200 * 200
    open_tree, ended_tree, _ = roots.values()
    database.value(_ID.format(now=database.value("SELECT now()::text"), jobs=jobs))
    rows.without_events(database, True)
    parameters = {"jobs": jobs, "open_tree": open_tree, "ended_tree": ended_tree, "tree_jobs": TREE_JOBS.value}
    with rows.indexed_afterwards(database):
        for first in range(1, jobs + 1, _BATCH):
            last = min(first + _BATCH - 1, jobs)
            database.run(_JOBS, parameters | {"first": first, "last": last})
            print(f"  {last:,} jobs written after {time.monotonic() - began:.0f} s", flush=True)
    rows.without_events(database, False)
    database.run("VACUUM (ANALYZE) jobs", {})
    return {
        name: ids.encode("job", database.value("SELECT bench_id(%s)::text", number)) for name, number in roots.items()
    }


def _reads_of_tree(name: str, job_id: str) -> dict[str, Callable[[Connection], object]]:
    def tree(connection: Connection) -> None:
        job = lists.show(connection, tenant_id=_TENANT, job_id=job_id)
        assert job is not None
        trees.read(connection, job)
        trees.unfinished(connection, job)

    of_tree = JobFilter(tree_id=job_id)
    return {
        name: tree,
        f"list of {name}": lambda connection: searches.find(
            connection, tenant_id=_TENANT, job_filter=of_tree, limit=21
        ),
    }


def _count_queues(connection: Connection) -> None:
    counts = queue_counts.queue_counts(connection, tenant_id=_TENANT)
    queue_counts.by_queue(connection, counts, tenant_id=_TENANT)


def _reads(database: Database, trees_: dict[str, str]) -> dict[str, Callable[[Connection], object]]:
    tenant_id, id_, run_no = database.rows(_RUNNING)[0]
    run = {"tenant_id": tenant_id, "id": id_, "run_no": run_no, "claim_id": None, "seconds": 60}
    retention = old_jobs.JobRetention(default=20, shortest=10, longest=20)
    of_trees = [_reads_of_tree(name, job_id) for name, job_id in trees_.items()]
    of_reasons: dict[str, Callable[[Connection], object]] = {
        f"list of jobs that wait: {reason}": lambda connection, reason=reason: searches.find(
            connection, tenant_id=_TENANT, job_filter=JobFilter(waits_for=reason), limit=21
        )
        for reason in (WaitsFor.EVENT, WaitsFor.PERMIT, WaitsFor.DEBOUNCE)
    }
    reads: dict[str, Callable[[Connection], object]] = {
        "retention, 1,000 jobs": lambda connection: old_jobs.scan(
            connection, retention, after=old_jobs.FIRST_POSITION, limit=_POLLED_AT
        ),
        "suspended jobs": lambda connection: tenant_usage.waiting_jobs(connection, tenant_id=_TENANT, limit=_COUNTED),
        "use of limits": lambda connection: tenant_usage.read(connection, tenant_id=_TENANT),
        "counts of queues": _count_queues,
        "metrics, waiting": metrics.waiting_jobs,
        "follow limits": lambda connection: permits.follow_limits(connection, workers=["wkr_w0"], limit=500),
        "defer a rate": lambda connection: connection.exec_driver_sql(
            f"{IN_ORDER} {permits._DEFER_RATE.statement}", run
        ),
    }
    return {name: read for of_tree in of_trees for name, read in of_tree.items()} | of_reasons | reads


def _explain(url: str, jobs: int) -> list[plans.Finding]:
    database, findings = Database(url), list[plans.Finding]()
    with closing(database), closing(StoreDatabase(url, name="bench", statement_seconds=600)) as store:
        with store.connect() as connection:
            workers.announce(connection, [_LIMITED_WORKER])
        for name, read in _reads(database, _fill(database, jobs)).items():
            # Twice, because the first run reads data that no other statement has loaded into memory.
            for found in ([], findings):
                with store.transaction() as connection:
                    read(plans.explained(connection, name, found))
                    connection.rollback()
    return findings


def main() -> int:
    """Fill a database, and print the plan of each read. Returns 1 if one reads too much."""
    parser = argparse.ArgumentParser(prog="python -m bench.removed_indexes", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5_000_000)
    options = {"shared_buffers": "1GB", "max_wal_size": "8GB"}
    with running_postgres(options) as server:
        schema.upgrade(load({"DATABASE_URL": server.url, "BROKER_URL": "redis://127.0.0.1:1/0"}))
        findings = _explain(server.url, parser.parse_args().jobs)
    print("| read | ms | blocks | rows discarded | rows sorted | rows of each index |\n|---|---:|---:|---:|---:|---|")
    for found in findings:
        figures = f"{found.milliseconds:.1f} | {found.blocks:,} | {found.removed:,} | {found.sorted_rows:,}"
        indexes = ", ".join(f"{index} {count:,}" for index, count in found.indexes.items())
        print(f"| {found.name} | {figures} | {indexes} |")
    faults = [fault for found in findings for fault in found.faults]
    for fault in faults:
        print(f"FAULT: {fault}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
