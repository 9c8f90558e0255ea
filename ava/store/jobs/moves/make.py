"""The making of jobs: the statement that inserts them, whatever triggers them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ava.domain.job import Job, JobSpec
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.fleet import workers
from ava.store.jobs import pauses, rows

__all__ = ["DEDUPED", "MAX_PUBLISHED", "NewJob", "insert", "insert_each", "insert_keyed"]

#: The jobs of one call that are published at once. The dispatcher publishes the others, in the tenants' turns.
MAX_PUBLISHED = 16

NO_VERSIONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJob:
    """A job that is about to be stored for a user of a tenant."""

    tenant_id: str
    user_id: str
    spec: JobSpec
    #: False if the dispatcher publishes it in any case.
    may_publish: bool = True
    #: The trace that it belongs to.
    traceparent: str | None = None
    #: The version of the schema that its input was checked against; None if its worker has none.
    schema_version: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Returns what decides whether the job is stored, beside the version of the schema."""
        return self.tenant_id, self.spec.worker_id


#: The columns and the rows of the unique index `jobs_deduped`.
DEDUPED = "(tenant_id, worker_id, dedupe_key) WHERE dedupe_key IS NOT NULL AND status IN ('queued', 'running')"


def _insert_jobs(*, has_keys: bool = False) -> str:
    """Returns the statement; `has_keys` is that of jobs of which each has a key for `dedupe`.

    A job's `created_at` is the time in its id, to the millisecond. So a list from one time to another is a range of
    ids, and no row is read only to be left out. No job is more urgent than its tenant's may be. Jobs with keys are
    inserted in the order of their keys, so that two calls with the same ones do not deadlock.
    """
    column, value, parameter = (", dedupe_key", ", m.dedupe_key", ", %(dedupe_keys)s::text[]") if has_keys else [""] * 3
    conflict = f"ORDER BY m.worker_id, m.dedupe_key ON CONFLICT {DEDUPED} DO NOTHING\n" if has_keys else ""
    return f"""
INSERT INTO jobs AS j (id, created_at, tenant_id, worker_id, queue, trigger, priority, input, triggered_by,
                       scheduled_at, limit_key, rate_key, run_at, published_at, max_attempts, retry_of, traceparent,
                       tags, input_bytes{column})
SELECT m.id, to_timestamp(('x' || left(translate(m.id::text, '-', ''), 12))::bit(48)::bigint / 1000.0),
       m.tenant_id, m.worker_id, m.queue, m.trigger, m.priority, m.input::json, m.user_id, m.scheduled_at,
       CASE WHEN m.is_limited THEN ava_limit_key(m.worker_id, m.limit_per, m.tenant_id, m.input::json) END,
       CASE WHEN m.has_rate THEN ava_limit_key(m.worker_id, m.rate_per, m.tenant_id, m.input::json) END,
       CASE WHEN m.scheduled_at > now() THEN m.scheduled_at WHEN m.status = 'paused' THEN {pauses.RESUMED_AT}
            WHEN m.is_limited THEN 'infinity' END,
       CASE WHEN NOT m.is_limited AND m.status <> 'paused' AND (m.scheduled_at IS NULL OR m.scheduled_at <= now()) THEN
           CASE WHEN m.may_publish AND NOT EXISTS (
               SELECT FROM closed_windows AS c WHERE c.queue = m.queue AND c.priority = m.priority
           ) THEN now() END
       END,
       m.max_retries + 1, m.retry_of, m.traceparent, m.tags::json, m.input_bytes{value}
FROM (SELECT ava_uuid7() AS id, e.* FROM (
    SELECT s.*, greatest(s.asked_priority, rules.most_urgent_priority) AS priority,
           s.is_publishable AND rules.max_running IS NULL AS may_publish,
           w.queue, least(w.max_retries, coalesce(own.max_retries, platform.max_retries)) AS max_retries,
           coalesce(own.status, platform.status, 'active') AS status,
           w.max_running IS NOT NULL OR w.rate_jobs IS NOT NULL AS is_limited,
           w.rate_jobs IS NOT NULL AS has_rate, w.rate_per,
           CASE WHEN w.max_running IS NULL THEN w.rate_per ELSE w.max_running_per END AS limit_per
    FROM unnest(%(worker_ids)s::text[], %(triggers)s::text[], %(priorities)s::int[], %(inputs)s::text[],
                %(scheduled)s::timestamptz[], %(retries)s::uuid[], %(tags)s::text[], %(sizes)s::int[],
                %(schemas)s::text[], %(tenants)s::text[], %(users)s::text[], %(traceparents)s::text[],
                %(may_publish)s::bool[]{parameter})
         WITH ORDINALITY AS s (worker_id, trigger, asked_priority, input, scheduled_at, retry_of, tags, input_bytes,
                               schema_version, tenant_id, user_id, traceparent, is_publishable{column}, n)
    JOIN workers AS w ON {workers.of("s")} AND (w.tenants IS NULL OR s.tenant_id = ANY(w.tenants))
                     AND w.input_schema_version IS NOT DISTINCT FROM s.schema_version
    LEFT JOIN tenant_limits AS rules ON rules.tenant_id = s.tenant_id
    LEFT JOIN worker_settings AS own ON own.worker_id = w.id AND own.tenant_id = s.tenant_id
    LEFT JOIN worker_settings AS platform ON platform.worker_id = w.id AND platform.tenant_id = '*'
    WHERE coalesce(own.status, platform.status, 'active') <> 'deprecated'
    ORDER BY s.n
) AS e OFFSET 0) AS m
{conflict}"""


_INSERT = Prepared("insert", f"{_insert_jobs()}RETURNING {rows.JOB_COLUMNS}")
# A statement of its own, so that jobs without tags pay nothing.
_TAGGED = """tagged AS (
    INSERT INTO job_tags (tenant_id, key, value, job_id)
    SELECT created.tenant_id, tag.key, tag.value, created.id
    FROM created CROSS JOIN LATERAL json_each_text(created.tags) AS tag
)"""
_INSERT_TAGGED = Prepared(
    "insert_tagged",
    f"""
WITH created AS ({_insert_jobs()}RETURNING j.*), {_TAGGED}
SELECT {rows.JOB_COLUMNS} FROM created AS j
""",
)
# Likewise, so that jobs without a key pay nothing.
_INSERT_KEYED = Statement(f"""
WITH created AS ({_insert_jobs(has_keys=True)}RETURNING j.*), {_TAGGED}
SELECT {rows.JOB_COLUMNS}, j.dedupe_key FROM created AS j
""")
_NO_TAGS = "{}"


def insert(
    connection: Connection,
    *,
    tenant_id: str,
    user_id: str,
    specs: Sequence[JobSpec],
    max_published: int = MAX_PUBLISHED,
    traceparent: str | None = None,
    schema_versions: Mapping[str, str] = NO_VERSIONS,
) -> list[Job]:
    """Insert jobs of one client, in order, and return them. A job is left out if the tenant may not run its worker now.

    It is left out as well unless its input was checked against the schema that its worker has now: `schema_versions`
    has the version of it by the worker's id, without those of workers that have none. Jobs of a paused worker wait.

    Jobs of windows that take no more messages, jobs of a tenant with a limit of running ones, jobs whose time has not
    come, and those after the first `max_published` are stored as unpublished, and the dispatcher publishes them.
    `traceparent` is the trace of the jobs.
    """
    new = _new_jobs(
        specs,
        tenant_id=tenant_id,
        user_id=user_id,
        max_published=max_published,
        traceparent=traceparent,
        schema_versions=schema_versions,
    )
    return _insert(connection, new)


def insert_keyed(connection: Connection, *, specs: Sequence[JobSpec], **arguments: Any) -> dict[tuple[str, str], Job]:
    """Insert jobs with keys for `dedupe`; the arguments are those of `insert`, all of them.

    Returns the jobs by worker and key. A job is also left out if another one with its key is not final. If a
    transaction that has not ended makes one, this waits for its end.
    """
    parameters = _parameters(_new_jobs(specs, **arguments))
    parameters["dedupe_keys"] = [spec.dedupe and spec.dedupe.key for spec in specs]
    found = connection.exec_driver_sql(_INSERT_KEYED, parameters)
    return {(job.worker_id, row[-1]): job for row in found for job in [rows.job(row)]}


def _new_jobs(
    specs: Sequence[JobSpec],
    *,
    tenant_id: str,
    user_id: str,
    max_published: int,
    traceparent: str | None,
    schema_versions: Mapping[str, str],
) -> list[NewJob]:
    return [
        NewJob(
            tenant_id=tenant_id,
            user_id=user_id,
            spec=spec,
            may_publish=place < max_published,
            traceparent=traceparent,
            schema_version=schema_versions.get(spec.worker_id),
        )
        for place, spec in enumerate(specs)
    ]


def insert_each(connection: Connection, new: Sequence[NewJob]) -> list[Job | None]:
    """Insert jobs of several clients in one statement. Returns each one's job; None for those that are left out.

    A job is left out as by `insert`, or because it was checked against another schema than an earlier one of them.
    """
    # All jobs of one tenant, worker and version are stored, or none.
    versions: dict[tuple[str, str], str | None] = {}
    alike = [each for each in new if versions.setdefault(each.key, each.schema_version) == each.schema_version]
    stored: dict[tuple[str, str], deque[Job]] = defaultdict(deque)
    for job in _insert(connection, alike):
        stored[job.tenant_id, job.worker_id].append(job)
    return [
        stored[each.key].popleft() if each.schema_version == versions[each.key] and stored[each.key] else None
        for each in new
    ]


def _insert(connection: Connection, new: Sequence[NewJob]) -> list[Job]:
    parameters = _parameters(new)
    statement = _INSERT_TAGGED if any(parameters["tags"]) else _INSERT
    return [rows.job(row) for row in statement.run(connection, parameters)]


def _parameters(new: Sequence[NewJob]) -> dict[str, Any]:
    specs = [each.spec for each in new]
    return {
        "tenants": [each.tenant_id for each in new],
        "users": [each.user_id for each in new],
        "traceparents": [each.traceparent for each in new],
        "may_publish": [each.may_publish for each in new],
        "schemas": [each.schema_version for each in new],
        "worker_ids": [spec.worker_id for spec in specs],
        "triggers": [spec.trigger.value for spec in specs],
        "priorities": [spec.priority for spec in specs],
        "inputs": [spec.input_json for spec in specs],
        "scheduled": [spec.scheduled_at for spec in specs],
        "retries": [None if spec.retry_of is None else rows.job_uuid(spec.retry_of) for spec in specs],
        "sizes": [rows.large_bytes(spec.input_json) for spec in specs],
        "tags": [None if spec.tags_json == _NO_TAGS else spec.tags_json for spec in specs],
    }
