"""The load of each tenant: waiting, running, and recently ended jobs. Every count is bounded."""

from __future__ import annotations

from dataclasses import dataclass, field

from ava.domain.counts import MAX_COUNTED_OF_TENANT
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs.transitions.rules import IS_SCHEDULED

#: Tenants that one call reads, ordered by id, and that it returns.
MAX_SCANNED = 2_000
MAX_TENANTS = 500
_COUNTED = {"description": f"Exact up to {MAX_COUNTED_OF_TENANT:,}; never higher."}
_ENDED = {"description": "The jobs that ended in the last hour."}


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantLoad:
    tenant_id: str
    #: Queued jobs that do not wait for their trigger's date, and queued jobs that do.
    waiting: int = field(metadata=_COUNTED)
    scheduled: int = field(metadata=_COUNTED)
    running: int = field(metadata=_COUNTED)
    completed: int = field(metadata=_ENDED)
    failed: int = field(metadata=_ENDED)
    cancelled: int = field(metadata=_ENDED)
    share: float | None = field(
        metadata={"description": "Its share of the run time of all jobs that ended in the last hour, 0 to 1."}
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantLoads:
    """The tenants with jobs among the tenants that one call has read."""

    loads: list[TenantLoad]
    #: The last tenant that was read, if more follow; otherwise None.
    scanned_until: str | None


# `jobs_by_status` begins with the tenant, so the next tenant is one step away, however many jobs are in between.
_READ = Statement(f"""
WITH RECURSIVE tenants (tenant_id, number) AS (
    (SELECT j.tenant_id, 1 FROM jobs AS j WHERE j.tenant_id > %(after)s ORDER BY j.tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT j.tenant_id FROM jobs AS j WHERE j.tenant_id > t.tenant_id ORDER BY j.tenant_id LIMIT 1),
        t.number + 1
    FROM tenants AS t WHERE t.tenant_id IS NOT NULL AND t.number <= %(most)s
), loads AS (
SELECT t.tenant_id, q.waiting, q.scheduled, r.running, e.completed, e.failed, e.cancelled,
    e.run_seconds / nullif(whole.run_seconds, 0) AS share
FROM tenants AS t
CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE c.is_scheduled IS NOT TRUE) AS waiting,
        count(*) FILTER (WHERE c.is_scheduled) AS scheduled FROM (
    SELECT {IS_SCHEDULED} AS is_scheduled FROM jobs AS j WHERE j.tenant_id = t.tenant_id AND j.status = 'queued'
    LIMIT {MAX_COUNTED_OF_TENANT}) AS c) AS q
CROSS JOIN LATERAL (SELECT count(*) AS running FROM (
    SELECT 1 FROM jobs AS j WHERE j.tenant_id = t.tenant_id AND j.status = 'running'
    LIMIT {MAX_COUNTED_OF_TENANT}) AS c) AS r
CROSS JOIN LATERAL (
    SELECT coalesce(sum(m.jobs) FILTER (WHERE m.status = 'completed'), 0) AS completed,
        coalesce(sum(m.jobs) FILTER (WHERE m.status = 'failed'), 0) AS failed,
        coalesce(sum(m.jobs) FILTER (WHERE m.status = 'cancelled'), 0) AS cancelled,
        coalesce(sum(m.run_seconds), 0) AS run_seconds
    FROM job_minutes AS m WHERE m.tenant_id = t.tenant_id AND m.minute > now() - interval '1 hour') AS e
CROSS JOIN (
    SELECT sum(m.run_seconds) AS run_seconds FROM job_minutes AS m WHERE m.minute > now() - interval '1 hour') AS whole
WHERE t.tenant_id IS NOT NULL AND t.number <= %(most)s
    AND q.waiting + q.scheduled + r.running + e.completed + e.failed + e.cancelled > 0
ORDER BY e.failed DESC, q.waiting DESC, r.running DESC, t.tenant_id LIMIT {MAX_TENANTS}
)
SELECT until.tenant_id, loads.* FROM (
    SELECT max(t.tenant_id) FILTER (WHERE t.number = %(most)s) AS tenant_id,
        count(t.tenant_id) > %(most)s AS is_followed
    FROM tenants AS t
) AS last_one
CROSS JOIN LATERAL (SELECT CASE WHEN last_one.is_followed THEN last_one.tenant_id END AS tenant_id) AS until
LEFT JOIN loads ON true
ORDER BY loads.failed DESC, loads.waiting DESC, loads.running DESC, loads.tenant_id
""")


def read(connection: Connection, *, after: str = "") -> TenantLoads:
    """Return the tenants with waiting, running or recently ended jobs, most failures first.

    Reads `MAX_SCANNED` tenants behind `after`, ordered by id.
    """
    rows = connection.exec_driver_sql(_READ, {"after": after, "most": MAX_SCANNED}).all()
    loads = [
        TenantLoad(
            tenant_id=tenant_id,
            waiting=waiting,
            scheduled=scheduled,
            running=running,
            completed=int(completed),
            failed=int(failed),
            cancelled=int(cancelled),
            share=share,
        )
        for _, tenant_id, waiting, scheduled, running, completed, failed, cancelled, share in rows
        if tenant_id is not None
    ]
    return TenantLoads(loads=loads, scanned_until=rows[0][0])
