"""The limits of workers, and one tenant's usage of them. Every count is bounded."""

from __future__ import annotations

from dataclasses import dataclass, field

from ava.domain.counts import MAX_IN_TOTAL
from ava.domain.limits.rates import Rate
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.fleet.workers import IS_VISIBLE

MAX_COUNTED = 1_000


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


_IS_LIMITED = f"(w.max_running IS NOT NULL OR w.rate_jobs IS NOT NULL) AND {IS_VISIBLE}"
_PAGE = Statement(f"""
SELECT w.id, w.max_running, w.max_running_per, w.rate_jobs, w.rate_seconds, w.rate_per, running.jobs, queued.waiting,
    queued.jobs <= {MAX_COUNTED}
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


def page(connection: Connection, *, tenant_id: str, after: str, limit: int, offset: int) -> list[WorkerLimitUse]:
    """Return workers with a limit that a tenant may run, by id."""
    given = {"tenant_id": tenant_id, "after": after, "limit": limit, "offset": offset}
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
            connection.exec_driver_sql(_PAGE, given)
        )
    ]


_COUNT = Statement(f"""
SELECT count(*) FROM (SELECT FROM workers AS w WHERE {_IS_LIMITED} LIMIT {MAX_IN_TOTAL}) AS counted
""")


def count(connection: Connection, *, tenant_id: str) -> int:
    """Return the number of these workers, counted up to `MAX_IN_TOTAL`."""
    return int(connection.exec_driver_sql(_COUNT, {"tenant_id": tenant_id}).scalar_one())
