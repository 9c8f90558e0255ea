"""The load of each tenant: what waits, what runs, and what ended in the last hour. Every count is bounded."""

from __future__ import annotations

from dataclasses import dataclass

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

__all__ = ["MOST_COUNTED_OF_TENANT", "MOST_TENANTS", "TenantLoad", "read"]

#: The waiting, and the running, jobs of one tenant are counted up to this many.
MOST_COUNTED_OF_TENANT = 1_000
#: The tenants that are looked at, in the order of their ids, and those that are returned.
_MOST_LOOKED_AT = 2_000
MOST_TENANTS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantLoad:
    """The jobs of one tenant."""

    tenant_id: str
    #: The queued jobs that could start, and those that wait for their time.
    waiting: int
    scheduled: int
    running: int
    #: The jobs that ended in the last hour.
    completed: int
    failed: int
    cancelled: int


# `jobs_by_status` begins with the tenant, so the next tenant is one step away, whatever the number of jobs between.
_READ = Statement(f"""
WITH RECURSIVE tenants (tenant_id, number) AS (
    (SELECT j.tenant_id, 1 FROM jobs AS j ORDER BY j.tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT j.tenant_id FROM jobs AS j WHERE j.tenant_id > t.tenant_id ORDER BY j.tenant_id LIMIT 1),
        t.number + 1
    FROM tenants AS t WHERE t.tenant_id IS NOT NULL AND t.number < {_MOST_LOOKED_AT}
)
SELECT t.tenant_id, q.waiting, q.scheduled, r.running, e.completed, e.failed, e.cancelled
FROM tenants AS t
CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE c.run_at IS NULL OR c.run_at = 'infinity') AS waiting,
        count(*) FILTER (WHERE c.run_at < 'infinity') AS scheduled FROM (
    SELECT j.run_at FROM jobs AS j WHERE j.tenant_id = t.tenant_id AND j.status = 'queued'
    LIMIT {MOST_COUNTED_OF_TENANT}) AS c) AS q
CROSS JOIN LATERAL (SELECT count(*) AS running FROM (
    SELECT 1 FROM jobs AS j WHERE j.tenant_id = t.tenant_id AND j.status = 'running'
    LIMIT {MOST_COUNTED_OF_TENANT}) AS c) AS r
CROSS JOIN LATERAL (
    SELECT coalesce(sum(m.jobs) FILTER (WHERE m.status = 'completed'), 0) AS completed,
        coalesce(sum(m.jobs) FILTER (WHERE m.status = 'failed'), 0) AS failed,
        coalesce(sum(m.jobs) FILTER (WHERE m.status = 'cancelled'), 0) AS cancelled
    FROM job_minutes AS m WHERE m.tenant_id = t.tenant_id AND m.minute > now() - interval '1 hour') AS e
WHERE t.tenant_id IS NOT NULL AND q.waiting + q.scheduled + r.running + e.completed + e.failed + e.cancelled > 0
ORDER BY e.failed DESC, q.waiting DESC, r.running DESC, t.tenant_id LIMIT {MOST_TENANTS}
""")


def read(connection: Connection) -> list[TenantLoad]:
    """Returns the tenants with jobs that wait, run or ended in the last hour, those with the most failures first."""
    return [
        TenantLoad(
            tenant_id=tenant_id,
            waiting=waiting,
            scheduled=scheduled,
            running=running,
            completed=int(completed),
            failed=int(failed),
            cancelled=int(cancelled),
        )
        for tenant_id, waiting, scheduled, running, completed, failed, cancelled in connection.exec_driver_sql(_READ)
    ]
