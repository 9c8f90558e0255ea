"""Change queued jobs for clients: priority, date, expiry, tags.

A published job returns to the backlog if its priority or date changes; claims then refuse its message.
"""

from __future__ import annotations

from ava.domain.jobs.job import Job
from ava.domain.jobs.job_change import JobChange
from ava.domain.jobs.wait_reasons import DATED
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import IS_CONTAINED, IS_PAUSED, MAY_ASK

_LOCK_KEY = Statement("""
SELECT FROM debounces AS d WHERE d.tenant_id = %(tenant_id)s AND d.job_id = %(id)s::uuid FOR UPDATE
""")
_LOCK = Statement(f"""
SELECT {rows.JOB_COLUMNS} FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid FOR UPDATE
""")


def lock(connection: Connection, *, tenant_id: str, job_id: str) -> Job | None:
    """Lock a job until the transaction ends, so that no claim starts it. Returns None if it is not the tenant's.

    An earlier claim may have started it. Locks the row of a debounced job's key before the job, as triggers do.
    """
    parameters = {"tenant_id": tenant_id, "id": rows.job_uuid(job_id)}
    connection.exec_driver_sql(_LOCK_KEY, parameters)
    row = connection.exec_driver_sql(_LOCK, parameters).first()
    return None if row is None else rows.job(row)


# A job that loses its date next waits for the worker or a permit, like a job that becomes due. A debounced one that may
# need a decision becomes due instead, which asks about its final input.
_CHANGE = Statement(f"""
WITH c AS MATERIALIZED (
    SELECT j.tenant_id, j.id, j.tags AS earlier_tags, w.wanted_at, w.tags, w.priority,
        w.priority IS DISTINCT FROM j.priority AS has_new_priority,
        w.has_date AND coalesce(w.wanted_at > now(), false) AND j.waits_for IS DISTINCT FROM 'jobs' AS is_dated,
        j.waits_for IS NOT DISTINCT FROM 'debounce' AS is_debounced,
        w.has_date AND j.waits_for IS NOT DISTINCT FROM 'debounce' AND {MAY_ASK} AS needs_approval,
        CASE WHEN w.has_date THEN w.wanted_at ELSE j.scheduled_at END AS scheduled_at
    FROM jobs AS j CROSS JOIN LATERAL (
        SELECT greatest(coalesce(%(priority)s::int, j.priority), CASE WHEN %(priority)s::int IS NOT NULL THEN (
                SELECT t.most_urgent_priority FROM tenant_limits AS t WHERE t.tenant_id = j.tenant_id) END) AS priority,
            %(has_date)s::bool AS has_date, %(scheduled_at)s::timestamptz AS wanted_at, %(tags)s::json AS tags
    ) AS w
    WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid AND j.status IS NOT DISTINCT FROM 'queued'
    FOR UPDATE OF j
), untagged AS (
    DELETE FROM job_tags AS t USING (
        SELECT c.id, tag.key, tag.value, c.tags FROM c CROSS JOIN LATERAL json_each_text(c.earlier_tags) AS tag
        WHERE %(has_tags)s
    ) AS g
    WHERE t.tenant_id = %(tenant_id)s AND t.key = g.key AND t.value = g.value AND t.job_id = g.id
        AND g.tags::jsonb ->> g.key IS DISTINCT FROM g.value
), tagged AS (
    INSERT INTO job_tags (tenant_id, key, value, job_id)
    SELECT %(tenant_id)s, tag.key, tag.value, c.id FROM c CROSS JOIN LATERAL json_each_text(c.tags) AS tag
    WHERE %(has_tags)s
    ON CONFLICT DO NOTHING
), deferred AS (
    -- A debounced job keeps its key until it is due.
    UPDATE debounces AS d SET fires_at = c.wanted_at FROM c
    WHERE c.is_dated AND c.is_debounced AND d.tenant_id = c.tenant_id AND d.job_id = c.id
)
UPDATE jobs AS j SET
    priority = c.priority,
    tags = CASE WHEN %(has_tags)s THEN c.tags ELSE j.tags END,
    scheduled_at = c.scheduled_at,
    expires_at = CASE WHEN NOT %(has_expiry)s THEN j.expires_at
        ELSE greatest(clock_timestamp(), c.scheduled_at) + %(expires_in_seconds)s::int * interval '1 second' END,
    waits_for = CASE WHEN c.is_debounced AND (c.is_dated OR c.needs_approval) THEN 'debounce'
        WHEN c.is_dated THEN 'schedule'
        WHEN %(has_date)s AND j.waits_for IN {rows.reasons(DATED)} THEN
            CASE WHEN {IS_CONTAINED} THEN 'contained' WHEN {IS_PAUSED} THEN 'worker'
                 WHEN j.limit_key IS NOT NULL THEN 'permit' END
        ELSE j.waits_for END,
    run_at = CASE WHEN c.is_dated THEN c.wanted_at WHEN c.needs_approval THEN now()
        WHEN NOT %(has_date)s THEN j.run_at END,
    published_at = CASE WHEN NOT c.has_new_priority AND NOT c.is_dated THEN j.published_at END,
    run_no = j.run_no
        + (j.published_at IS NOT NULL AND (c.has_new_priority OR c.is_dated))::int
FROM c WHERE j.tenant_id = c.tenant_id AND j.id = c.id
RETURNING {rows.JOB_COLUMNS}
""")


def change(connection: Connection, job: Job, wanted: JobChange) -> Job | None:
    """Change a queued job that `lock` has locked and `job_change.check` allows to change.

    The tenant's most urgent priority caps the new priority. Returns the changed job.
    """
    parameters = {
        **rows.job_parameters(job.key),
        "priority": wanted.priority if "priority" in wanted.names else None,
        "has_date": "scheduled_at" in wanted.names,
        "scheduled_at": wanted.scheduled_at,
        "has_expiry": "expires_in_seconds" in wanted.names,
        "expires_in_seconds": wanted.expires_in_seconds,
        "has_tags": "tags" in wanted.names,
        "tags": None if wanted.tags_json == "{}" else wanted.tags_json,
    }
    row = connection.exec_driver_sql(_CHANGE, parameters).first()
    return None if row is None else rows.job(row)
