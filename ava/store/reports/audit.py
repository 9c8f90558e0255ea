"""The audit trail: who changed what, and from where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain import ids
from ava.domain.paging import MOST_IN_TOTAL
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

__all__ = ["AuditEntry", "AuditFilter", "AuditRecord", "count", "delete_old", "insert", "page"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRecord:
    """The record of a requested change."""

    tenant_id: str
    user_id: str
    role: str
    #: The requested action, such as `jobs.cancel`.
    action: str
    #: The id of the changed object; None if there is no single one, as for many jobs.
    target: str | None
    #: The HTTP status of the response; refused requests are recorded too.
    status: int
    #: The address of the peer, and those that a proxy has added.
    address: str
    request_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class AuditEntry(AuditRecord):
    """A record in the audit trail."""

    id: str


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Which entries; None means any."""

    action: str | None = None
    user_id: str | None = None
    target: str | None = None


_COLUMNS = "tenant_id, user_id, role, action, target, status, address, request_id, at"

_INSERT = Statement(f"""
INSERT INTO audit ({_COLUMNS})
SELECT {_COLUMNS}
FROM unnest(%(tenant_id)s::text[], %(user_id)s::text[], %(role)s::text[], %(action)s::text[], %(target)s::text[],
            %(status)s::smallint[], %(address)s::text[], %(request_id)s::text[], %(at)s::timestamptz[])
    AS d ({_COLUMNS})
""")


def insert(connection: Connection, records: Sequence[AuditRecord]) -> None:
    """Insert records with one statement."""
    columns = {name: [getattr(record, name) for record in records] for name in _COLUMNS.split(", ")}
    connection.exec_driver_sql(_INSERT, columns)


_PAGE = Statement(f"""
SELECT id::text, {_COLUMNS}
FROM audit WHERE tenant_id = %(tenant_id)s AND (%(before)s::uuid IS NULL OR id < %(before)s::uuid)
    AND (%(action)s::text IS NULL OR action = %(action)s)
    AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
    AND (%(target)s::text IS NULL OR target = %(target)s)
ORDER BY id DESC LIMIT %(limit)s
""")
_COUNT = Statement("""
SELECT count(*) FROM (
    SELECT 1
    FROM audit WHERE tenant_id = %(tenant_id)s
        AND (%(action)s::text IS NULL OR action = %(action)s)
        AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
        AND (%(target)s::text IS NULL OR target = %(target)s)
    LIMIT %(limit)s
) AS counted
""")


def page(
    connection: Connection, *, tenant_id: str, audit_filter: AuditFilter, limit: int, before_id: str | None
) -> list[AuditEntry]:
    """Returns entries of a tenant, newest first, older than `before_id`."""
    before = None if before_id is None else ids.decode("aud", before_id)
    parameters = _filter_parameters(tenant_id, audit_filter)
    parameters |= {"before": None if before is None else str(before), "limit": limit}
    names = _COLUMNS.split(", ")
    found = connection.exec_driver_sql(_PAGE, parameters)
    return [AuditEntry(id=ids.encode("aud", row[0]), **dict(zip(names, row[1:], strict=True))) for row in found]


def count(connection: Connection, *, tenant_id: str, audit_filter: AuditFilter) -> int:
    """Returns the number of entries that a filter finds, exact up to `MOST_IN_TOTAL`."""
    parameters = _filter_parameters(tenant_id, audit_filter) | {"limit": MOST_IN_TOTAL}
    return int(connection.exec_driver_sql(_COUNT, parameters).scalar_one())


def _filter_parameters(tenant_id: str, audit_filter: AuditFilter) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "action": audit_filter.action,
        "user_id": audit_filter.user_id,
        "target": audit_filter.target,
    }


_DELETE_OLD = Statement("""
DELETE FROM audit WHERE id = ANY(ARRAY(
    SELECT id FROM audit WHERE id < %(before)s::uuid ORDER BY id LIMIT %(limit)s))
""")


def delete_old(connection: Connection, *, before: datetime, limit: int) -> int:
    """Delete entries past retention. Returns the number of entries."""
    return connection.exec_driver_sql(_DELETE_OLD, {"before": str(ids.first_uuid(before)), "limit": limit}).rowcount
