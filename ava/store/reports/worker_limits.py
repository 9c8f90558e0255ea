"""The limits of workers, and one tenant's usage of them. Every count is bounded."""

from __future__ import annotations

from dataclasses import dataclass, field

from ava.domain.limits.rates import Rate
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

MAX_COUNTED = 1_000
_MAX_WORKERS = 500


@dataclass(frozen=True, kw_only=True)
class WorkerLimitUse:
    """A worker with a limit, and the jobs of one tenant that run or wait."""

    worker_id: str
    max_running: int | None = field(metadata={"description": "Max number of running jobs; null: no limit."})
    max_running_per: str | None = field(
        metadata={"description": "`tenant`, a path in the input, or null: the whole worker."}
    )
    rate: Rate | None
    rate_per: str | None
    running: int = field(metadata={"description": "The tenant's running jobs of the worker."})
    waiting: int = field(
        metadata={
            "description": f"Jobs waiting for a permit, among the first {MAX_COUNTED:,} queued jobs of the worker."
        }
    )
    waiting_is_exact: bool = field(metadata={"description": "False: `waiting` is a lower bound."})


_READ = Statement(f"""
SELECT w.id, w.max_running, w.max_running_per, w.rate_jobs, w.rate_seconds, w.rate_per, running.jobs, queued.waiting,
    queued.jobs <= {MAX_COUNTED}
FROM workers AS w
CROSS JOIN LATERAL (SELECT count(*) AS jobs FROM (
    SELECT FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = w.id AND j.status = 'running'
    LIMIT {MAX_COUNTED}) AS c) AS running
CROSS JOIN LATERAL (SELECT count(*) AS jobs, count(*) FILTER (WHERE c.waits_for = 'permit') AS waiting FROM (
    SELECT j.waits_for FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.worker_id = w.id AND j.status = 'queued'
    LIMIT {MAX_COUNTED + 1}) AS c) AS queued
WHERE (w.max_running IS NOT NULL OR w.rate_jobs IS NOT NULL) AND (w.tenants IS NULL OR %(tenant_id)s = ANY(w.tenants))
ORDER BY w.id COLLATE "C" LIMIT {_MAX_WORKERS}
""")


def read(connection: Connection, *, tenant_id: str) -> list[WorkerLimitUse]:
    """Return the workers with a limit that a tenant may run, by id."""
    return [
        WorkerLimitUse(
            worker_id=id_,
            max_running=max_running,
            max_running_per=max_running_per,
            rate=None if rate_jobs is None else Rate(jobs=rate_jobs, seconds=rate_seconds),
            rate_per=rate_per,
            running=running,
            waiting=waiting,
            waiting_is_exact=is_exact,
        )
        for id_, max_running, max_running_per, rate_jobs, rate_seconds, rate_per, running, waiting, is_exact in (
            connection.exec_driver_sql(_READ, {"tenant_id": tenant_id})
        )
    ]
