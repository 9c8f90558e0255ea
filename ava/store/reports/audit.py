"""The audit trail: who changed what, from where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain import ids
from ava.domain.paging import MOST_IN_TOTAL
from ava.store.engine.database import Connection

__all__ = ["AuditEntry", "AuditFilter", "AuditRecord", "count", "delete_old", "insert", "page"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRecord:
    """A change that somebody asked for, as it is written down."""

    tenant_id: str
    user_id: str
    role: str
    #: What was asked for, as in `jobs.cancel`.
    action: str
    #: The id of what it was done to; None where it has none, as for a bulk of jobs.
    target: str | None
    #: The HTTP status of the answer: refusals are written down too.
    status: int
    #: Where the request came from: the peer's address, and what a proxy said of others.
    address: str
    request_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class AuditEntry(AuditRecord):
    """A change as it stands in the trail."""

    id: str


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Which entries; None means any."""

    action: str | None = None
    user_id: str | None = None
    target: str | None = None


_COLUMNS = "tenant_id, user_id, role, action, target, status, address, request_id, at"
_TYPES = ("text", "text", "text", "text", "text", "smallint", "text", "text", "timestamptz")
_ARRAYS = ", ".join(f"%({name})s::{kind}[]" for name, kind in zip(_COLUMNS.split(", "), _TYPES, strict=True))
_INSERT = f"INSERT INTO audit ({_COLUMNS}) SELECT {_COLUMNS} FROM unnest({_ARRAYS}) AS d ({_COLUMNS})"


def insert(connection: Connection, deeds: Sequence[AuditRecord]) -> None:
    """Write changes down, in one statement."""
    columns = {name: [getattr(deed, name) for deed in deeds] for name in _COLUMNS.split(", ")}
    connection.exec_driver_sql(_INSERT, columns)


_FOUND = """
FROM audit WHERE tenant_id = %(tenant_id)s AND (%(before)s::uuid IS NULL OR id < %(before)s::uuid)
    AND (%(action)s::text IS NULL OR action = %(action)s)
    AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
    AND (%(target)s::text IS NULL OR target = %(target)s)
"""
_PAGE = f"SELECT id::text, {_COLUMNS} {_FOUND} ORDER BY id DESC LIMIT %(limit)s"
_COUNT = f"SELECT count(*) FROM (SELECT 1 {_FOUND} LIMIT %(limit)s) AS counted"


def page(
    connection: Connection, *, tenant_id: str, audit_filter: AuditFilter, limit: int, before_id: str | None
) -> list[AuditEntry]:
    """Entries of a tenant, newest first, older than `before_id`."""
    names = _COLUMNS.split(", ")
    found = connection.exec_driver_sql(_PAGE, _parameters(tenant_id, audit_filter, limit, before_id))
    return [AuditEntry(id=ids.encode("aud", row[0]), **dict(zip(names, row[1:], strict=True))) for row in found]


def count(connection: Connection, *, tenant_id: str, audit_filter: AuditFilter) -> int:
    """How many entries a filter finds, exact up to `MOST_IN_TOTAL`."""
    parameters = _parameters(tenant_id, audit_filter, MOST_IN_TOTAL, None)
    return int(connection.exec_driver_sql(_COUNT, parameters).scalar_one())


def _parameters(tenant_id: str, audit_filter: AuditFilter, limit: int, before_id: str | None) -> dict[str, object]:
    before = None if before_id is None else ids.decode("aud", before_id)
    return {
        "tenant_id": tenant_id,
        "before": None if before is None else str(before),
        "action": audit_filter.action,
        "user_id": audit_filter.user_id,
        "target": audit_filter.target,
        "limit": limit,
    }


_FORGET = """
DELETE FROM audit WHERE id = ANY(ARRAY(
    SELECT id FROM audit WHERE id < %(floor)s::uuid ORDER BY id LIMIT %(limit)s))
"""


def delete_old(connection: Connection, *, before: datetime, limit: int) -> int:
    """Delete entries that are past their retention; how many."""
    return connection.exec_driver_sql(_FORGET, {"floor": str(ids.first_uuid(before)), "limit": limit}).rowcount
