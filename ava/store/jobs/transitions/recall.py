"""Recall published but unstarted jobs into the backlog. Claims refuse their messages from then on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ava.domain.jobs.job import Job, RunKey
from ava.domain.limits.fair_queueing import WaitingJob
from ava.domain.worker import is_pulled
from ava.store.engine.database import Connection
from ava.store.engine.statement import WAITING_WINDOWS, Statement
from ava.store.engine.transactions import one_transaction
from ava.store.fleet import workers
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import IS_STARTABLE, RECALL_SET


def _recalls(chosen: str, *, also: str = "") -> Statement:
    """Return the statement that recalls the jobs selected by `chosen`; `also` sets further columns."""
    return Statement(f"""
WITH chosen AS ({chosen}
)
UPDATE jobs AS j SET {RECALL_SET}{also} FROM chosen
WHERE j.tenant_id = chosen.tenant_id AND j.id = chosen.id
RETURNING j.id::text, j.tenant_id, j.worker_id
""")


# Wait for locked rows, because their messages may be deleted already. Lock in the order of ids, as `cancel` does.
_LOCK_WINDOW = Statement(f"""
WITH latest AS MATERIALIZED (
    SELECT tenant_id, id FROM jobs
    WHERE queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND waits_for IS NULL
        AND published_at IS NOT NULL
    ORDER BY queue DESC, priority DESC, published_at DESC, id DESC LIMIT %(limit)s
)
SELECT j.tenant_id, j.id::text, j.run_no + 1 FROM latest
JOIN jobs AS j ON j.tenant_id = latest.tenant_id AND j.id = latest.id
WHERE j.queue = %(queue)s AND j.priority = %(priority)s AND {IS_STARTABLE} AND j.published_at IS NOT NULL
ORDER BY j.id FOR UPDATE OF j
""")


def recall_window(connection: Connection, *, queue: str, priority: int, limit: int) -> list[WaitingJob]:
    """Recall the jobs of a window, the last published first."""
    parameters = {"queue": queue, "priority": priority, "limit": limit}
    with one_transaction(connection):
        found = _recall(connection, connection.exec_driver_sql(_LOCK_WINDOW, parameters).all())
    return [WaitingJob(id=id_, tenant_id=tenant, worker_id=worker) for id_, tenant, worker in found]


_RECALL_RUNS = _recalls(f"""
    SELECT j.tenant_id, j.id
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[]) AS r (tenant_id, id, run_no)
    JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.id
    WHERE j.run_no = r.run_no - 1 AND {IS_STARTABLE} FOR UPDATE OF j""")


def recall_runs(connection: Connection, runs: Sequence[RunKey]) -> int:
    """Recall published runs that were not claimed. Returns their number."""
    return len(_recall(connection, [(run.tenant_id, rows.job_uuid(run.job_id), run.run_no) for run in runs]))


def _recall(connection: Connection, runs: Sequence[Any]) -> list[tuple[str, str, str]]:
    """Recall runs, given as tenant, job UUID and run number. Returns UUIDs, tenants and workers of the jobs."""
    if not runs:
        return []
    parameters = {
        "tenants": [tenant_id for tenant_id, _, _ in runs],
        "ids": [uuid for _, uuid, _ in runs],
        "run_nos": [run_no for _, _, run_no in runs],
    }
    found = connection.exec_driver_sql(_RECALL_RUNS, parameters)
    return [(uuid, tenant_id, worker_id) for uuid, tenant_id, worker_id in found]


def recall_unsent(connection: Connection, jobs: Sequence[Job]) -> int:
    """Recall jobs after sending their messages failed or its result is unknown. Returns their number.

    Skips pulled jobs: they have no messages and stay offered.
    """
    return recall_runs(connection, [job.next_run for job in jobs if not is_pulled(job.queue)])


_LOCK_OF_TENANT = Statement(f"""
WITH RECURSIVE {WAITING_WINDOWS}
SELECT j.tenant_id, j.id::text, j.run_no + 1
FROM waiting AS w JOIN jobs AS j ON j.queue = w.queue AND j.priority = w.priority
WHERE w.priority > %(priority)s AND j.status = 'queued' AND j.waits_for IS NULL AND j.published_at IS NOT NULL
    AND j.tenant_id = %(tenant)s
LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED
""")


def recall_of_tenant(connection: Connection, *, tenant_id: str, priority: int, limit: int) -> int:
    """Recall a tenant's jobs that are less urgent than `priority`. Returns their number."""
    parameters = {"tenant": tenant_id, "priority": priority, "limit": limit}
    with one_transaction(connection):
        return len(_recall(connection, connection.exec_driver_sql(_LOCK_OF_TENANT, parameters).all()))


_RECALL_ALL = _recalls("""
    SELECT tenant_id, id FROM jobs
    WHERE status = 'queued' AND waits_for IS NULL AND published_at IS NOT NULL AND published_at < now() FOR UPDATE""")


_LIMIT_STATEMENTS = Statement("SELECT set_config('statement_timeout', %(limit)s, true)")


def recall_all(connection: Connection, *, max_seconds: float | None = None) -> int:
    """Recall all jobs that were published before this transaction. Returns their number.

    `max_seconds`: statement timeout, set for the transaction because poolers do not support session settings.
    """
    if max_seconds is not None:
        connection.exec_driver_sql(_LIMIT_STATEMENTS, {"limit": f"{max_seconds:g}s"})
    return connection.exec_driver_sql(_RECALL_ALL).rowcount


_RECALL_MOVED = _recalls(
    f"""
    SELECT j.tenant_id, j.id, {workers.queue("j.tenant_id")} AS queue
    FROM jobs AS j JOIN workers AS w ON {workers.of("j")}
    WHERE j.status = 'queued' AND j.waits_for IS NULL AND j.queue <> {workers.queue("j.tenant_id")}
    LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED""",
    also=", queue = chosen.queue",
)


def recall_moved(connection: Connection, *, limit: int) -> int:
    """Recall jobs to the backlog of the queue that their worker has now. Returns their number."""
    return connection.exec_driver_sql(_RECALL_MOVED, {"limit": limit}).rowcount
