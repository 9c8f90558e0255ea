"""Debounce triggers: each key has a row with its job and the time of the first trigger.

A trigger locks its key's row, which serializes the triggers of a key. The job is an ordinary dated job. Once it is due
or cancelled, the next trigger creates another; `delete_old` deletes rows left behind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from ava.domain.jobs.job import Job, JobSpec
from ava.domain.jobs.new_job import NewJob
from ava.domain.jobs.trigger_options import Keep
from ava.store.engine.database import Connection
from ava.store.engine.statement import Deletion, Statement, array
from ava.store.fleet import worker_settings, workers
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import is_compared, limit_key, rate_key

# Ordered by key, so that two calls with the same keys do not deadlock.
_RESERVE = Statement("""
WITH reserved AS (
    INSERT INTO debounces AS d (tenant_id, worker_id, key)
    SELECT %(tenant_id)s, worker_id, key FROM unnest(%(worker_ids)s::text[], %(keys)s::text[]) AS k (worker_id, key)
    ORDER BY worker_id, key
    ON CONFLICT (tenant_id, worker_id, key) DO UPDATE SET key = excluded.key RETURNING 1
)
SELECT clock_timestamp() FROM (SELECT count(*) FROM reserved) AS r
""")


def reserve(connection: Connection, *, tenant_id: str, keys: Sequence[tuple[str, str]]) -> datetime:
    """Lock the rows of keys until the transaction ends. Returns the time after locking."""
    now: datetime = connection.exec_driver_sql(_RESERVE, _parameters(tenant_id, keys)).scalar_one()
    return now


# As for a trigger, the tenant must be allowed to run the worker, and the input must be validated against its current
# schema. A job that became due has another wait reason by now, or is published.
_DEFER = Statement(f"""
WITH locked AS MATERIALIZED (
    SELECT j.tenant_id, j.id, s.n, s.worker_id, s.key, least(s.start_at, d.latest_at) AS start_at
    FROM unnest(%(worker_ids)s::text[], %(keys)s::text[], %(starts)s::timestamptz[], %(schemas)s::text[])
         WITH ORDINALITY AS s (worker_id, key, start_at, schema_version, n)
    JOIN debounces AS d ON d.tenant_id = %(tenant_id)s AND d.worker_id = s.worker_id AND d.key = s.key
    JOIN workers AS w ON {workers.of("d")} AND (w.tenants IS NULL OR %(tenant_id)s = ANY(w.tenants))
                     AND w.input_schema_version IS NOT DISTINCT FROM s.schema_version
    {worker_settings.joined("%(tenant_id)s")}
    CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM jobs
        WHERE tenant_id = %(tenant_id)s AND id = d.job_id
            AND status IS NOT DISTINCT FROM 'queued' AND run_no = 0 AND waits_for = 'debounce'
            AND run_at > clock_timestamp() LIMIT 1 FOR UPDATE
    ) AS j
    WHERE {worker_settings.STATUS} <> 'deprecated' AND {is_compared()}
), deferred AS (
    UPDATE debounces AS d SET fires_at = h.start_at FROM locked AS h
    WHERE d.tenant_id = %(tenant_id)s AND d.worker_id = h.worker_id AND d.key = h.key
), moved AS (
    UPDATE jobs AS j SET run_at = h.start_at, scheduled_at = h.start_at,
        expires_at = h.start_at + (j.expires_at - j.scheduled_at)
    FROM locked AS h WHERE j.tenant_id = h.tenant_id AND j.id = h.id RETURNING j.*, h.n
)
SELECT {rows.JOB_COLUMNS}, j.n FROM moved AS j
""")
_ITS_INPUT = {"worker": "j.worker_id", "row": "w", "tenant_id": "j.tenant_id", "input_json": "s.input::json"}
_TAKE_OVER = Statement(f"""
WITH last AS MATERIALIZED (
    SELECT j.tags AS earlier_tags, s.*, coalesce(s.expiry, w.expires_in_seconds) AS expires_in_seconds,
        greatest(s.asked_priority, t.most_urgent_priority) AS priority,
        {limit_key(**_ITS_INPUT)} AS limit_key, {rate_key(**_ITS_INPUT)} AS rate_key
    FROM unnest(%(ids)s::uuid[], %(triggers)s::text[], %(priorities)s::int[], %(inputs)s::text[], %(sizes)s::int[],
                %(tags)s::text[], %(expires_in_seconds)s::int[], %(approvals)s::text[])
         AS s (id, trigger, asked_priority, input, input_bytes, tags, expiry, approval)
    JOIN jobs AS j ON j.tenant_id = %(tenant_id)s AND j.id = s.id JOIN workers AS w ON {workers.of("j")}
    LEFT JOIN tenant_limits AS t ON t.tenant_id = j.tenant_id
), untagged AS (
    DELETE FROM job_tags AS t USING (
        SELECT l.id, tag.key, tag.value, l.tags FROM last AS l CROSS JOIN LATERAL json_each_text(l.earlier_tags) AS tag
    ) AS g
    WHERE t.tenant_id = %(tenant_id)s AND t.key = g.key AND t.value = g.value AND t.job_id = g.id
        AND g.tags::jsonb ->> g.key IS DISTINCT FROM g.value
), tagged AS (
    INSERT INTO job_tags (tenant_id, key, value, job_id)
    SELECT %(tenant_id)s, tag.key, tag.value, l.id FROM last AS l CROSS JOIN LATERAL json_each_text(l.tags::json) AS tag
    ON CONFLICT DO NOTHING
), changed AS (
    UPDATE jobs AS j SET expires_at = j.scheduled_at + l.expires_in_seconds * interval '1 second',
        input = l.input::json, input_bytes = l.input_bytes, priority = l.priority, trigger = l.trigger,
        tags = l.tags::json, triggered_by = %(user_id)s, origin = %(origin)s, limit_key = l.limit_key,
        rate_key = l.rate_key, approval = coalesce(l.approval::json, j.approval)
    FROM last AS l WHERE j.tenant_id = %(tenant_id)s AND j.id = l.id RETURNING j.*
)
SELECT {rows.JOB_COLUMNS} FROM changed AS j
""")


def defer(
    connection: Connection,
    *,
    tenant_id: str,
    user_id: str,
    origin_text: str | None,
    new: Sequence[NewJob],
    checked: Collection[str],
) -> dict[tuple[str, str], Job]:
    """Defer the jobs of keys that `reserve` has locked, each to its trigger's date, at most to its latest start.

    With `keep: last`, the job also takes over the trigger's input, priority, tags, kind, user, origin, approval (if it
    has one) and expiry, which counts from the date. Returns the jobs by worker and key, except due or final ones, jobs
    of workers that the tenant may not run, and all while the tenant has an active containment that is not in `checked`
    (UUIDs).
    """
    keyed = [(each, each.spec.key) for each in new if each.spec.key is not None]
    parameters: dict[str, Any] = {
        **_parameters(tenant_id, [key for _, key in keyed]),
        "starts": [each.spec.scheduled_at for each, _ in keyed],
        "schemas": [each.schema_version for each, _ in keyed],
        "checked": array(checked),
    }
    found = {row[-1] - 1: rows.job(row) for row in connection.exec_driver_sql(_DEFER, parameters)}
    last = {job.id: keyed[n][0].spec for n, job in found.items() if _is_last(keyed[n][0].spec)}
    by = {"tenant_id": tenant_id, "user_id": user_id, "origin": origin_text}
    changed = _take_over(connection, by, last)
    return {keyed[n][1]: changed.get(job.id, job) for n, job in found.items()}


def _is_last(spec: JobSpec) -> bool:
    return spec.debounce is not None and spec.debounce.keep is Keep.LAST


def _take_over(connection: Connection, by: Mapping[str, str | None], last: Mapping[str, JobSpec]) -> dict[str, Job]:
    """Apply the last triggers' values to jobs that `_DEFER` has locked, by job id. Returns the changed jobs by id."""
    if not last:
        return {}
    specs = list(last.values())
    parameters: dict[str, Any] = {
        **by,
        "ids": [rows.job_uuid(job_id) for job_id in last],
        "triggers": [spec.trigger.value for spec in specs],
        "priorities": [spec.priority for spec in specs],
        "inputs": [spec.input_json for spec in specs],
        "sizes": [rows.large_bytes(spec.input_json) for spec in specs],
        "tags": [None if spec.tags_json == "{}" else spec.tags_json for spec in specs],
        "expires_in_seconds": [spec.expires_in_seconds for spec in specs],
        "approvals": [spec.approval_json for spec in specs],
    }
    return {job.id: job for row in connection.exec_driver_sql(_TAKE_OVER, parameters) for job in [rows.job(row)]}


_START = Statement("""
UPDATE debounces AS d SET job_id = s.job_id, first_at = %(first_at)s::timestamptz, fires_at = s.fires_at,
    latest_at = %(first_at)s::timestamptz + s.max_seconds * interval '1 second'
FROM unnest(%(worker_ids)s::text[], %(keys)s::text[], %(jobs)s::uuid[], %(fires)s::timestamptz[],
            %(max_seconds)s::int[]) AS s (worker_id, key, job_id, fires_at, max_seconds)
WHERE d.tenant_id = %(tenant_id)s AND d.worker_id = s.worker_id AND d.key = s.key
""")


def start(
    connection: Connection,
    *,
    tenant_id: str,
    first_at: datetime,
    jobs: Mapping[tuple[str, str], Job],
    max_seconds: Sequence[int | None],
) -> None:
    """Store the new jobs of keys that `reserve` has locked, and the latest times of their starts."""
    parameters: dict[str, Any] = {
        **_parameters(tenant_id, list(jobs)),
        "first_at": first_at,
        "jobs": [rows.job_uuid(job.id) for job in jobs.values()],
        "fires": [job.run_at for job in jobs.values()],
        "max_seconds": list(max_seconds),
    }
    connection.exec_driver_sql(_START, parameters)


#: Deletes the rows of jobs that were due more than a minute ago.
delete_old = Deletion("debounces", "fires_at < now() - interval '1 minute'", order="fires_at")


def _parameters(tenant_id: str, keys: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "worker_ids": [worker_id for worker_id, _ in keys],
        "keys": [key for _, key in keys],
    }
