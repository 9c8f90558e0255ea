"""Count a tenant's queued and running jobs by worker. The statement is bounded, however many jobs wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ava.domain.counts import MAX_COUNTED_OF_WORKER
from ava.domain.jobs import priority
from ava.domain.jobs.wait_reasons import SUSPENDED
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.reports.tenant_usage import suspended


@dataclass(frozen=True, kw_only=True)
class QueueCount:
    worker_id: str
    queued: int
    running: int
    #: With priority up to `priority.HIGH`.
    high_priority: int


@dataclass(frozen=True, kw_only=True)
class QueueCounts:
    """The number of a tenant's queued and running jobs by worker, at one time of the database's clock."""

    by_worker: list[QueueCount]
    #: Number of jobs that wait for other jobs, an event or a time; not included in the queued jobs.
    total_waiting: int
    sampled_at: datetime

    @property
    def total_queued(self) -> int:
        return sum(count.queued for count in self.by_worker)

    @property
    def total_running(self) -> int:
        return sum(count.running for count in self.by_worker)


# Finds the tenant's workers along `jobs_by_worker`, one step per worker; the jobs of each are a range of it.
_QUEUE_COUNTS = Statement(f"""
WITH RECURSIVE w (id) AS (
    (SELECT worker_id FROM jobs WHERE tenant_id = %(tenant_id)s ORDER BY tenant_id, worker_id LIMIT 1)
    UNION ALL
    SELECT (SELECT worker_id FROM jobs WHERE tenant_id = %(tenant_id)s AND worker_id > w.id
            ORDER BY tenant_id, worker_id LIMIT 1)
    FROM w WHERE w.id IS NOT NULL
), counts AS (
    SELECT w.id, q.queued, q.high, r.running
    FROM w CROSS JOIN LATERAL (
        SELECT count(*) AS queued, count(*) FILTER (WHERE c.priority <= {priority.HIGH}) AS high FROM (
            SELECT j.priority FROM jobs AS j
            WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = w.id AND j.status = 'queued'
                AND (j.waits_for IN {rows.reasons(SUSPENDED)}) IS NOT TRUE LIMIT %(limit)s
        ) AS c
    ) AS q CROSS JOIN LATERAL (
        SELECT count(*) AS running FROM (
            SELECT 1 FROM jobs AS j
            WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = w.id AND j.status = 'running' LIMIT %(limit)s
        ) AS c
    ) AS r
    WHERE w.id IS NOT NULL AND q.queued + r.running > 0
)
SELECT now(), (SELECT count(*) FROM ({suspended("%(limit)s")}) AS waiting), counts.*
FROM (SELECT 1) AS once LEFT JOIN counts ON true ORDER BY counts.id
""")


def queue_counts(connection: Connection, *, tenant_id: str) -> QueueCounts:
    """Return the tenant's queued and running jobs by worker, each counted up to `MAX_COUNTED_OF_WORKER`."""
    found = connection.exec_driver_sql(_QUEUE_COUNTS, {"tenant_id": tenant_id, "limit": MAX_COUNTED_OF_WORKER}).all()
    by_worker = [
        QueueCount(worker_id=worker_id, queued=queued, running=running, high_priority=high)
        for _, _, worker_id, queued, high, running in found
        if worker_id is not None
    ]
    return QueueCounts(by_worker=by_worker, sampled_at=found[0][0], total_waiting=found[0][1])
