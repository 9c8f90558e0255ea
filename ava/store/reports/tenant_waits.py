"""How long each tenant has waited without any start of its jobs, for metrics."""

from __future__ import annotations

from dataclasses import dataclass

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

#: Waiting jobs per tenant, queue and priority.
MAX_COUNTED = 1_000
#: Triples of queue, priority and tenant to read, in order.
_MAX_SCANNED = 2_000


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
_READ = Statement(f"""
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
    WHERE w.number < {_MAX_SCANNED}
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


def read(connection: Connection) -> list[TenantWait]:
    return [
        TenantWait(tenant_id=tenant_id, jobs=int(jobs), seconds=float(seconds))
        for tenant_id, jobs, seconds in connection.exec_driver_sql(_READ)
    ]
