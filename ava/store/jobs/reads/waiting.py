"""Read the reason why a queued job waits, except its position in the queue."""

from __future__ import annotations

from ava.domain import ids
from ava.domain.jobs.job import Job, Status
from ava.domain.jobs.waiting import MAX_TENANTS, LimitFacts, Waiting
from ava.domain.limits.rates import Rate
from ava.store import pause_columns
from ava.store.containments.scopes import IN_SCOPE
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.fleet import tenants, workers
from ava.store.jobs import rows
from ava.store.jobs.feed import tenant_backlogs
from ava.store.jobs.transitions.log_lines import SEQ_PER_RUN
from ava.store.jobs.transitions.rules import RATE_NEXT_AT

_MAX_IN_LINE = 10_000

# A run that deferred its job has log lines. A node that deferred it has incremented the number of the next run.
_READ_WAITING = Statement(f"""
SELECT {pause_columns.column("q")}, j.waits_for IS NOT DISTINCT FROM 'permit', j.worker_id, j.limit_key,
    CASE WHEN w.max_running IS NULL THEN w.rate_per ELSE w.max_running_per END, w.max_running, w.rate_jobs,
    w.rate_seconds,
    (SELECT count(*) FROM jobs AS a WHERE a.limit_key = j.limit_key AND w.max_running IS NOT NULL
        AND (a.status = 'running' OR a.status = 'queued' AND a.waits_for IS NULL)),
    coalesce((SELECT extract(epoch FROM {RATE_NEXT_AT} - clock_timestamp())
        FROM rate_states AS r WHERE r.key = j.rate_key), 0)::float8,
    (SELECT count(*) FROM (
        SELECT FROM jobs AS a WHERE a.limit_key = j.limit_key AND a.tenant_id = j.tenant_id AND a.status = 'queued'
            AND a.waits_for = 'permit' AND (a.priority, a.id) < (j.priority, j.id)
        ORDER BY a.limit_key, a.priority, a.tenant_id, a.id LIMIT {_MAX_IN_LINE}) AS before),
    CASE WHEN j.waits_for = 'deferred'
         THEN (SELECT l.msgs[cardinality(l.msgs)] FROM job_logs AS l
               WHERE l.tenant_id = %(tenant_id)s AND l.job_id = %(id)s::uuid AND l.seq >= j.run_no * {SEQ_PER_RUN}
               ORDER BY l.seq DESC LIMIT 1) END,
    d.first_at, d.latest_at,
    ARRAY(SELECT c.containment_id::text FROM contained_scopes AS c WHERE j.waits_for = 'contained'
        AND c.tenant_id IN (j.tenant_id, '*') AND {IN_SCOPE})
FROM jobs AS j LEFT JOIN workers AS w ON {workers.of("j")}
LEFT JOIN queues AS q ON q.queue = split_part(j.queue, ':', 1)
LEFT JOIN debounces AS d ON d.tenant_id = j.tenant_id AND d.job_id = j.id
WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid
""")


def read_waiting(connection: Connection, job: Job, *, tenant_max_running: int | None) -> Waiting | None:
    """Return why a job waits; None if it is not queued. `tenant_max_running`: default concurrency limit per tenant."""
    if job.status is not Status.QUEUED:
        return None
    row = connection.exec_driver_sql(_READ_WAITING, rows.job_parameters(job.key)).first()
    if row is None:
        return None
    (paused, has_no_permit, worker_id, key, per, max_running, rate_jobs, rate_seconds, running, wait,
     before, deferral, debounced_at, debounced_until, containments) = row  # fmt: skip
    limit = None
    if has_no_permit:
        limit = LimitFacts(
            worker_id=worker_id,
            per=per,
            value=key.split(" ", 2)[-1],
            running=running,
            max_running=max_running,
            rate=None if rate_jobs is None else Rate(jobs=rate_jobs, seconds=rate_seconds),
            rate_wait_seconds=max(0.0, wait),
            position=before + 1,
        )
    use = tenants.uses(connection, [job.tenant_id], max_running=tenant_max_running)[job.tenant_id]
    others = 0
    if job.waits_for is None and job.published_at is None:
        found = tenant_backlogs.tenants(
            connection, queue=job.queue, priority=job.priority, after="", limit=MAX_TENANTS + 1
        )
        others = len(found) - 1 if job.tenant_id in found else len(found)
    return Waiting(
        paused=pause_columns.read(paused),
        limit=limit,
        tenant_running=use.running + use.published,
        tenant_max_running=use.max_running if job.published_at is None else None,
        other_tenants=max(0, min(others, MAX_TENANTS)),
        deferral=deferral,
        debounced_at=debounced_at,
        debounced_until=debounced_until,
        containment_ids=tuple(ids.encode("con", uuid) for uuid in containments),
    )
