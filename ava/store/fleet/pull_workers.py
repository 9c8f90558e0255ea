"""Pull workers, which clients create and claim over HTTP: a tenant's or the platform's (`*`); and their last claims."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from ava.domain.jobs import retry
from ava.domain.worker import PULL_LIVE_SECONDS, PULL_QUEUE, PULL_RUNTIME, PullQueue, PullWorkerSpec
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import parameters_of
from ava.store.engine.statement import Statement
from ava.store.fleet.worker_settings import PLATFORM, rate_parameters

# The lock serializes the creations of one tenant, so that the count is exact.
_LOCK_CREATIONS = Statement("SELECT pg_advisory_xact_lock(hashtextextended('workers of ' || %(tenant_id)s, 0))")
# A tenant's limits apply per tenant, so that no other tenant has the same limit key.
_CREATE = Statement(f"""
INSERT INTO workers (tenant_id, id, name, runtime, queue, timeout_seconds, max_retries, cancel_grace_seconds,
                     on_worker_lost, max_running, declared_max_running, rate_jobs, rate_seconds, declared_rate_jobs,
                     declared_rate_seconds, max_running_per, rate_per, input_schema, input_schema_version,
                     expires_in_seconds, deadline_seconds, retry)
SELECT %(tenant_id)s, %(id)s, %(name)s, '{PULL_RUNTIME}', '{PULL_QUEUE}', %(timeout_seconds)s, %(max_retries)s,
    10, 'requeue', %(max_running)s::int, %(max_running)s::int, %(rate_jobs)s::int, %(rate_seconds)s::float8,
    %(rate_jobs)s::int, %(rate_seconds)s::float8, %(per)s, %(per)s, %(input_schema)s::json, %(input_schema_version)s,
    %(expires_in_seconds)s::int, %(deadline_seconds)s::int, %(retry)s::json
WHERE (SELECT count(*) FROM workers WHERE tenant_id = %(tenant_id)s AND runtime = '{PULL_RUNTIME}') < %(max_workers)s
RETURNING true
""")


def create(connection: Connection, spec: PullWorkerSpec, *, tenant_id: str, max_workers: int) -> bool:
    """Create a worker in a transaction. Returns False if the tenant has reached `max_workers`."""
    connection.exec_driver_sql(_LOCK_CREATIONS, {"tenant_id": tenant_id})
    parameters = _parameters(spec, tenant_id) | {"max_workers": max_workers}
    return bool(connection.exec_driver_sql(_CREATE, parameters).scalar())


_LOCK = Statement(f"""
SELECT FROM workers WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND runtime = '{PULL_RUNTIME}' FOR UPDATE
""")


def lock(connection: Connection, *, tenant_id: str, worker_id: str) -> None:
    """Lock a worker, if it exists, until the transaction ends, because `update` rewrites all its fields."""
    connection.exec_driver_sql(_LOCK, {"tenant_id": tenant_id, "id": worker_id})


# Uses the statement's time, because the dispatcher finds changed workers by it.
_UPDATE = Statement(f"""
UPDATE workers SET name = %(name)s, timeout_seconds = %(timeout_seconds)s, max_retries = %(max_retries)s,
    max_running = %(max_running)s::int, declared_max_running = %(max_running)s::int, rate_jobs = %(rate_jobs)s::int,
    declared_rate_jobs = %(rate_jobs)s::int, rate_seconds = %(rate_seconds)s::float8,
    declared_rate_seconds = %(rate_seconds)s::float8, input_schema = %(input_schema)s::json,
    input_schema_version = %(input_schema_version)s, expires_in_seconds = %(expires_in_seconds)s::int,
    deadline_seconds = %(deadline_seconds)s::int, retry = %(retry)s::json, updated_at = clock_timestamp()
WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND runtime = '{PULL_RUNTIME}'
""")


def update(connection: Connection, spec: PullWorkerSpec, *, tenant_id: str) -> None:
    """Change a worker. Its waiting jobs follow changed limits within 2 s."""
    connection.exec_driver_sql(_UPDATE, _parameters(spec, tenant_id))


def _parameters(spec: PullWorkerSpec, tenant_id: str) -> dict[str, object]:
    return {
        **parameters_of(PullWorkerSpec, spec),
        **rate_parameters(spec.rate),
        "tenant_id": tenant_id,
        "per": None if tenant_id == PLATFORM else "tenant",
        "input_schema_version": spec.input_schema_version,
        "retry": retry.write(spec.retry),
    }


# A loose index scan along `jobs_by_worker`: one step per tenant.
_HAS_UNFINISHED = Statement("""
WITH RECURSIVE t (id) AS (
    SELECT CASE WHEN %(owner)s = '*' THEN (SELECT tenant_id FROM jobs ORDER BY tenant_id LIMIT 1) ELSE %(owner)s END
    UNION ALL
    SELECT (SELECT tenant_id FROM jobs WHERE tenant_id > t.id ORDER BY tenant_id LIMIT 1)
    FROM t WHERE t.id IS NOT NULL AND %(owner)s = '*'
)
SELECT EXISTS (
    SELECT FROM t CROSS JOIN LATERAL (
        SELECT FROM jobs AS j WHERE j.tenant_id = t.id AND j.worker_id = %(id)s AND j.status IN ('queued', 'running')
            AND (%(owner)s <> '*' OR NOT EXISTS (SELECT FROM workers AS o WHERE o.tenant_id = t.id AND o.id = %(id)s))
        LIMIT 1) AS j
    WHERE t.id IS NOT NULL)
""")


def has_unfinished_jobs(connection: Connection, *, tenant_id: str, worker_id: str) -> bool:
    """Return True if a worker of a tenant, or of the platform (`*`), has queued or running jobs."""
    parameters = {"owner": tenant_id, "id": worker_id}
    return bool(connection.exec_driver_sql(_HAS_UNFINISHED, parameters).scalar_one())


_DELETE = Statement(f"""
WITH deleted AS (
    DELETE FROM workers WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND runtime = '{PULL_RUNTIME}' RETURNING id
), settings AS (
    DELETE FROM worker_settings AS s USING deleted AS d WHERE s.tenant_id = %(tenant_id)s AND s.worker_id = d.id
), claims AS (
    DELETE FROM worker_claims AS c USING deleted AS d WHERE c.tenant_id = %(tenant_id)s AND c.worker_id = d.id
)
SELECT id FROM deleted
""")


def delete(connection: Connection, *, tenant_id: str, worker_id: str) -> None:
    """Delete a worker and the tenant's settings for it."""
    connection.exec_driver_sql(_DELETE, {"tenant_id": tenant_id, "id": worker_id})


_OWNERS = Statement(f"""
SELECT DISTINCT ON (w.id) w.id, w.tenant_id FROM workers AS w
WHERE w.id = ANY(%(ids)s::text[]) AND w.runtime = '{PULL_RUNTIME}'
    AND (w.tenant_id = %(tenant_id)s
         OR w.tenant_id = '{PLATFORM}' AND (w.tenants IS NULL OR %(tenant_id)s = ANY(w.tenants)))
ORDER BY w.id, w.tenant_id = '{PLATFORM}'
""")


def owners(connection: Connection, *, tenant_id: str, worker_ids: Collection[str]) -> dict[str, str]:
    """Return the owner, a tenant or `*`, of each of these workers that the tenant can pull."""
    found = connection.exec_driver_sql(_OWNERS, {"tenant_id": tenant_id, "ids": list(worker_ids)})
    return {row.id: row.tenant_id for row in found}


_HIDING = Statement(f"""
SELECT w.tenant_id, w.id FROM workers AS w
WHERE w.runtime = '{PULL_RUNTIME}' AND (
    w.tenant_id <> '{PLATFORM}' AND EXISTS (
        SELECT FROM workers AS p WHERE p.tenant_id = '{PLATFORM}' AND p.id = w.id
            AND (p.tenants IS NULL OR w.tenant_id = ANY(p.tenants)))
    OR w.tenant_id = '{PLATFORM}' AND EXISTS (
        SELECT FROM nodes AS n WHERE n.stopped_at IS NULL AND w.id = ANY(n.workers)))
ORDER BY w.tenant_id, w.id LIMIT %(limit)s
""")


def hiding(connection: Connection, *, limit: int) -> list[tuple[str, str]]:
    """Return the workers, with owner, that hide a platform worker or a node's handler with the same id."""
    return [(row[0], row[1]) for row in connection.exec_driver_sql(_HIDING, {"limit": limit})]


# Ordered by key, so that two calls do not deadlock.
_RECORD = Statement("""
INSERT INTO worker_claims AS c (tenant_id, worker_id, claimed_at)
SELECT %(tenant_id)s, w.id, clock_timestamp() FROM unnest(%(workers)s::text[]) AS w (id) ORDER BY w.id
ON CONFLICT (tenant_id, worker_id) DO UPDATE SET claimed_at = excluded.claimed_at
""")


def record(connection: Connection, *, tenant_id: str, worker_ids: Collection[str]) -> None:
    """Record that runs of workers are claimed now, by keys of a tenant or of the platform (`*`)."""
    connection.exec_driver_sql(_RECORD, {"tenant_id": tenant_id, "workers": sorted(set(worker_ids))})


_LIVE = Statement(f"""
SELECT q.name FROM unnest(%(names)s::text[], %(owners)s::text[], %(workers)s::text[], %(tenants)s::text[])
    AS q (name, owner, worker_id, tenant_id)
WHERE EXISTS (
    SELECT FROM worker_claims AS c WHERE c.worker_id = q.worker_id AND c.tenant_id IN (q.tenant_id, q.owner)
        AND c.claimed_at > now() - interval '{PULL_LIVE_SECONDS} seconds')
""")


def live(connection: Connection, names: Collection[str]) -> frozenset[str]:
    """Return the pull queues among `names` that have a live worker."""
    queues = [PullQueue.parse(name) for name in names]
    parameters = {
        "names": list(names),
        "owners": [queue.owner for queue in queues],
        "workers": [queue.worker_id for queue in queues],
        "tenants": [queue.tenant_id for queue in queues],
    }
    return frozenset(connection.exec_driver_sql(_LIVE, parameters).scalars())


# Every API process calls this each second; one of them writes. A time in the future: PostgreSQL's clock was set back.
_RECORD_API = Statement("""
UPDATE installation SET api_heartbeat_at = clock_timestamp()
WHERE EXISTS (SELECT FROM worker_claims) AND coalesce(
    api_heartbeat_at NOT BETWEEN clock_timestamp() - interval '0.9 s' AND clock_timestamp(), true)
""")


def record_api_heartbeat(connection: Connection) -> None:
    """Record that an API process can receive heartbeats of pulled runs now."""
    connection.exec_driver_sql(_RECORD_API)


_API_HEARTBEAT_AT = Statement("SELECT api_heartbeat_at FROM installation")


def api_heartbeat_at(connection: Connection) -> datetime | None:
    """Return when an API process could last receive heartbeats of pulled runs; None if none were ever claimed."""
    found: datetime | None = connection.exec_driver_sql(_API_HEARTBEAT_AT).scalar_one()
    return found
