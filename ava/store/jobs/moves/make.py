"""The move that makes jobs: the one statement that inserts them, for every caller."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

from ava.domain.jobs import pull
from ava.domain.jobs.job import Job
from ava.domain.jobs.new_job import NewJob
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.fleet import worker_settings, workers
from ava.store.jobs import rows
from ava.store.jobs.moves.rules import limit_key, rate_key

__all__ = ["insert"]

#: A tenant, and a worker that it runs.
_Worker = tuple[str, str]

#: The columns and the rows of the unique index `jobs_deduped`.
_DEDUPED = "(tenant_id, worker_id, dedupe_key) WHERE dedupe_key IS NOT NULL AND status IN ('queued', 'running')"


_ITS_INPUT = {"worker": "m.worker_id", "row": "m", "tenant_id": "m.tenant_id", "input_json": "m.input::json"}


#: The time in a job's id.
_CREATED_AT = "to_timestamp(('x' || left(translate(m.id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)"
#: What jobs with a key, a place among others or a deadline have beside the rest: columns, values, parameters, names.
_MORE = (
    ", dedupe_key, parent_id, tree_id, name, is_detached, is_awaited",
    ", m.dedupe_key, m.parent_id, m.tree_id, m.name, m.is_detached, m.is_awaited",
    ", %(dedupe_keys)s::text[], %(parents)s::uuid[], %(trees)s::uuid[], %(names)s::text[], %(detached)s::bool[], "
    "%(awaited)s::bool[], %(waits)s::bool[], %(templates)s::bool[], %(deadlines)s::float8[]",
    ", dedupe_key, parent_id, tree_id, name, is_detached, is_awaited, waits, has_template, deadline_asked",
)
_WAITS = ("WHEN m.waits THEN 'jobs' ", " AND NOT m.waits")


def _insert_jobs(*, has_more: bool = False) -> str:
    """Returns the statement; `has_more` is that of jobs of which some have a key for `dedupe`, a place or a deadline.

    A job's `created_at` is the time in its id, to the millisecond. So a list from one time to another is a range of
    ids, and no row is read only to be left out. No job is more urgent than its tenant's may be. Jobs with keys are
    inserted in the order of their keys, so that two calls with the same ones do not deadlock.
    """
    column, value, parameter, name = _MORE if has_more else [""] * 4
    waits, unless_it_waits = _WAITS if has_more else ("", "")
    has_schema = "w.input_schema_version IS NOT DISTINCT FROM s.schema_version"
    has_schema = f"({has_schema} OR s.has_template)" if has_more else has_schema
    deadline = "coalesce(m.deadline_asked, m.deadline_seconds)" if has_more else "m.deadline_seconds"
    order = "ORDER BY m.tenant_id, m.worker_id, m.dedupe_key, m.n"
    conflict = f"{order} ON CONFLICT {_DEDUPED} DO NOTHING\n" if has_more else ""
    return f"""
INSERT INTO jobs AS j (id, created_at, tenant_id, worker_id, queue, trigger, priority, input, triggered_by,
                       scheduled_at, limit_key, rate_key, waits_for, run_at, published_at, max_attempts,
                       retry_of, traceparent, tags, input_bytes, expires_at, deadline_at{column})
SELECT m.id, {_CREATED_AT},
       m.tenant_id, m.worker_id, m.queue, m.trigger, m.priority, m.input::json, m.user_id, m.scheduled_at,
       {limit_key(**_ITS_INPUT)},
       {rate_key(**_ITS_INPUT)},
       CASE {waits}WHEN m.scheduled_at > now() AND NOT m.is_due THEN 'date'
            WHEN m.status = 'paused' THEN 'worker' WHEN m.is_limited THEN 'permit' END,
       CASE WHEN m.scheduled_at > now() AND NOT m.is_due{unless_it_waits} THEN m.scheduled_at END,
       CASE WHEN m.may_publish AND NOT m.is_limited AND m.status <> 'paused'{unless_it_waits}
                AND (m.scheduled_at IS NULL OR m.is_due OR m.scheduled_at <= now()) THEN
           CASE WHEN NOT EXISTS (
               SELECT FROM closed_windows AS c WHERE c.queue = m.queue AND c.priority = m.priority
           ) THEN now() END
       END,
       m.max_retries + 1, m.retry_of, m.traceparent, m.tags::json, m.input_bytes,
       CASE WHEN m.start_before IS NOT NULL THEN m.start_before WHEN m.expires_in IS NOT NULL THEN
           CASE WHEN m.is_due OR m.scheduled_at > now() THEN m.scheduled_at ELSE now() END
           + m.expires_in * interval '1 second' END,
       CASE WHEN {deadline} IS NOT NULL
            THEN greatest({_CREATED_AT}, m.scheduled_at) + {deadline} * interval '1 second' END{value}
FROM (SELECT coalesce(e.uuid, ava_uuid7()) AS id, e.* FROM (
    SELECT s.*, greatest(s.asked_priority, rules.most_urgent_priority) AS priority,
           s.is_publishable AND rules.max_running IS NULL
               AND (w.queue <> '{pull.QUEUE}' OR {workers.is_claimed("s.tenant_id")}) AS may_publish,
           {workers.queue("s.tenant_id")} AS queue,
           least(w.max_retries, coalesce(own.max_retries, platform.max_retries), s.asked_retries) AS max_retries,
           {worker_settings.STATUS} AS status,
           w.max_running IS NOT NULL OR w.rate_jobs IS NOT NULL AS is_limited,
           w.max_running, w.max_running_per, w.rate_jobs, w.rate_per, w.deadline_seconds,
           coalesce(s.asked_expires_in, w.expires_in) AS expires_in
    FROM unnest(%(worker_ids)s::text[], %(triggers)s::text[], %(priorities)s::int[], %(inputs)s::text[],
                %(scheduled)s::timestamptz[], %(retries)s::uuid[], %(tags)s::text[], %(sizes)s::int[],
                %(schemas)s::text[], %(tenants)s::text[], %(users)s::text[], %(traceparents)s::text[],
                %(may_publish)s::bool[], %(uuids)s::uuid[], %(are_due)s::bool[],
                %(expires_in)s::int[], %(start_before)s::timestamptz[], %(max_retries)s::int[]{parameter})
         WITH ORDINALITY AS s (worker_id, trigger, asked_priority, input, scheduled_at, retry_of, tags, input_bytes,
                               schema_version, tenant_id, user_id, traceparent, is_publishable, uuid, is_due,
                               asked_expires_in, start_before, asked_retries{name}, n)
    JOIN workers AS w ON {workers.of("s")} AND (w.tenants IS NULL OR s.tenant_id = ANY(w.tenants))
                     AND {has_schema}
    LEFT JOIN tenant_limits AS rules ON rules.tenant_id = s.tenant_id
    {worker_settings.joined("s.tenant_id")}
    WHERE {worker_settings.STATUS} <> 'deprecated'
    ORDER BY s.n
) AS e OFFSET 0) AS m
{conflict}"""


_INSERT = Prepared("insert", f"{_insert_jobs()}RETURNING {rows.JOB_COLUMNS}, NULL")
# A statement of its own, so that jobs without all that pay nothing: it takes a seventh longer, and writes 48 bytes of
# WAL more a job.
_INSERT_MORE = Prepared(
    "insert_more",
    f"""
WITH created AS ({_insert_jobs(has_more=True)}RETURNING j.*), tagged AS (
    INSERT INTO job_tags (tenant_id, key, value, job_id)
    SELECT created.tenant_id, tag.key, tag.value, created.id
    FROM created CROSS JOIN LATERAL json_each_text(created.tags) AS tag
)
SELECT {rows.JOB_COLUMNS}, j.dedupe_key FROM created AS j
""",
)
_NO_TAGS = "{}"
#: The parameters of which one is given if jobs have more.
_HAS_MORE = ("tags", "dedupe_keys", "trees", "waits", "deadlines")


def insert(connection: Connection, new: Sequence[NewJob]) -> list[Job | None]:
    """Insert jobs, in order. Returns the job of each entry; None if it is left out.

    A job is left out if its tenant may not run its worker now, if its input was compared with another schema than its
    worker has, or, with a key for `dedupe`, if an unfinished job has the key. If a transaction that has not ended makes
    one with the key, this waits for its end. Jobs of a paused worker wait.

    Jobs of windows that take no more messages, jobs of a tenant with a limit of running ones, and jobs whose time has
    not come are stored as unpublished, and the dispatcher publishes them.
    """
    # All jobs of one tenant, worker and version are stored, or none; but of those with one key only the first.
    versions: dict[_Worker, str | None] = {}
    alike = [each for each in new if versions.setdefault(_worker(each), each.schema_version) == each.schema_version]
    parameters = _parameters(alike)
    statement = _INSERT_MORE if any(any(parameters[name]) for name in _HAS_MORE) else _INSERT
    stored: dict[tuple[_Worker, str | None], deque[Job]] = defaultdict(deque)
    for row in statement.run(connection, parameters):
        job = rows.job(row)
        stored[(job.tenant_id, job.worker_id), row[-1]].append(job)
    return [_take(stored, each) if each.schema_version == versions[_worker(each)] else None for each in new]


def _worker(new: NewJob) -> _Worker:
    return new.tenant_id, new.spec.worker_id


def _take(stored: Mapping[tuple[_Worker, str | None], deque[Job]], new: NewJob) -> Job | None:
    key = None if new.spec.dedupe is None else new.spec.dedupe.key
    found = stored.get((_worker(new), key))
    return found.popleft() if found else None


def _parameters(new: Sequence[NewJob]) -> dict[str, Any]:
    specs = [each.spec for each in new]
    return {
        "tenants": [each.tenant_id for each in new],
        "users": [each.user_id for each in new],
        "traceparents": [each.traceparent for each in new],
        "may_publish": [each.may_publish for each in new],
        "schemas": [each.schema_version for each in new],
        "uuids": [each.uuid for each in new],
        "are_due": [each.is_due for each in new],
        "parents": [None if each.place is None else each.place.parent_uuid for each in new],
        "trees": [None if each.place is None else each.place.tree_uuid for each in new],
        "names": [None if each.place is None else each.place.name for each in new],
        "detached": [(each.place is not None and each.place.is_detached) or None for each in new],
        "awaited": [(each.place is not None and each.place.is_awaited) or None for each in new],
        "waits": [each.after is not None for each in new],
        "templates": [each.after is not None and each.after.has_template for each in new],
        "deadlines": [spec.deadline_seconds for spec in specs],
        "worker_ids": [spec.worker_id for spec in specs],
        "triggers": [spec.trigger.value for spec in specs],
        "priorities": [spec.priority for spec in specs],
        "inputs": [spec.input_json for spec in specs],
        "scheduled": [spec.scheduled_at for spec in specs],
        "retries": [None if spec.retry_of is None else rows.job_uuid(spec.retry_of) for spec in specs],
        "sizes": [rows.large_bytes(spec.input_json) for spec in specs],
        "tags": [None if spec.tags_json == _NO_TAGS else spec.tags_json for spec in specs],
        "expires_in": [spec.expires_in for spec in specs],
        "start_before": [spec.start_before for spec in specs],
        "max_retries": [spec.max_retries for spec in specs],
        "dedupe_keys": [None if spec.dedupe is None else spec.dedupe.key for spec in specs],
    }
