"""The backlog of one window by tenants: who waits, whose job comes next, and what returns from the broker.

Every statement is bounded and uses an index made for it: `jobs_startable`, or `jobs_backlog`, which jobs that the API
publishes never enter. Within a tenant, a job that a limit has admitted comes first, because it holds a place of the
limit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ava.domain.fair_queue import WaitingJob
from ava.domain.job import Job
from ava.store.engine.commits import IS_UNFLUSHED
from ava.store.engine.database import Connection
from ava.store.engine.plans import WAITING_WINDOWS
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

__all__ = ["costs", "heads", "publish_chosen", "recall", "recall_of_tenant", "recall_runs", "tenants"]

# A loose index scan, as in `looks.read`: one step for each tenant.
_TENANTS = Statement("""
WITH RECURSIVE waiting AS (
    (SELECT tenant_id FROM jobs
     WHERE queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND waits_for IS NULL
        AND published_at IS NULL AND tenant_id > %(after)s
        AND (%(until)s::text IS NULL OR tenant_id <= %(until)s)
     ORDER BY queue, priority, tenant_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id FROM waiting AS w CROSS JOIN LATERAL (
        SELECT j.tenant_id FROM jobs AS j
        WHERE j.queue = %(queue)s AND j.priority = %(priority)s AND j.status = 'queued' AND j.waits_for IS NULL
            AND j.published_at IS NULL AND j.tenant_id > w.tenant_id
            AND (%(until)s::text IS NULL OR j.tenant_id <= %(until)s)
        ORDER BY j.queue, j.priority, j.tenant_id LIMIT 1) AS next
)
SELECT tenant_id FROM waiting LIMIT %(limit)s
""")


def tenants(connection: Connection, *, queue: str, priority: int, after: str, limit: int) -> list[str]:
    """Returns tenants with unpublished jobs in a window, in the order of their ids, from the one that follows `after`.

    If they end before `limit`, those from the first one on follow, so that repeated calls go round.
    """
    parameters = {"queue": queue, "priority": priority, "after": after, "until": None, "limit": limit}
    found = list(connection.exec_driver_sql(_TENANTS, parameters).scalars())
    if after and len(found) < limit:
        parameters |= {"after": "", "until": after, "limit": limit - len(found)}
        found += connection.exec_driver_sql(_TENANTS, parameters).scalars()
    return found


_HEADS = Statement("""
SELECT t.tenant_id, j.id::text, j.worker_id FROM unnest(%(tenants)s::text[]) AS t (tenant_id) CROSS JOIN LATERAL (
    SELECT id, worker_id, limit_key FROM jobs
    WHERE queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND waits_for IS NULL
        AND published_at IS NULL AND tenant_id = t.tenant_id AND worker_id <> ALL(%(unserved)s::text[])
    ORDER BY queue, priority, tenant_id, (limit_key IS NULL), id LIMIT %(each)s
) AS j
ORDER BY t.tenant_id, (j.limit_key IS NULL), j.id
""")


# Likewise from an id on: no entry before is passed. `limit_key IS NULL` is a column of the index, and the jobs with a
# limit are few, because those that wait for a place of it are not in the backlog.
_WAITS = """queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND waits_for IS NULL
        AND published_at IS NULL AND tenant_id = t.tenant_id AND worker_id <> ALL(%(unserved)s::text[])"""
_IN_ORDER = "ORDER BY queue, priority, tenant_id, (limit_key IS NULL), id LIMIT %(each)s"
_HEADS_FROM = Statement(f"""
SELECT t.tenant_id, j.id::text, j.worker_id FROM unnest(%(tenants)s::text[]) AS t (tenant_id) CROSS JOIN LATERAL (
    (SELECT id, worker_id, limit_key FROM jobs WHERE {_WAITS} AND (limit_key IS NULL) < true {_IN_ORDER})
    UNION ALL
    (SELECT id, worker_id, limit_key FROM jobs WHERE {_WAITS} AND limit_key IS NULL AND id >= %(from_id)s::uuid
     {_IN_ORDER})
    LIMIT %(each)s
) AS j
ORDER BY t.tenant_id, (j.limit_key IS NULL), j.id
""")


def heads(
    connection: Connection,
    *,
    queue: str,
    priority: int,
    tenants: Sequence[str],
    each: int,
    unserved: Collection[str] = (),
    from_id: str | None = None,
) -> dict[str, list[WaitingJob]]:
    """Returns the next `each` unpublished jobs of these tenants in a window, but none of the `unserved` workers.

    `from_id`: no job in the window without a limit has a smaller id.
    """
    parameters = {
        "queue": queue,
        "priority": priority,
        "tenants": list(tenants),
        "each": each,
        "unserved": list(unserved),
    }
    statement = _HEADS if from_id is None else _HEADS_FROM
    found: dict[str, list[WaitingJob]] = {}
    for tenant_id, id_, worker_id in connection.exec_driver_sql(statement, parameters | {"from_id": from_id}).all():
        found.setdefault(tenant_id, []).append(WaitingJob(id=id_, tenant_id=tenant_id, worker_id=worker_id))
    return found


# Each job is found by its primary key, whatever the planner knows of the table: while it believes that next to no job
# waits, a join compares each job that waits with each one that is chosen.
_PUBLISH_CHOSEN = Statement(f"""
UPDATE jobs AS j SET published_at = clock_timestamp() WHERE {IS_UNFLUSHED} AND j.id = ANY(ARRAY(
    SELECT w.id FROM unnest(%(ids)s::uuid[]) AS c (id) CROSS JOIN LATERAL (
        SELECT id FROM jobs
        WHERE id = c.id AND status IS NOT DISTINCT FROM 'queued' AND waits_for IS NULL AND published_at IS NULL
        LIMIT 1 FOR UPDATE SKIP LOCKED) AS w
)) RETURNING {rows.JOB_COLUMNS}
""")


def publish_chosen(connection: Connection, chosen: Sequence[WaitingJob]) -> list[Job]:
    """Mark jobs as published that wait unpublished. Returns them in the given order, for publishing."""
    places = {job.id: place for place, job in enumerate(chosen)}
    found = connection.exec_driver_sql(_PUBLISH_CHOSEN, {"ids": list(places)})
    return [rows.job(row) for row in sorted(found, key=lambda row: places[row[0]])]


# The run's number moves on, so that the claim refuses the old message. A row that is locked is waited for, because its
# message may be deleted already.
_RECALL = Statement("""
WITH recalled AS (
    SELECT id FROM jobs
    WHERE queue = %(queue)s AND priority = %(priority)s AND status = 'queued' AND waits_for IS NULL
        AND published_at IS NOT NULL
    ORDER BY queue DESC, priority DESC, published_at DESC, id DESC LIMIT %(limit)s FOR UPDATE
)
UPDATE jobs AS j SET published_at = NULL, run_no = j.run_no + 1 FROM recalled WHERE j.id = recalled.id
RETURNING j.id::text, j.tenant_id, j.worker_id
""")


def recall(connection: Connection, *, queue: str, priority: int, limit: int) -> list[WaitingJob]:
    """Return published jobs that have not started to the backlog, those that were published last first.

    Returns the jobs. Their messages stay in the broker, and each is dropped when a process tries to claim it.
    """
    parameters = {"queue": queue, "priority": priority, "limit": limit}
    found = connection.exec_driver_sql(_RECALL, parameters)
    return [WaitingJob(id=id_, tenant_id=tenant, worker_id=worker) for id_, tenant, worker in found]


_RECALL_RUNS = Statement("""
UPDATE jobs AS j SET published_at = NULL, run_no = j.run_no + 1
FROM unnest(%(ids)s::uuid[], %(run_nos)s::int[]) AS r (id, run_no)
WHERE j.id = r.id AND j.run_no = r.run_no - 1 AND j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for IS NULL
    AND j.published_at IS NOT NULL
""")


def recall_runs(connection: Connection, runs: Sequence[tuple[str, int]]) -> int:
    """Return the jobs of published runs (job id, run number) that were not claimed to the backlog.

    Returns the number of jobs. Their messages are refused from now on, wherever they are.
    """
    parameters = {"ids": [rows.job_uuid(job_id) for job_id, _ in runs], "run_nos": [run_no for _, run_no in runs]}
    return connection.exec_driver_sql(_RECALL_RUNS, parameters).rowcount


_RECALL_OF_TENANT = Statement(f"""
WITH RECURSIVE {WAITING_WINDOWS}, recalled AS (
    SELECT j.id FROM waiting AS w JOIN jobs AS j ON j.queue = w.queue AND j.priority = w.priority
    WHERE w.priority > %(priority)s AND j.status = 'queued' AND j.waits_for IS NULL AND j.published_at IS NOT NULL
        AND j.tenant_id = %(tenant)s
    LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED
)
UPDATE jobs AS j SET published_at = NULL, run_no = j.run_no + 1 FROM recalled WHERE j.id = recalled.id
""")


def recall_of_tenant(connection: Connection, *, tenant_id: str, priority: int, limit: int) -> int:
    """Return published jobs of a tenant that are less urgent than `priority` to the backlog. Returns their number."""
    parameters = {"tenant": tenant_id, "priority": priority, "limit": limit}
    return connection.exec_driver_sql(_RECALL_OF_TENANT, parameters).rowcount


_COSTS = Statement("""
SELECT worker_id, sum(run_seconds) / sum(jobs) FROM job_totals WHERE run_bucket >= 0 GROUP BY worker_id
""")


def costs(connection: Connection) -> dict[str, float]:
    """Returns the seconds that a worker's jobs have run on average, of the workers that had any."""
    return {worker_id: float(seconds) for worker_id, seconds in connection.exec_driver_sql(_COSTS)}
