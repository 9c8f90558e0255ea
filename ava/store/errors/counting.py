"""Assign each failed job to the group of its error, once. All functions here run within a caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ava.domain.analytics import MAX_DAYS
from ava.domain.error_group import ErrorGroupUpdate, ErrorStatus
from ava.domain.limits.table import ERROR_VARIANTS
from ava.store.engine.database import Connection
from ava.store.engine.statement import Deletion, Statement, text_array

_KNOWN = Statement("""
SELECT e.id::text, e.status, e.resolved_at
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS g (tenant_id, id)
JOIN error_groups AS e ON e.tenant_id = g.tenant_id AND e.id = g.id ORDER BY e.tenant_id, e.id FOR UPDATE OF e
""")


def known(connection: Connection, groups: Mapping[str, str]) -> Mapping[str, tuple[ErrorStatus, datetime | None]]:
    """Lock the groups that already exist; `groups` maps group UUIDs to tenants.

    Returns their status, and when they were resolved.
    """
    found = connection.exec_driver_sql(_KNOWN, {"tenants": list(groups.values()), "ids": list(groups)})
    return {id_: (ErrorStatus(status), resolved_at) for id_, status, resolved_at in found}


_COUNTS = Statement("""
SELECT tenant_id, count(*) FROM error_groups WHERE tenant_id = ANY(%(tenants)s::text[]) GROUP BY tenant_id
""")


def free_groups(connection: Connection, tenants: Sequence[str], max_groups: int) -> dict[str, int]:
    found = connection.exec_driver_sql(_COUNTS, {"tenants": list(tenants)})
    counts = {tenant_id: number for tenant_id, number in found}  # noqa: C416 - rows are no pairs to mypy
    return {tenant_id: max(0, max_groups - counts.get(tenant_id, 0)) for tenant_id in tenants}


_LABEL = Statement("""
UPDATE jobs AS j SET error_id = g.error_id
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(error_ids)s::uuid[]) AS g (tenant_id, id, error_id)
WHERE j.tenant_id = g.tenant_id AND j.id = g.id
""")


def label(connection: Connection, error_ids: Mapping[tuple[str, str], str]) -> None:
    """Store the error groups in the rows of jobs, given as tenant and UUID."""
    if error_ids:
        tenants, uuids = map(list, zip(*error_ids, strict=True))
        parameters = {"tenants": tenants, "ids": uuids, "error_ids": list(error_ids.values())}
        connection.exec_driver_sql(_LABEL, parameters)


_STORE = Statement(f"""
INSERT INTO error_groups AS g (id, tenant_id, worker_id, kind, variants, first_seen_at, last_seen_at, sample_job_id)
SELECT id, tenant_id, worker_id, kind, variants::text[], first_at, last_at, job_id
FROM unnest(%(ids)s::uuid[], %(tenants)s::text[], %(workers)s::text[], %(kinds)s::text[], %(variants)s::text[],
    %(firsts)s::timestamptz[], %(lasts)s::timestamptz[], %(samples)s::uuid[])
    AS u (id, tenant_id, worker_id, kind, variants, first_at, last_at, job_id)
ON CONFLICT (tenant_id, id) DO UPDATE SET first_seen_at = least(g.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(g.last_seen_at, excluded.last_seen_at), sample_job_id = excluded.sample_job_id,
    variants = (g.variants
        || ARRAY(SELECT v FROM unnest(excluded.variants) AS v WHERE v <> ALL(g.variants)))[:{ERROR_VARIANTS.value}],
    status = CASE WHEN g.id = ANY(%(reopened)s::uuid[]) THEN 'open' ELSE g.status END,
    resolved_at = CASE WHEN g.id = ANY(%(reopened)s::uuid[]) THEN NULL ELSE g.resolved_at END
""")
_STORE_DAYS = Statement("""
INSERT INTO error_days AS d (tenant_id, error_id, day, jobs)
SELECT * FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(days)s::timestamptz[], %(jobs)s::bigint[])
ON CONFLICT (tenant_id, error_id, day) DO UPDATE SET jobs = d.jobs + excluded.jobs
""")


def store(connection: Connection, updates: Sequence[ErrorGroupUpdate], reopened: Sequence[str]) -> None:
    """Add jobs to their groups, create missing groups, and reopen groups that have recurred."""
    groups = {
        "ids": [update.id for update in updates],
        "tenants": [update.tenant_id for update in updates],
        "workers": [update.worker_id for update in updates],
        "kinds": [update.kind for update in updates],
        "variants": [text_array(update.variants) for update in updates],
        "firsts": [update.first_seen_at for update in updates],
        "lasts": [update.last_seen_at for update in updates],
        "samples": [update.sample_job_id for update in updates],
        "reopened": list(reopened),
    }
    connection.exec_driver_sql(_STORE, groups)
    days = [(update.tenant_id, update.id, day, jobs) for update in updates for day, jobs in update.days.items()]
    tenants, ids, dates, jobs = map(list, zip(*days, strict=True))
    connection.exec_driver_sql(_STORE_DAYS, {"tenants": tenants, "ids": ids, "days": dates, "jobs": jobs})


_PAST = f"now() - interval '{MAX_DAYS + 2} days'"
_DELETE_OLD_GROUPS = Deletion("error_groups", f"last_seen_at < {_PAST}")
_DELETE_OLD_DAYS = Deletion("error_days", f"day < {_PAST}")


def delete_old(connection: Connection, *, limit: int) -> int:
    """Delete groups without failures for longer than any period, and old days. Returns their number."""
    return _DELETE_OLD_GROUPS(connection, limit=limit) + _DELETE_OLD_DAYS(connection, limit=limit)
