"""A tenant's usage of its limits, and of its workers' limits. Every count is bounded, whatever the tenant has."""

from __future__ import annotations

from ava.domain.counts import MAX_IN_TOTAL, PageBounds
from ava.domain.jobs.wait_reasons import SUSPENDED
from ava.domain.limits.limit import MAX_COUNTED, WorkerLimitUse
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.fleet import worker_settings
from ava.store.fleet.workers import IS_VISIBLE
from ava.store.jobs.transitions.rules import IS_WAITING

#: A number above it is a lower bound.
MAX_COUNTED_IN_USE = 10_000


def suspended(limit: str, columns: str = "") -> str:
    """Return a SELECT of columns of a tenant's jobs that wait for other jobs, an event or a sleep, up to a limit.

    Each reason is a range of `jobs_waiting`, as row comparisons in index order, because with equalities the planner may
    read all queued jobs of the tenant.
    """
    reasons = ", ".join(f"'{reason}'" for reason in SUSPENDED)
    shown = "suspended.*" if columns else ""
    return f"""SELECT {shown} FROM unnest(ARRAY[{reasons}]) AS r (reason) CROSS JOIN LATERAL (
        SELECT {columns} FROM jobs AS j WHERE {IS_WAITING} AND (j.waits_for, j.tenant_id) >= (r.reason, %(tenant_id)s)
            AND (j.waits_for, j.tenant_id) <= (r.reason, %(tenant_id)s)
        ORDER BY j.waits_for, j.tenant_id, j.id LIMIT {limit}
    ) AS suspended LIMIT {limit}"""


# The columns are named like the limits in `ava.domain.limits.table`.
_READ = Statement(f"""
SELECT
    (SELECT count(*) FROM (SELECT 1 FROM jobs
        WHERE tenant_id = %(tenant_id)s AND status = 'queued' LIMIT {MAX_COUNTED_IN_USE + 1} + waiting.jobs) AS q)
        - waiting.jobs AS tenant_queued_jobs,
    waiting.jobs AS waiting_jobs,
    (SELECT count(*) FROM (SELECT 1 FROM jobs
        WHERE tenant_id = %(tenant_id)s AND status = 'running' LIMIT {MAX_COUNTED_IN_USE + 1}) AS r)
        AS tenant_running_jobs,
    (SELECT count(*) FROM (SELECT 1 FROM webhook_endpoints
        WHERE tenant_id = %(tenant_id)s AND status <> 'deleted' AND channel IS NULL
        LIMIT {MAX_COUNTED_IN_USE + 1}) AS w) AS webhooks,
    (SELECT count(*) FROM (SELECT 1 FROM webhook_endpoints
        WHERE tenant_id = %(tenant_id)s AND status <> 'deleted' AND channel IS NOT NULL
        LIMIT {MAX_COUNTED_IN_USE + 1}) AS n) AS notices,
    (SELECT coalesce(sum(mails), 0) FROM notice_mails
        WHERE tenant_id = %(tenant_id)s AND day = (now() AT TIME ZONE 'UTC')::date) AS notice_mails,
    (SELECT count(*) FROM (SELECT 1 FROM schedules
        WHERE tenant_id = %(tenant_id)s LIMIT {MAX_COUNTED_IN_USE + 1}) AS s) AS schedules,
    (SELECT count(*) FROM (SELECT 1 FROM hooks
        WHERE tenant_id = %(tenant_id)s LIMIT {MAX_COUNTED_IN_USE + 1}) AS h) AS hooks,
    (SELECT count(*) FROM (SELECT 1 FROM subscriptions
        WHERE tenant_id = %(tenant_id)s LIMIT {MAX_COUNTED_IN_USE + 1}) AS c) AS subscriptions,
    (SELECT count(*) FROM (SELECT 1 FROM api_keys
        WHERE tenant_id = %(tenant_id)s LIMIT {MAX_COUNTED_IN_USE + 1}) AS k) AS api_keys,
    (SELECT count(*) FROM (SELECT 1 FROM sessions
        WHERE tenant_id = %(tenant_id)s LIMIT {MAX_COUNTED_IN_USE + 1}) AS e) AS sessions,
    (SELECT count(*) FROM (SELECT 1 FROM error_groups
        WHERE tenant_id = %(tenant_id)s LIMIT {MAX_COUNTED_IN_USE + 1}) AS g) AS error_groups,
    (SELECT stored_bytes FROM tenant_storage WHERE tenant_id = %(tenant_id)s) AS tenant_stored_bytes,
    (SELECT count(*) FROM bulk_operations
        WHERE tenant_id = %(tenant_id)s AND state = 'running') AS running_operations
FROM (SELECT count(*) AS jobs FROM ({suspended(str(MAX_COUNTED_IN_USE + 1))}) AS w) AS waiting
""")


# Counts waiting jobs separately: they have a separate index, so both counts are index-only scans.
_QUEUED_JOBS = Statement(f"""
SELECT (SELECT count(*) FROM (
    SELECT 1 FROM jobs WHERE tenant_id = %(tenant_id)s AND status = 'queued' LIMIT %(limit)s + waiting.jobs
) AS q) - waiting.jobs
FROM (SELECT count(*) AS jobs FROM ({suspended("ALL")}) AS w) AS waiting
""")


def queued_jobs(connection: Connection, *, tenant_id: str, limit: int) -> int:
    """Return the number of a tenant's queued jobs, except jobs that wait for other jobs, an event or a time."""
    return int(connection.exec_driver_sql(_QUEUED_JOBS, {"tenant_id": tenant_id, "limit": limit}).scalar_one())


_WAITING_JOBS = Statement(f"""
SELECT count(*) FROM ({suspended("%(limit)s")}) AS w
""")


def waiting_jobs(connection: Connection, *, tenant_id: str, limit: int) -> int:
    """Return the number of a tenant's jobs that wait for other jobs, an event or a time, counted up to a limit."""
    return int(connection.exec_driver_sql(_WAITING_JOBS, {"tenant_id": tenant_id, "limit": limit}).scalar_one())


def read(connection: Connection, *, tenant_id: str) -> dict[str, int | None]:
    """Return a tenant's usage by limit name, counted up to `MAX_COUNTED_IN_USE` + 1.

    Stored bytes are a measured sum; None if there is none.
    """
    return dict(connection.exec_driver_sql(_READ, {"tenant_id": tenant_id}).mappings().one())


_IS_LIMITED = f"(w.max_running IS NOT NULL OR w.rate_jobs IS NOT NULL) AND {IS_VISIBLE}"
_ROWS = RecordRows(
    WorkerLimitUse,
    "w",
    columns={
        "worker_id": "w.id",
        "rate": worker_settings.rate("w"),
        "running": "running.jobs",
        "waiting": "queued.waiting",
        "waiting_is_exact": f"queued.jobs <= {MAX_COUNTED}",
    },
    readers={"rate": worker_settings.read_rate},
)
_PAGE = Statement(f"""
SELECT {_ROWS.columns}
FROM workers AS w
CROSS JOIN LATERAL (SELECT count(*) AS jobs FROM (
    SELECT FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = w.id AND j.status = 'running'
    LIMIT {MAX_COUNTED}) AS c) AS running
CROSS JOIN LATERAL (SELECT count(*) AS jobs, count(*) FILTER (WHERE c.waits_for = 'permit') AS waiting FROM (
    SELECT j.waits_for FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = w.id AND j.status = 'queued'
    LIMIT {MAX_COUNTED + 1}) AS c) AS queued
WHERE {_IS_LIMITED} AND w.id COLLATE "C" > %(after)s
ORDER BY w.id COLLATE "C" LIMIT %(limit)s OFFSET %(offset)s
""")
_COUNT = Statement(f"""
SELECT count(*) FROM (SELECT FROM workers AS w WHERE {_IS_LIMITED} LIMIT {MAX_IN_TOTAL}) AS counted
""")


def worker_limits_page(
    connection: Connection, *, tenant_id: str, bounds: PageBounds
) -> tuple[list[WorkerLimitUse], int]:
    """Return workers with a limit that a tenant may run, by id, and their number, counted up to `MAX_IN_TOTAL`."""
    given: dict[str, object] = {"tenant_id": tenant_id, "after": bounds.after_id or ""}
    page = given | {"limit": bounds.limit, "offset": bounds.offset}
    found = [_ROWS.read(row) for row in connection.exec_driver_sql(_PAGE, page)]
    return found, int(connection.exec_driver_sql(_COUNT, given).scalar_one())
