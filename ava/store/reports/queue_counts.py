"""How many of a tenant's jobs wait and run, by worker; bounded, however many wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ava.store.engine.database import Connection

__all__ = ["MOST_COUNTED_OF_WORKER", "QueueCount", "QueueCounts", "queue_counts"]

#: The queued jobs of one worker are counted up to here; then its numbers are lower bounds.
MOST_COUNTED_OF_WORKER = 10_000


@dataclass(frozen=True, kw_only=True)
class QueueCount:
    """How many jobs of one worker wait and run."""

    worker_id: str
    queued: int
    running: int
    #: How many of the queued have priority 1 to 3.
    high_priority: int


@dataclass(frozen=True, kw_only=True)
class QueueCounts:
    """A tenant's waiting and running jobs by worker, at one moment of the database's clock."""

    by_worker: list[QueueCount]
    sampled_at: datetime

    @property
    def total_queued(self) -> int:
        """All that wait."""
        return sum(count.queued for count in self.by_worker)

    @property
    def total_running(self) -> int:
        """All that run."""
        return sum(count.running for count in self.by_worker)


# The tenant's workers are found by leaps along `jobs_by_worker`, from each to the next; then each is a stretch of it.
_STRETCH = (
    "FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = w.id AND j.status = '{status}' LIMIT %(most)s"
)
_QUEUE_COUNTS = f"""
WITH RECURSIVE w (id) AS (
    (SELECT worker_id FROM jobs WHERE tenant_id = %(tenant_id)s ORDER BY tenant_id, worker_id LIMIT 1)
    UNION ALL
    SELECT (SELECT worker_id FROM jobs WHERE tenant_id = %(tenant_id)s AND worker_id > w.id
            ORDER BY tenant_id, worker_id LIMIT 1)
    FROM w WHERE w.id IS NOT NULL
), counts AS (
    SELECT w.id, q.queued, q.high, r.running
    FROM w CROSS JOIN LATERAL (
        SELECT count(*) AS queued, count(*) FILTER (WHERE c.priority <= 3) AS high
        FROM (SELECT j.priority {_STRETCH.format(status="queued")}) AS c
    ) AS q CROSS JOIN LATERAL (
        SELECT count(*) AS running FROM (SELECT 1 {_STRETCH.format(status="running")}) AS c
    ) AS r
    WHERE w.id IS NOT NULL AND q.queued + r.running > 0
)
SELECT now(), counts.* FROM (SELECT 1) AS once LEFT JOIN counts ON true ORDER BY counts.id
"""


def queue_counts(connection: Connection, *, tenant_id: str) -> QueueCounts:
    """The tenant's waiting and running jobs by worker, each counted up to `MOST_COUNTED_OF_WORKER`."""
    found = connection.exec_driver_sql(_QUEUE_COUNTS, {"tenant_id": tenant_id, "most": MOST_COUNTED_OF_WORKER}).all()
    by_worker = [
        QueueCount(worker_id=worker_id, queued=queued, running=running, high_priority=high)
        for _, worker_id, queued, high, running in found
        if worker_id is not None
    ]
    return QueueCounts(by_worker=by_worker, sampled_at=found[0][0])
