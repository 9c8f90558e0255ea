"""The facts that explain why a job is in its state, and why a queued job waits, except its position in the queue."""

from __future__ import annotations

from ava.domain import ids
from ava.domain.jobs import priority
from ava.domain.jobs.explanation import MAX_AHEAD, MAX_EXAMINED, Facts
from ava.domain.jobs.job import Job, Status, Trigger
from ava.domain.jobs.waiting import MAX_TENANTS, LimitFacts, Waiting
from ava.domain.limits.rates import Rate
from ava.store import pause_columns
from ava.store.containments.scopes import IN_SCOPE
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.fleet import nodes, tenants, worker_settings, workers
from ava.store.jobs import rows
from ava.store.jobs.feed import tenant_backlogs
from ava.store.jobs.transitions.log_lines import SEQ_PER_RUN
from ava.store.jobs.transitions.rules import RATE_NEXT_AT

_FIRST_UUID = "00000000-0000-0000-0000-000000000000"
_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

# The average of the newest jobs of the same tenant and worker, because others would reveal other tenants'
# durations.
_AVERAGE = f"""(SELECT avg(extract(epoch FROM r.completed_at - r.started_at) * 1000)::float8
     FROM unnest(%(triggers)s::text[]) AS kind (trigger) CROSS JOIN LATERAL (
        SELECT d.started_at, d.completed_at FROM jobs AS d
        WHERE (d.tenant_id, d.worker_id, d.status, d.trigger, d.id)
                >= (j.tenant_id, j.worker_id, 'completed', kind.trigger, '{_FIRST_UUID}'::uuid)
            AND (d.tenant_id, d.worker_id, d.status, d.trigger, d.id)
                < (j.tenant_id, j.worker_id, 'completed', kind.trigger, '{_LAST_UUID}'::uuid)
        ORDER BY d.tenant_id DESC, d.worker_id DESC, d.status DESC, d.trigger DESC, d.id DESC LIMIT 50) AS r
     WHERE r.started_at IS NOT NULL)"""
_IS_ITS_NODE = f"{nodes.IS_LIVE} AND j.worker_id = ANY(n.workers)"
_ROWS = RecordRows(
    Facts,
    "busy",
    columns={
        "worker_status": f"(SELECT {worker_settings.STATUS} FROM workers AS w WHERE {workers.of('j')})",
        "worker_paused": worker_settings.PAUSED,
        "processes": f"""(SELECT coalesce(sum(n.processes), 0) FROM nodes AS n
            WHERE {_IS_ITS_NODE} AND j.queue = ANY(n.queues))""",
        "is_queue_refused": f"""EXISTS (SELECT FROM nodes AS n
            WHERE {_IS_ITS_NODE} AND j.queue = ANY(n.refused_queues))""",
        "ahead": f"least(coalesce(ahead.of_tenant, 0), {MAX_AHEAD})",
        "ahead_of_all": "coalesce(ahead.of_all, 0)",
        "average_ms": _AVERAGE,
        "node_name": "n.name",
        "node_silent_seconds": "extract(epoch FROM now() - n.seen_at)::float8",
        "claimed_seconds": """(SELECT extract(epoch FROM now() - max(c.claimed_at))::float8 FROM worker_claims AS c
            WHERE c.worker_id = j.worker_id AND c.tenant_id IN (j.tenant_id, split_part(j.queue, ':', 2)))""",
        "pulled_by": "p.name",
        "unheard_seconds": "extract(epoch FROM now() - p.heartbeat_at)::float8",
    },
    readers={"worker_paused": pause_columns.read},
    without=("job", "node_dead_after_seconds", "firing", "waiting"),
)
# Jobs start in the order of priority, then id. Each priority is a range of the index `jobs_startable`. Within the job's
# priority, published jobs fill at most a window, and the others are ordered by id.
_READ_FACTS = Statement(f"""
SELECT {_ROWS.columns}
FROM jobs AS j LEFT JOIN nodes AS n ON n.id = j.node_id
LEFT JOIN pulled_runs AS p ON p.tenant_id = j.tenant_id AND p.job_id = j.id AND p.run_no = j.run_no
{worker_settings.joined("j.tenant_id", worker_id="j.worker_id")}
LEFT JOIN LATERAL (
    SELECT count(*), max(extract(epoch FROM now() - r.started_at))::float8,
        (max(extract(epoch FROM now() - r.started_at)) FILTER (WHERE r.tenant_id = j.tenant_id))::float8
    FROM nodes AS n JOIN jobs AS r ON r.node_id = n.id AND r.status = 'running'
    WHERE j.status = 'queued' AND {_IS_ITS_NODE} AND j.queue = ANY(n.queues)
) AS busy (busy, busy_seconds, busy_seconds_of_tenant) ON true
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE c.tenant_id = j.tenant_id), count(*) FROM (
        SELECT u.tenant_id FROM generate_series({priority.FIRST}, j.priority - 1) AS p (priority) CROSS JOIN LATERAL (
            SELECT a.tenant_id FROM jobs AS a
            WHERE a.queue = j.queue AND a.status = 'queued' AND a.waits_for IS NULL AND a.priority = p.priority
            LIMIT {MAX_EXAMINED}) AS u
        UNION ALL
        SELECT a.tenant_id FROM jobs AS a
        WHERE a.queue = j.queue AND a.status = 'queued' AND a.waits_for IS NULL AND a.priority = j.priority
            AND a.published_at IS NOT NULL AND a.id < j.id
        UNION ALL
        (SELECT a.tenant_id FROM jobs AS a
        WHERE a.queue = j.queue AND a.status = 'queued' AND a.waits_for IS NULL AND a.priority = j.priority
            AND a.published_at IS NULL AND a.id < j.id
        ORDER BY a.queue, a.priority, a.published_at, a.id LIMIT {MAX_EXAMINED})
        LIMIT {MAX_EXAMINED}
    ) AS c WHERE j.status = 'queued'
) AS ahead (of_tenant, of_all) ON true
WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid
""")


def read_facts(connection: Connection, job: Job, *, dead_after_seconds: float) -> Facts:
    parameters = {
        **rows.job_parameters(job.key),
        "dead_after": dead_after_seconds,
        "triggers": [trigger.value for trigger in Trigger],
    }
    row = connection.exec_driver_sql(_READ_FACTS, parameters).one()
    return _ROWS.read(row, job=job, node_dead_after_seconds=dead_after_seconds)


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
