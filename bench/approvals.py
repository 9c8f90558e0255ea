"""Measure the inbox's page beside many decided approvals, what pending ones hold, and races of two deciders.

`python -m bench.approvals` prints the time of a page with its count; what 5,000 jobs that wait for a decision hold on
a running system, with the start latency of another job before and beside them; and in how many of 1,000 races one
decision with one audit entry was made. It is a separate command, because it needs no baseline. The exit code is 1 if a
promise is missed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier
from typing import Any

import redis
import requests

from ava import settings as settings_module
from ava.domain.access.caller import Caller, Role
from ava.domain.approval import ApprovalFilter, ApprovalStatus
from ava.domain.counts import PageBounds
from ava.services.approvals import Approvals
from ava.store.engine import schema
from ava.store.engine.database import Database
from ava.store.engine.statement import Statement
from bench.load import percentile
from harness.polling import wait_until
from harness.servers.postgres import running_postgres
from harness.servers.redis import running_redis
from harness.system import HEADERS, System

# `%(decided)s` decided approvals, and then `%(pending)s` pending ones.
_FILL = """
INSERT INTO approvals (tenant_id, job_id, worker_id, name, title, payload, payload_hash, roles, not_by, requesters,
    count, on_timeout, status, decided_at, expires_at)
SELECT 'ten_bench', ava_uuid7(), 'wkr_bench', 'restart', 'Restart host ' || n, json_build_object('host', n),
    'sha256:' || repeat('0', 64), '{tenant-admin}', true, '{usr_requester}', 1, 'deny',
    CASE WHEN n > %(decided)s THEN 'pending' WHEN n %% 3 = 0 THEN 'denied' ELSE 'approved' END,
    CASE WHEN n <= %(decided)s THEN now() END, now() + interval '1 day'
FROM generate_series(1, %(decided)s + %(pending)s) AS n
"""
_CALLER = Caller(tenant_id="ten_bench", user_id="usr_decider", role=Role.TENANT_ADMIN)
_PAGES = {
    "inbox": ApprovalFilter(is_mine=True),
    "pending": ApprovalFilter(status=ApprovalStatus.PENDING),
    "all": ApprovalFilter(),
}


_PENDING = "SELECT count(*) FROM approvals AS a JOIN jobs AS j ON j.id = a.job_id WHERE j.waits_for = 'approval'"
_AUDITED = "SELECT count(*), count(DISTINCT target) FROM audit WHERE action LIKE 'approvals.%%' AND status = 200"
_BULK = 1000
_STARTS = 20


def main() -> int:
    """Print the figures. Returns the exit code: 1 if a promise is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decided", type=int, default=100_000)
    parser.add_argument("--pending", type=int, default=5_000)
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--races", type=int, default=1_000)
    options = parser.parse_args()
    is_kept = _measure_pages(options.decided, options.pending, options.pages)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ava-bench-")))
        urls = {"DATABASE_URL": stack.enter_context(running_postgres()).url}
        urls["BROKER_URL"] = stack.enter_context(running_redis()).url
        schema.upgrade(settings_module.load(urls))
        system = System(folder, database_url=urls["DATABASE_URL"], broker_url=urls["BROKER_URL"])
        stack.callback(system.stop)
        system.start(concurrency=2, environ={"AVA_HANDLERS": "bench.handlers"})
        is_kept &= _measure_held(system, options.pending)
        is_kept &= _race(system, options.races)
    return 0 if is_kept else 1


def _measure_pages(decided: int, pending: int, pages: int) -> bool:
    slowest = 0.0
    with running_postgres() as postgres:
        settings = settings_module.load({"DATABASE_URL": postgres.url, "BROKER_URL": "redis://none"})
        schema.upgrade(settings)
        database = Database(postgres.url, name="bench")
        with database.connect() as connection:
            connection.exec_driver_sql(Statement(_FILL), {"decided": decided, "pending": pending})
            connection.exec_driver_sql("ANALYZE approvals")
        for name, wanted in _PAGES.items():
            took = _measure(Approvals(database), wanted, pages)
            print(f"{name}: p50 {percentile(took, 50):.1f} ms, p99 {percentile(took, 99):.1f} ms", flush=True)
            slowest = max(slowest, percentile(took, 99))
        database.close()
    return slowest <= 50


def _measure_held(system: System, pending: int) -> bool:
    """Print what jobs hold that wait for decisions."""
    before = _start_ms(system)
    for _ in range(pending // _BULK):
        entries = [{"worker_id": "wkr_asks", "input": {}}] * _BULK
        system.post("/v1/ava/jobs/bulk", json={"jobs": entries}).raise_for_status()
    total = pending // _BULK * _BULK
    wait_until(lambda: system.query(_PENDING) == [(total,)], seconds=600, what="all jobs wait for a decision")
    ((running,),) = system.query("SELECT count(*) FROM jobs WHERE status = 'running'")
    broker = redis.Redis.from_url(system.broker_url)
    messages = sum(int(broker.llen(key)) for key in broker.scan_iter(_type="list"))
    beside = _start_ms(system)
    print(f"{total} pending: {running} runs, {messages} messages; another job starts after {before:.1f} ms before")
    print(f"and {beside:.1f} ms beside them (medians of {_STARTS})", flush=True)
    return running == messages == 0


def _start_ms(system: System) -> float:
    for _ in range(_STARTS):
        system.wait_for(system.trigger("wkr_plain", input={})["id"])
    rows = system.query(
        "SELECT (1000 * extract(epoch FROM started_at - created_at))::float8 FROM jobs "
        "WHERE worker_id = 'wkr_plain' ORDER BY id DESC LIMIT %s",
        _STARTS,
    )
    return percentile([float(ms) for (ms,) in rows], 50)


def _race(system: System, races: int) -> bool:
    """Let two persons decide at the same moment, again and again."""
    counted = system.query(_AUDITED)[0]
    asked: list[Any] = []
    cursor = None
    while len(asked) < races:
        params = {"per_page": 100, "filter[status]": "pending", "cursor": cursor}
        page = system.get("/v1/ava/approvals", params=params).json()
        asked, cursor = asked + page["data"], page["pagination"]["next_cursor"]
    barrier = Barrier(2)

    def decide(call: str) -> list[int]:
        statuses = []
        with requests.Session() as session:
            session.headers.update(HEADERS | {"x-user-id": f"usr_{call}"})
            for each in asked[:races]:
                url = f"{system.url}/v1/ava/approvals/{each['id']}/{call}"
                barrier.wait()
                sent = session.post(url, json={"payload_hash": each["payload_hash"]}, timeout=60)
                statuses.append(sent.status_code)
        return statuses

    with ThreadPoolExecutor(2) as pool:
        results = list(zip(*pool.map(decide, ("approve", "deny")), strict=True))
    entries, targets = (now - then for now, then in zip(system.query(_AUDITED)[0], counted, strict=True))
    won = sum(sorted(each) == [200, 409] for each in results)
    approved = sum(first == 200 for first, _ in results)
    print(
        f"{races} races: one decision in {won} ({approved} approvals), {entries} audit entries of {targets} approvals"
    )
    return won == entries == targets == races


def _measure(approvals: Approvals, wanted: ApprovalFilter, pages: int) -> list[float]:
    took = []
    for _ in range(pages):
        began = time.perf_counter()
        found, _ = approvals.page(_CALLER, wanted, bounds=PageBounds(limit=21))
        took.append((time.perf_counter() - began) * 1000)
        assert len(found) == 21
    return took


if __name__ == "__main__":
    raise SystemExit(main())
