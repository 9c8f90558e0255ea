"""Settings of single tenants by operators (weight and limits), and the tenants' usage of these limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from ava.domain.limits.limit import TenantRules
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows, parameters_of
from ava.store.engine.statement import WAITING_WINDOWS, Statement


@dataclass(frozen=True, kw_only=True, slots=True)
class FairQueueRules:
    weights: Mapping[str, float]
    #: The tenants with their own concurrency limit.
    limited: frozenset[str]


_RULES_VERSION = Statement("SELECT count(*), max(updated_at) FROM tenant_limits")


def rules_version(connection: Connection) -> tuple[int, datetime | None]:
    """Return a value that changes whenever any tenant's settings change."""
    count, changed_at = connection.exec_driver_sql(_RULES_VERSION).one()
    return count, changed_at


_FAIR_QUEUE_RULES = Statement("SELECT tenant_id, weight, max_running IS NOT NULL FROM tenant_limits")


def fair_queue_rules(connection: Connection) -> FairQueueRules:
    found = connection.exec_driver_sql(_FAIR_QUEUE_RULES).all()
    return FairQueueRules(
        weights={tenant_id: weight for tenant_id, weight, _ in found if weight is not None},
        limited=frozenset(tenant_id for tenant_id, _, is_limited in found if is_limited),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantUse:
    #: None: unlimited.
    max_running: int | None
    running: int
    #: Published but unstarted jobs, and the least urgent priority among them.
    published: int
    least_urgent: int | None

    @property
    def capacity(self) -> int:
        return 1_000_000 if self.max_running is None else self.max_running - self.running - self.published


# Finds the published jobs per window, as in `polls.read`; the windows' sizes bound their number.
_USES = Statement(f"""
WITH RECURSIVE {WAITING_WINDOWS}, published AS MATERIALIZED (
    SELECT p.tenant_id, count(*) AS jobs, max(w.priority) AS least_urgent
    FROM waiting AS w CROSS JOIN LATERAL (
        SELECT j.tenant_id FROM jobs AS j
        WHERE j.queue = w.queue AND j.priority = w.priority AND j.status = 'queued' AND j.waits_for IS NULL
            AND j.published_at IS NOT NULL) AS p
    WHERE p.tenant_id = ANY(%(tenants)s::text[])
    GROUP BY p.tenant_id
)
SELECT t.tenant_id, coalesce(l.max_running, %(max_running)s), running.jobs, coalesce(p.jobs, 0), p.least_urgent
FROM unnest(%(tenants)s::text[]) AS t (tenant_id)
LEFT JOIN tenant_limits AS l ON l.tenant_id = t.tenant_id
LEFT JOIN published AS p ON p.tenant_id = t.tenant_id
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs FROM jobs AS j WHERE j.tenant_id = t.tenant_id AND j.status = 'running'
        AND coalesce(l.max_running, %(max_running)s) IS NOT NULL) AS running
""")


def uses(connection: Connection, tenant_ids: Collection[str], *, max_running: int | None) -> dict[str, TenantUse]:
    """Return the tenants' usage of their limits; `max_running` is the default for tenants without a setting."""
    found = connection.exec_driver_sql(_USES, {"tenants": list(tenant_ids), "max_running": max_running})
    return {
        tenant: TenantUse(max_running=max_running, running=running, published=published, least_urgent=least_urgent)
        for tenant, max_running, running, published, least_urgent in found
    }


_ROWS = RecordRows(TenantRules, "l")
_READ = Statement(f"SELECT {_ROWS.columns} FROM tenant_limits AS l WHERE l.tenant_id = %(tenant_id)s")


def read(connection: Connection, tenant_id: str) -> TenantRules:
    return _ROWS.first(connection.exec_driver_sql(_READ, {"tenant_id": tenant_id})) or TenantRules(tenant_id=tenant_id)


_WRITE = Statement("""
INSERT INTO tenant_limits (tenant_id, max_running, weight, most_urgent_priority, retention_days, updated_by, updated_at)
VALUES (%(tenant_id)s, %(max_running)s, %(weight)s, %(most_urgent_priority)s, %(retention_days)s, %(updated_by)s,
        clock_timestamp())
ON CONFLICT (tenant_id) DO UPDATE SET
    max_running = excluded.max_running, weight = excluded.weight,
    most_urgent_priority = excluded.most_urgent_priority, retention_days = excluded.retention_days,
    updated_by = excluded.updated_by, updated_at = excluded.updated_at
""")


def write(connection: Connection, limits: TenantRules) -> None:
    """Store the settings of a tenant; None means no setting."""
    connection.exec_driver_sql(_WRITE, parameters_of(TenantRules, limits))
