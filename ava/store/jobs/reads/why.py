"""The facts that explain why a job is in its state."""

from __future__ import annotations

from ava.domain.jobs import priority
from ava.domain.jobs.explanation import MAX_AHEAD, MAX_EXAMINED, Facts
from ava.domain.jobs.job import Job, Trigger
from ava.domain.worker import WorkerStatus
from ava.store import pause_columns
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.fleet import nodes, worker_settings, workers
from ava.store.jobs import rows

_FIRST_UUID = "00000000-0000-0000-0000-000000000000"
_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

# The average is over the newest jobs of the same tenant and worker, because others would reveal other tenants'
# durations. Jobs start in the order of priority, then id. Each priority is a range of the index `jobs_startable`.
# Within the job's priority, published jobs fill at most a window, and the others are ordered by id.
_READ_FACTS = Statement(f"""
SELECT
    (SELECT {worker_settings.STATUS} FROM workers AS w WHERE {workers.of("j")}),
    {worker_settings.PAUSED},
    (SELECT coalesce(sum(n.processes), 0) FROM nodes AS n
     WHERE {nodes.IS_LIVE} AND j.worker_id = ANY(n.workers) AND j.queue = ANY(n.queues)),
    EXISTS (SELECT FROM nodes AS n WHERE {nodes.IS_LIVE} AND j.worker_id = ANY(n.workers)
        AND j.queue = ANY(n.refused_queues)),
    least(coalesce(ahead.of_tenant, 0), {MAX_AHEAD}),
    coalesce(ahead.of_all, 0),
    (SELECT avg(extract(epoch FROM r.completed_at - r.started_at) * 1000)
     FROM unnest(%(triggers)s::text[]) AS kind (trigger) CROSS JOIN LATERAL (
        SELECT d.started_at, d.completed_at FROM jobs AS d
        WHERE (d.tenant_id, d.worker_id, d.status, d.trigger, d.id)
                >= (j.tenant_id, j.worker_id, 'completed', kind.trigger, '{_FIRST_UUID}'::uuid)
            AND (d.tenant_id, d.worker_id, d.status, d.trigger, d.id)
                < (j.tenant_id, j.worker_id, 'completed', kind.trigger, '{_LAST_UUID}'::uuid)
        ORDER BY d.tenant_id DESC, d.worker_id DESC, d.status DESC, d.trigger DESC, d.id DESC LIMIT 50) AS r
     WHERE r.started_at IS NOT NULL),
    n.name,
    extract(epoch FROM now() - n.seen_at),
    (SELECT extract(epoch FROM now() - max(c.claimed_at)) FROM worker_claims AS c
     WHERE c.worker_id = j.worker_id AND c.tenant_id IN (j.tenant_id, split_part(j.queue, ':', 2))),
    p.name,
    extract(epoch FROM now() - p.heartbeat_at),
    busy.count, busy.longest, busy.longest_of_tenant
FROM jobs AS j LEFT JOIN nodes AS n ON n.id = j.node_id
LEFT JOIN pulled_runs AS p ON p.tenant_id = j.tenant_id AND p.job_id = j.id AND p.run_no = j.run_no
{worker_settings.joined("j.tenant_id", worker_id="j.worker_id")}
LEFT JOIN LATERAL (
    SELECT count(*), max(extract(epoch FROM now() - r.started_at)) AS longest,
        max(extract(epoch FROM now() - r.started_at)) FILTER (WHERE r.tenant_id = j.tenant_id) AS longest_of_tenant
    FROM nodes AS n JOIN jobs AS r ON r.node_id = n.id AND r.status = 'running'
    WHERE j.status = 'queued' AND {nodes.IS_LIVE} AND j.worker_id = ANY(n.workers) AND j.queue = ANY(n.queues)
) AS busy ON true
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
    found = connection.exec_driver_sql(_READ_FACTS, parameters).one()
    status, paused, processes, is_refused, ahead, ahead_of_all, average_ms, node_name, silent = found[:9]
    claimed, pulled_by, unheard, busy, busy_seconds, busy_seconds_of_tenant = found[9:]
    return Facts(
        job=job,
        worker_status=None if status is None else WorkerStatus(status),
        worker_paused=pause_columns.read(paused),
        processes=processes,
        busy=busy,
        busy_seconds=None if busy_seconds is None else float(busy_seconds),
        busy_seconds_of_tenant=None if busy_seconds_of_tenant is None else float(busy_seconds_of_tenant),
        is_queue_refused=is_refused,
        ahead=ahead,
        ahead_of_all=ahead_of_all,
        average_ms=None if average_ms is None else float(average_ms),
        node_name=node_name,
        node_silent_seconds=None if silent is None else float(silent),
        node_dead_after_seconds=dead_after_seconds,
        claimed_seconds=None if claimed is None else float(claimed),
        pulled_by=pulled_by,
        unheard_seconds=None if unheard is None else float(unheard),
    )
