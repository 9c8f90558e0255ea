"""Worker settings, per tenant or platform-wide (`*`), with one row per worker and tenant that has any."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain.access.actor import SYSTEM, Actor
from ava.domain.jobs import retry
from ava.domain.limits.rates import Rate
from ava.domain.worker import WorkerSettings
from ava.store import pause_columns
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows, parameters_of
from ava.store.engine.statement import Statement

PLATFORM = "*"

#: For a tenant; its setting overrides the platform's (`joined`). No tenant has `active` while the platform pauses the
#: worker (`drop_active`).
STATUS = "coalesce(own.status, platform.status, 'active')"

#: The pause of a worker for a tenant (`pause_columns.read`), the platform's first.
PAUSED = f"""CASE WHEN {STATUS} = 'paused'
    THEN coalesce({pause_columns.column("platform")}, {pause_columns.column("own")}) END"""

#: The retry delays of a worker `w` as JSON: the tenant's setting, otherwise the platform's, otherwise the worker's.
RETRY = "coalesce(own.retry, platform.retry, w.retry)::text"


def joined(tenant_id: str, *, worker_id: str = "w.id") -> str:
    """Return the joins of a worker's settings `own` (of a tenant) and `platform`. Arguments are SQL expressions."""
    return f"""LEFT JOIN worker_settings AS own ON own.worker_id = {worker_id} AND own.tenant_id = {tenant_id}
LEFT JOIN worker_settings AS platform ON platform.worker_id = {worker_id} AND platform.tenant_id = '{PLATFORM}'"""


def rate(alias: str) -> str:
    """Return the column that `read_rate` reads, as SQL; null if the row of this alias has no rate."""
    return f"CASE WHEN {alias}.rate_jobs IS NOT NULL THEN ARRAY[{alias}.rate_jobs, {alias}.rate_seconds] END"


def read_rate(stored: Sequence[float]) -> Rate:
    """Return the rate of a row's `rate`."""
    return Rate(jobs=int(stored[0]), seconds=stored[1])


def rate_parameters(given: Rate | None) -> dict[str, object]:
    """Return the parameters of a statement that writes a rate."""
    return {"rate_jobs": given and given.jobs, "rate_seconds": given and given.seconds}


_ROWS = RecordRows(
    WorkerSettings,
    "s",
    columns={"config": "s.config::text", "secrets": "s.secrets::text", "retry": "s.retry::text", "rate": rate("s")},
    readers={"config": json.loads, "secrets": json.loads, "retry": retry.read, "rate": read_rate},
)

_READ = Statement(f"""
SELECT {_ROWS.columns}, s.tenant_id FROM worker_settings AS s
WHERE s.worker_id = %(worker_id)s AND s.tenant_id IN (%(tenant_id)s, '{PLATFORM}')
""")


def read(
    connection: Connection, *, tenant_id: str, worker_id: str
) -> tuple[WorkerSettings | None, WorkerSettings | None]:
    found = connection.exec_driver_sql(_READ, {"tenant_id": tenant_id, "worker_id": worker_id})
    by_tenant = {row[-1]: _ROWS.read(row) for row in found}
    return by_tenant.get(tenant_id), by_tenant.get(PLATFORM)


# Writing an existing row locks it, so that no concurrent change deletes it as empty before it is read.
_LOCK = Statement(f"""
INSERT INTO worker_settings AS s (worker_id, tenant_id) VALUES (%(worker_id)s, %(tenant_id)s)
ON CONFLICT (worker_id, tenant_id) DO UPDATE SET worker_id = excluded.worker_id
RETURNING {_ROWS.columns}
""")


def lock(connection: Connection, *, tenant_id: str, worker_id: str) -> WorkerSettings:
    """Lock and return the settings of a worker for a tenant; creates the row if there is none."""
    parameters = {"tenant_id": tenant_id, "worker_id": worker_id}
    return _ROWS.read(connection.exec_driver_sql(_LOCK, parameters).one())


# The statement's time for `status_at`, not the transaction's, because the dispatcher reads changes in the order of
# these times.
_WRITE = Statement("""
UPDATE worker_settings SET
    status_at = CASE WHEN status IS DISTINCT FROM %(status)s THEN clock_timestamp() ELSE status_at END,
    paused_at = CASE WHEN %(status)s = 'paused' THEN coalesce(paused_at, clock_timestamp()) END,
    paused_by = CASE WHEN %(status)s = 'paused' THEN coalesce(paused_by, %(paused_by)s::jsonb) END,
    pause_reason = CASE WHEN %(status)s = 'paused' AND paused_at IS NULL THEN %(pause_reason)s
        WHEN %(status)s = 'paused' THEN pause_reason END,
    status = %(status)s, config = %(config)s::json, secrets = %(secrets)s::json,
    timeout_seconds = %(timeout_seconds)s, max_retries = %(max_retries)s, max_running = %(max_running)s,
    rate_jobs = %(rate_jobs)s, rate_seconds = %(rate_seconds)s, retry = %(retry)s::json,
    approval = %(approval)s::json
WHERE worker_id = %(worker_id)s AND tenant_id = %(tenant_id)s
""")
_DELETE_EMPTY = Statement("""
DELETE FROM worker_settings
WHERE worker_id = %(worker_id)s AND tenant_id = %(tenant_id)s AND status_at IS NULL AND timeout_seconds IS NULL
    AND max_retries IS NULL AND retry IS NULL AND max_running IS NULL AND rate_jobs IS NULL AND config::text = '{}'
    AND secrets::text = '{}' AND approval IS NULL
""")


def write(
    connection: Connection,
    settings: WorkerSettings,
    *,
    tenant_id: str,
    worker_id: str,
    by: Actor = SYSTEM,
    reason: str | None = None,
) -> None:
    """Store settings that `lock` has locked. `by` and `reason`: who pauses the worker, and why."""
    parameters = {
        **parameters_of(WorkerSettings, settings),
        **rate_parameters(settings.rate),
        **pause_columns.parameters(by, reason),
        "tenant_id": tenant_id,
        "worker_id": worker_id,
        "config": json.dumps(dict(settings.config)),
        "secrets": json.dumps(dict(settings.secrets)),
        "retry": retry.write(settings.retry),
    }
    connection.exec_driver_sql(_WRITE, parameters)
    connection.exec_driver_sql(_DELETE_EMPTY, parameters)


_LOCK_STATUS = Statement("""
SELECT pg_advisory_xact_lock(hashtextextended('status of ' || %(worker_id)s, 0))
""")


def lock_status(connection: Connection, worker_id: str) -> None:
    """Block other changes of a worker's status, of tenants and of the platform, until the transaction ends."""
    connection.exec_driver_sql(_LOCK_STATUS, {"worker_id": worker_id})


_DROP_ACTIVE = Statement("""
UPDATE worker_settings SET status = NULL WHERE worker_id = %(worker_id)s AND tenant_id <> '*' AND status = 'active'
""")


def drop_active(connection: Connection, worker_id: str) -> None:
    """Drop the tenants' own status `active`, in the transaction that pauses the worker for the platform."""
    connection.exec_driver_sql(_DROP_ACTIVE, {"worker_id": worker_id})


@dataclass(frozen=True, kw_only=True)
class WorkerStatusChange:
    """A change of a worker's status for a tenant. Ordered as they are read."""

    at: datetime
    worker_id: str
    tenant_id: str


_STATUS_CHANGES = Statement("""
SELECT status_at, worker_id, tenant_id FROM worker_settings
WHERE status_at IS NOT NULL AND (status_at, worker_id, tenant_id)
    > (coalesce(%(at)s::timestamptz, '-infinity'), %(worker_id)s::text, %(tenant_id)s::text)
ORDER BY status_at, worker_id, tenant_id LIMIT %(limit)s
""")


def status_changes(connection: Connection, *, after: WorkerStatusChange | None, limit: int) -> list[WorkerStatusChange]:
    """Return the status changes that follow `after`, earliest first."""
    parameters = {
        "at": None if after is None else after.at,
        "worker_id": "" if after is None else after.worker_id,
        "tenant_id": "" if after is None else after.tenant_id,
        "limit": limit,
    }
    found = connection.exec_driver_sql(_STATUS_CHANGES, parameters)
    return [WorkerStatusChange(at=at, worker_id=worker_id, tenant_id=tenant_id) for at, worker_id, tenant_id in found]


_SEALED = Statement("""
SELECT s.worker_id, s.tenant_id, s.secrets::text FROM worker_settings AS s WHERE s.secrets::text <> '{}'
""")


def sealed_secrets(connection: Connection) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield worker id, tenant and sealed secrets by name, for all settings with secrets."""
    for worker_id, tenant_id, secrets in connection.exec_driver_sql(_SEALED).all():
        yield worker_id, tenant_id, json.loads(secrets)


_RESEAL = Statement("""
UPDATE worker_settings SET secrets = %(new)s::json
WHERE worker_id = %(worker_id)s AND tenant_id = %(tenant_id)s AND secrets::jsonb = %(old)s::jsonb
""")


def reseal(
    connection: Connection, *, worker_id: str, tenant_id: str, old: Mapping[str, str], new: Mapping[str, str]
) -> bool:
    """Replace sealed secrets. Returns False if they were changed in between."""
    parameters = {"worker_id": worker_id, "tenant_id": tenant_id, "old": json.dumps(old), "new": json.dumps(new)}
    return connection.exec_driver_sql(_RESEAL, parameters).rowcount == 1
