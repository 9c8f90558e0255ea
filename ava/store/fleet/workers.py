"""Worker definitions: written by the nodes that have their handlers, read by clients."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ava.domain.counts import PageBounds
from ava.domain.jobs import retry
from ava.domain.worker import PULL_LIVE_SECONDS, PULL_QUEUE, Worker, WorkerLimits, WorkerSpec, WorkerStatus
from ava.store import pause_columns
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows, parameters_of
from ava.store.engine.statement import Statement
from ava.store.fleet import nodes, worker_settings
from ava.store.fleet.worker_settings import PLATFORM


def of(row: str) -> str:
    """Return the SQL condition that `w` is the worker of a row, such as a job `j`.

    A tenant's worker overrides the platform's worker with the same id.
    """
    return f"""w.id = {row}.worker_id AND w.tenant_id = coalesce((
        SELECT o.tenant_id FROM workers AS o WHERE o.tenant_id = {row}.tenant_id AND o.id = {row}.worker_id
    ), '{PLATFORM}')"""


def queue(tenant_id: str) -> str:
    """Return, in SQL, the queue of a tenant's jobs of a worker `w`; for pulled jobs that is `PullQueue.name`."""
    return f"""CASE WHEN w.queue = '{PULL_QUEUE}'
        THEN '{PULL_QUEUE}:' || w.tenant_id || ':' || w.id || ':' || {tenant_id} ELSE w.queue END"""


def is_claimed(tenant_id: str) -> str:
    """Return the SQL condition that runs of a worker `w` were recently claimed, for all tenants or for this one."""
    return f"""EXISTS (
        SELECT FROM worker_claims AS c WHERE c.worker_id = w.id AND c.tenant_id IN ({tenant_id}, w.tenant_id)
            AND c.claimed_at > now() - interval '{PULL_LIVE_SECONDS}s')"""


#: Condition: the tenant `%(tenant_id)s` may use the worker `w`. Its worker hides the platform's with the same id.
IS_VISIBLE = f"""(w.tenant_id = %(tenant_id)s OR w.tenant_id = '{PLATFORM}'
        AND (w.tenants IS NULL OR %(tenant_id)s = ANY(w.tenants))
        AND NOT EXISTS (SELECT FROM workers AS o WHERE o.tenant_id = %(tenant_id)s AND o.id = w.id))"""


# Limits set by operators override declared ones. The worker is locked first, in the same message and so in the same
# transaction: an operator who is changing a limit holds that lock, and the second statement then reads the change.
_ANNOUNCE = Statement(f"""
SELECT FROM workers WHERE tenant_id = '{PLATFORM}' AND id = %(id)s FOR UPDATE;
INSERT INTO workers AS w (id, name, description, timeout_seconds, max_retries, cancel_grace_seconds, queue, tenants,
                          on_worker_lost, declared_max_running, max_running_per, declared_rate_jobs,
                          declared_rate_seconds, rate_per, max_running, rate_jobs, rate_seconds,
                          input_schema, input_schema_version, retention_days, expires_in_seconds, mcp,
                          deadline_seconds, max_memory_mb, approval)
SELECT %(id)s, %(name)s, %(description)s, %(timeout_seconds)s, %(max_retries)s, %(cancel_grace_seconds)s, %(queue)s,
       %(tenants)s::text[], %(on_worker_lost)s, %(max_running)s::int, %(max_running_per)s, %(rate_jobs)s::int,
       %(rate_seconds)s::float8, %(rate_per)s, coalesce(s.max_running, %(max_running)s::int),
       coalesce(s.rate_jobs, %(rate_jobs)s::int), coalesce(s.rate_seconds, %(rate_seconds)s::float8),
       %(input_schema)s::json, %(input_schema_version)s, %(retention_days)s::float8,
       %(expires_in_seconds)s::int, %(mcp)s, %(deadline_seconds)s::int, %(max_memory_mb)s::int, %(approval)s::json
FROM (SELECT) AS one LEFT JOIN worker_settings AS s ON s.worker_id = %(id)s AND s.tenant_id = '*'
ON CONFLICT (tenant_id, id) DO UPDATE SET
    name = excluded.name, description = excluded.description, timeout_seconds = excluded.timeout_seconds,
    max_retries = excluded.max_retries, cancel_grace_seconds = excluded.cancel_grace_seconds, queue = excluded.queue,
    tenants = excluded.tenants, on_worker_lost = excluded.on_worker_lost, max_running = excluded.max_running,
    max_running_per = excluded.max_running_per, rate_jobs = excluded.rate_jobs, rate_seconds = excluded.rate_seconds,
    rate_per = excluded.rate_per, declared_max_running = excluded.declared_max_running,
    declared_rate_jobs = excluded.declared_rate_jobs, declared_rate_seconds = excluded.declared_rate_seconds,
    input_schema = excluded.input_schema, input_schema_version = excluded.input_schema_version,
    retention_days = excluded.retention_days, expires_in_seconds = excluded.expires_in_seconds, mcp = excluded.mcp,
    deadline_seconds = excluded.deadline_seconds, max_memory_mb = excluded.max_memory_mb,
    approval = excluded.approval, updated_at = now()
WHERE w.runtime = 'python'
    AND (w.name, w.description, w.timeout_seconds, w.max_retries, w.cancel_grace_seconds, w.queue, w.tenants,
       w.on_worker_lost, w.max_running, w.max_running_per, w.rate_jobs, w.rate_seconds, w.rate_per,
       w.declared_max_running, w.declared_rate_jobs, w.declared_rate_seconds, w.input_schema_version,
       w.retention_days, w.expires_in_seconds, w.mcp, w.deadline_seconds, w.max_memory_mb, w.approval::text)
    IS DISTINCT FROM
      (excluded.name, excluded.description, excluded.timeout_seconds, excluded.max_retries,
       excluded.cancel_grace_seconds, excluded.queue, excluded.tenants, excluded.on_worker_lost, excluded.max_running,
       excluded.max_running_per, excluded.rate_jobs, excluded.rate_seconds, excluded.rate_per,
       excluded.declared_max_running, excluded.declared_rate_jobs, excluded.declared_rate_seconds,
       excluded.input_schema_version, excluded.retention_days, excluded.expires_in_seconds, excluded.mcp,
       excluded.deadline_seconds, excluded.max_memory_mb, excluded.approval::text)
""")


def announce(connection: Connection, specs: Sequence[WorkerSpec]) -> None:
    """Store the definitions of a node's handlers. The last node to write a definition wins.

    Platform workers that a client has created are not changed.
    """
    # Ordered by id, so that nodes that start together do not deadlock.
    for spec in sorted(specs, key=lambda spec: spec.id):
        parameters = {
            **parameters_of(WorkerSpec, spec),
            **parameters_of(WorkerLimits, spec.limits),
            **worker_settings.rate_parameters(spec.limits.rate),
            "tenants": None if spec.tenants is None else list(spec.tenants),
            "input_schema_version": spec.input_schema_version,
        }
        connection.exec_driver_sql(_ANNOUNCE, parameters)


# Uses the statement's time, because the dispatcher finds changed workers by it.
_APPLY_LIMITS = Statement(f"""
UPDATE workers AS w SET max_running = coalesce(s.max_running, w.declared_max_running),
    rate_jobs = coalesce(s.rate_jobs, w.declared_rate_jobs),
    rate_seconds = coalesce(s.rate_seconds, w.declared_rate_seconds), updated_at = clock_timestamp()
FROM (SELECT) AS one LEFT JOIN worker_settings AS s ON s.tenant_id = '{PLATFORM}' AND s.worker_id = %(id)s
WHERE w.tenant_id = '{PLATFORM}' AND w.id = %(id)s
""")


def apply_limits(connection: Connection, worker_id: str) -> None:
    """Apply the limits that operators have set for a worker, otherwise the declared ones.

    The dispatcher gives its jobs the new limits and recalls the published ones.
    """
    connection.exec_driver_sql(_APPLY_LIMITS, {"id": worker_id})


# A worker as a tenant sees it: the tenant's settings override the platform's, which override the handler's. A handler's
# values bound the tenant's, even if it was deployed later.
_ROWS = RecordRows(
    Worker,
    "w",
    columns={
        "status": f"{worker_settings.STATUS} AS status",
        "timeout_seconds": "least(w.timeout_seconds, coalesce(own.timeout_seconds, platform.timeout_seconds))",
        "max_retries": "least(w.max_retries, coalesce(own.max_retries, platform.max_retries))",
        "is_live": f"""CASE WHEN w.queue = '{PULL_QUEUE}' THEN {is_claimed("%(tenant_id)s")}
            ELSE EXISTS (SELECT 1 FROM nodes AS n WHERE {nodes.IS_LIVE} AND w.id = ANY(n.workers)
                         AND w.queue = ANY(n.queues)) END AS is_live""",
        "is_own": f"w.tenant_id <> '{PLATFORM}'",
        "paused": worker_settings.PAUSED,
        "handler_timeout_seconds": "w.timeout_seconds",
        "handler_max_retries": "w.max_retries",
        "retry": worker_settings.RETRY,
        "rate": worker_settings.rate("w"),
    },
    readers={"paused": pause_columns.read, "retry": retry.read, "rate": worker_settings.read_rate},
    without=("input_schema_json", "handler_approval_json", "own", "platform"),
)
_VIEWS = f"""
SELECT {_ROWS.columns}, w.tenant_id
FROM workers AS w
{worker_settings.joined("%(tenant_id)s")}
WHERE {IS_VISIBLE}
"""
_SHOW = Statement(
    f"SELECT v.*, s.input_schema::text, s.approval::text FROM ({_VIEWS} AND w.id = %(id)s) AS v"
    " JOIN workers AS s ON s.tenant_id = v.tenant_id AND s.id = v.id"
)


def show(connection: Connection, *, tenant_id: str, worker_id: str, dead_after_seconds: float) -> Worker | None:
    """Return one worker that the tenant may use, with its schema, or None if there is none."""
    parameters = {"tenant_id": tenant_id, "id": worker_id, "dead_after": dead_after_seconds}
    row = connection.exec_driver_sql(_SHOW, parameters).first()
    return None if row is None else _worker(row, input_schema_json=row[-2], handler_approval_json=row[-1])


@dataclass(frozen=True, kw_only=True)
class WorkerFilter:
    status: WorkerStatus | None = None
    is_live: bool | None = None
    is_paused: bool | None = None
    #: A part of a worker's name or id, case-insensitive.
    search: str | None = None

    @property
    def parameters(self) -> dict[str, object]:
        return dict(vars(self))


_FILTERED = f"""
SELECT * FROM ({_VIEWS} AND w.id > %(after_id)s COLLATE "C"
    AND (%(search)s::text IS NULL OR strpos(lower(w.id), lower(%(search)s)) > 0
         OR strpos(lower(w.name), lower(%(search)s)) > 0)) AS v
WHERE (%(status)s::text IS NULL OR v.status = %(status)s) AND (%(is_live)s::bool IS NULL OR v.is_live = %(is_live)s)
    AND (%(is_paused)s::bool IS NULL OR (v.status = 'paused') = %(is_paused)s)
"""
# Ordered by bytes, so that the order does not depend on the database's collation.
_PAGE = Statement(f'{_FILTERED} ORDER BY v.id COLLATE "C" LIMIT %(limit)s OFFSET %(offset)s')
_COUNT = Statement(f"SELECT count(*) FROM ({_FILTERED}) AS c")


def page(
    connection: Connection,
    *,
    tenant_id: str,
    dead_after_seconds: float,
    worker_filter: WorkerFilter,
    bounds: PageBounds,
) -> tuple[list[Worker], int]:
    """Return the workers that the tenant may use, by id and without schemas, and their total number."""
    parameters = {"tenant_id": tenant_id, "dead_after": dead_after_seconds, **worker_filter.parameters}
    page_parameters = {"limit": bounds.limit, "offset": bounds.offset, "after_id": bounds.after_id or ""}
    found = [_worker(row) for row in connection.exec_driver_sql(_PAGE, parameters | page_parameters)]
    total = connection.exec_driver_sql(_COUNT, parameters | {"after_id": ""}).scalar_one()
    return found, int(total)


_SCHEMAS = Statement(f"""
SELECT w.id, {worker_settings.STATUS}, w.input_schema_version, w.input_schema::text, w.runtime = 'pull'
FROM workers AS w
{worker_settings.joined("%(tenant_id)s")}
WHERE w.id = ANY(%(ids)s::text[]) AND {IS_VISIBLE}
""")


def schemas(
    connection: Connection, *, tenant_id: str, worker_ids: Collection[str]
) -> dict[str, tuple[WorkerStatus, str | None, str | None, bool]]:
    """Return each worker's status, schema version, schema JSON, and whether it is a pull worker, by id.

    Leaves out workers that the tenant may not use.
    """
    found = connection.exec_driver_sql(_SCHEMAS, {"ids": list(worker_ids), "tenant_id": tenant_id})
    return {id_: (WorkerStatus(status), *schema) for id_, status, *schema in found}


_ASKING = Statement(f"""
SELECT w.id FROM workers AS w
{worker_settings.joined("%(tenant_id)s")}
WHERE w.id = ANY(%(ids)s::text[]) AND {IS_VISIBLE}
    AND coalesce(w.approval, own.approval, platform.approval) IS NOT NULL
""")


def asking(connection: Connection, *, tenant_id: str, worker_ids: Collection[str]) -> set[str]:
    """Return the workers with jobs that may need an approval before their first start."""
    found = connection.exec_driver_sql(_ASKING, {"ids": list(worker_ids), "tenant_id": tenant_id})
    return set(found.scalars())


_IS_TAKEN = Statement("SELECT EXISTS (SELECT FROM workers WHERE id = %(id)s AND tenant_id = '*')")


def is_taken(connection: Connection, *, worker_id: str) -> bool:
    return bool(connection.exec_driver_sql(_IS_TAKEN, {"id": worker_id}).scalar_one())


_QUEUES = Statement("SELECT DISTINCT queue FROM workers")


def queues(connection: Connection) -> set[str]:
    return set(connection.exec_driver_sql(_QUEUES).scalars())


_CHANGED_AT = Statement("SELECT max(updated_at) FROM workers")


def changed_at(connection: Connection) -> datetime | None:
    """Return when a worker's definition last changed, or None if there is no worker."""
    found: datetime | None = connection.exec_driver_sql(_CHANGED_AT).scalar()
    return found


_UNSERVED = Statement(f"""
WITH live AS (
    SELECT n.workers FROM nodes AS n WHERE {nodes.IS_LIVE} AND %(queue)s = ANY(n.queues)
)
SELECT w.id FROM workers AS w
WHERE w.queue = %(queue)s AND EXISTS (SELECT FROM live)
    AND NOT EXISTS (SELECT FROM live WHERE w.id = ANY(live.workers))
""")


def unserved(connection: Connection, *, queue: str, dead_after_seconds: float) -> list[str]:
    """Return the workers of a queue that have no handler on the queue's live nodes.

    Returns none if the queue has no live node, because then no job can overtake another.
    """
    parameters = {"queue": queue, "dead_after": dead_after_seconds}
    return list(connection.exec_driver_sql(_UNSERVED, parameters).scalars())


_CHANGED_SINCE = Statement("""
SELECT id FROM workers WHERE %(since)s::timestamptz IS NULL AND (max_running IS NOT NULL OR rate_jobs IS NOT NULL)
    OR updated_at >= %(since)s
""")


def changed_since(connection: Connection, since: datetime | None) -> list[str]:
    """Return the workers changed at `since` or later; if that is None, the workers with limits."""
    return list(connection.exec_driver_sql(_CHANGED_SINCE, {"since": since}).scalars())


def _worker(row: Any, **others: Any) -> Worker:
    found = _ROWS.read(row, **others)
    return found if found.retry is None else replace(found, retry=replace(found.retry, max=found.max_retries))
