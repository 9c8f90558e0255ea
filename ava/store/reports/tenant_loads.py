"""The load of each tenant: waiting, running, recently ended jobs, and its wait for any start. Counts are bounded.

Every count is bounded."""

from __future__ import annotations

from dataclasses import dataclass

from ava.domain.counts import MAX_COUNTED_OF_TENANT, MAX_IN_TOTAL, PageBounds
from ava.domain.fleet import TenantLoad
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.jobs.transitions.rules import IS_SCHEDULED

#: Max tenants that one call scans, ordered by id, and the number that one statement counts.
MAX_SCANNED = 2_000
_TENANTS_PER_STATEMENT = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantLoads:
    """The tenants with jobs among the tenants that one call has read."""

    loads: list[TenantLoad]
    #: Number of such tenants among the first `MAX_SCANNED`.
    total: int
    #: The last scanned tenant if more follow and the page is not full; otherwise None.
    scanned_until: str | None


# `jobs_by_status` begins with the tenant, so the next tenant is one step away, however many jobs are in between.
_TENANTS = """tenants (tenant_id, number) AS (
    (SELECT j.tenant_id, 1 FROM jobs AS j WHERE j.tenant_id > %(after)s ORDER BY j.tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT j.tenant_id FROM jobs AS j WHERE j.tenant_id > t.tenant_id ORDER BY j.tenant_id LIMIT 1),
        t.number + 1
    FROM tenants AS t WHERE t.tenant_id IS NOT NULL AND t.number < %(limit)s
)"""
_ROWS = RecordRows(
    TenantLoad,
    "e",
    columns={
        "tenant_id": "t.tenant_id",
        "waiting": "q.waiting",
        "scheduled": "q.scheduled",
        "running": "r.running",
        "share": "e.run_seconds / nullif(whole.run_seconds, 0)",
    },
)
_READ = Statement(f"""
WITH RECURSIVE {_TENANTS}
SELECT {_ROWS.columns}
FROM tenants AS t
CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE c.is_scheduled IS NOT TRUE) AS waiting,
        count(*) FILTER (WHERE c.is_scheduled) AS scheduled FROM (
    SELECT {IS_SCHEDULED} AS is_scheduled FROM jobs AS j WHERE j.tenant_id = t.tenant_id AND j.status = 'queued'
    LIMIT {MAX_COUNTED_OF_TENANT}) AS c) AS q
CROSS JOIN LATERAL (SELECT count(*) AS running FROM (
    SELECT 1 FROM jobs AS j WHERE j.tenant_id = t.tenant_id AND j.status = 'running'
    LIMIT {MAX_COUNTED_OF_TENANT}) AS c) AS r
CROSS JOIN LATERAL (
    SELECT coalesce(sum(m.jobs) FILTER (WHERE m.status = 'completed'), 0)::bigint AS completed,
        coalesce(sum(m.jobs) FILTER (WHERE m.status = 'failed'), 0)::bigint AS failed,
        coalesce(sum(m.jobs) FILTER (WHERE m.status = 'cancelled'), 0)::bigint AS cancelled,
        coalesce(sum(m.run_seconds), 0) AS run_seconds
    FROM job_minutes AS m WHERE m.tenant_id = t.tenant_id AND m.minute > now() - interval '1 hour') AS e
CROSS JOIN (
    SELECT sum(m.run_seconds) AS run_seconds FROM job_minutes AS m WHERE m.minute > now() - interval '1 hour') AS whole
WHERE t.tenant_id IS NOT NULL
ORDER BY t.tenant_id
""")
_COUNT = Statement(f"""
WITH RECURSIVE {_TENANTS}
SELECT count(*) FROM (
    SELECT FROM tenants AS t
    WHERE EXISTS (SELECT FROM jobs AS j WHERE j.tenant_id = t.tenant_id AND j.status = 'queued')
        OR EXISTS (SELECT FROM jobs AS j WHERE j.tenant_id = t.tenant_id AND j.status = 'running')
        OR EXISTS (SELECT FROM job_minutes AS m
            WHERE m.tenant_id = t.tenant_id AND m.minute > now() - interval '1 hour')
    LIMIT {MAX_IN_TOTAL}
) AS counted
""")


def read(connection: Connection, *, bounds: PageBounds) -> TenantLoads:
    """Return the tenants behind `after_id` with waiting, running or recently ended jobs, by id.

    Scans at most `MAX_SCANNED` tenants.
    """
    found: list[TenantLoad] = []
    until: str | None = bounds.after_id or ""
    for _ in range(MAX_SCANNED // _TENANTS_PER_STATEMENT):
        scanned = _scan(connection, after=until or "")
        found += [load for load in scanned if load.has_jobs]
        until = scanned[-1].tenant_id if len(scanned) == _TENANTS_PER_STATEMENT else None
        if until is None or len(found) >= bounds.offset + bounds.limit:
            break
    loads = found[bounds.offset : bounds.offset + bounds.limit]
    total = connection.exec_driver_sql(_COUNT, {"after": "", "limit": MAX_SCANNED}).scalar_one()
    return TenantLoads(loads=loads, total=total, scanned_until=until if len(loads) < bounds.limit else None)


def _scan(connection: Connection, *, after: str) -> list[TenantLoad]:
    """Return the next tenants by id."""
    rows = connection.exec_driver_sql(_READ, {"after": after, "limit": _TENANTS_PER_STATEMENT})
    return [_ROWS.read(row) for row in rows]


#: Waiting jobs per tenant, queue and priority.
MAX_COUNTED = 1_000
#: Triples of queue, priority and tenant to read, in order.
_MAX_TRIPLES = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantWait:
    """A tenant with startable jobs that are not published yet."""

    tenant_id: str
    jobs: int
    #: Seconds since the last start of its jobs, or since its first waiting job became due, whichever was later.
    seconds: float


# A loose index scan along `jobs_backlog`: one step per triple. Excludes paused queues and tenants with a concurrency
# limit of 0, because an operator wants them to wait. The last start belongs to a running job, or precedes the end of
# the last counted minute.
_READ_WAITS = Statement(f"""
WITH RECURSIVE waiting (queue, priority, tenant_id, number) AS (
    (SELECT queue, priority, tenant_id, 1 FROM jobs
     WHERE status = 'queued' AND waits_for IS NULL AND published_at IS NULL
     ORDER BY queue, priority, tenant_id LIMIT 1)
    UNION ALL
    SELECT next.queue, next.priority, next.tenant_id, w.number + 1 FROM waiting AS w CROSS JOIN LATERAL (
        SELECT j.queue, j.priority, j.tenant_id FROM jobs AS j
        WHERE j.status = 'queued' AND j.waits_for IS NULL AND j.published_at IS NULL
            AND (j.queue, j.priority, j.tenant_id) > (w.queue, w.priority, w.tenant_id)
        ORDER BY j.queue, j.priority, j.tenant_id LIMIT 1) AS next
    WHERE w.number < {_MAX_TRIPLES}
), tenants AS (
    SELECT w.tenant_id, sum(counted.jobs) AS jobs, min(first.due_at) AS first_at
    FROM waiting AS w
    CROSS JOIN LATERAL (SELECT count(*) AS jobs FROM (
        SELECT FROM jobs AS j WHERE j.queue = w.queue AND j.priority = w.priority AND j.tenant_id = w.tenant_id
            AND j.status = 'queued' AND j.waits_for IS NULL AND j.published_at IS NULL LIMIT {MAX_COUNTED}) AS c
    ) AS counted
    CROSS JOIN LATERAL (
        SELECT greatest(j.created_at, j.scheduled_at) AS due_at FROM jobs AS j
        WHERE j.queue = w.queue AND j.priority = w.priority AND j.tenant_id = w.tenant_id
            AND j.status = 'queued' AND j.waits_for IS NULL AND j.published_at IS NULL
        ORDER BY (j.limit_key IS NULL), j.id LIMIT 1
    ) AS first
    LEFT JOIN tenant_limits AS l ON l.tenant_id = w.tenant_id
    WHERE split_part(w.queue, ':', 1) NOT IN (SELECT queue FROM queues WHERE paused_at IS NOT NULL)
        AND l.max_running IS DISTINCT FROM 0
    GROUP BY w.tenant_id
)
SELECT t.tenant_id, t.jobs,
    greatest(0, extract(epoch FROM now() - greatest(t.first_at, running.started_at, counted.minute)))
FROM tenants AS t
CROSS JOIN LATERAL (
    SELECT max(j.started_at) AS started_at FROM jobs AS j WHERE j.tenant_id = t.tenant_id AND j.status = 'running'
) AS running
LEFT JOIN LATERAL (
    SELECT m.minute + interval '1 minute' AS minute FROM job_minutes AS m WHERE m.tenant_id = t.tenant_id
    ORDER BY m.tenant_id DESC, m.minute DESC LIMIT 1
) AS counted ON true
ORDER BY 3 DESC, 1
""")


def read_waits(connection: Connection) -> list[TenantWait]:
    return [
        TenantWait(tenant_id=tenant_id, jobs=int(jobs), seconds=float(seconds))
        for tenant_id, jobs, seconds in connection.exec_driver_sql(_READ_WAITS)
    ]
