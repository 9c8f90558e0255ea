"""Measure the inbox's page beside many decided approvals.

`python -m bench.approvals` runs the service on its own server. It prints the time of a page with its count. It
is a separate command, because it needs no other process and no baseline.
"""

from __future__ import annotations

import argparse
import time

from ava import settings as settings_module
from ava.domain.access.caller import Caller, Role
from ava.domain.approval import ApprovalFilter, ApprovalStatus
from ava.services.approvals import Approvals
from ava.store.engine import schema
from ava.store.engine.database import Database
from ava.store.engine.statement import Statement
from bench.load import percentile
from harness.servers.postgres import running_postgres

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


def main() -> None:
    """Fill a database, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decided", type=int, default=100_000)
    parser.add_argument("--pending", type=int, default=5_000)
    parser.add_argument("--pages", type=int, default=500)
    options = parser.parse_args()
    with running_postgres() as postgres:
        settings = settings_module.load({"DATABASE_URL": postgres.url, "BROKER_URL": "redis://none"})
        schema.upgrade(settings)
        database = Database(postgres.url, name="bench")
        with database.connect() as connection:
            connection.exec_driver_sql(Statement(_FILL), {"decided": options.decided, "pending": options.pending})
            connection.exec_driver_sql("ANALYZE approvals")
        for name, wanted in _PAGES.items():
            took = _measure(Approvals(database), wanted, options.pages)
            print(f"{name}: p50 {percentile(took, 50):.1f} ms, p99 {percentile(took, 99):.1f} ms")
        database.close()


def _measure(approvals: Approvals, wanted: ApprovalFilter, pages: int) -> list[float]:
    took = []
    for _ in range(pages):
        began = time.perf_counter()
        found, _ = approvals.page(_CALLER, wanted, limit=21)
        took.append((time.perf_counter() - began) * 1000)
        assert len(found) == 21
    return took


if __name__ == "__main__":
    main()
