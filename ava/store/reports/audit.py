"""The audit trail: who changed what, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ava.domain import ids
from ava.domain.access.actor import Actor, AuditEntry, AuditRecord
from ava.domain.counts import MAX_IN_TOTAL, PageBounds
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement, text_array
from ava.store.partitions import delete_rows, deletes


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """A filter for audit entries; None means any."""

    action: str | None = None
    actor_id: str | None = None
    label: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_VALUES = ("tenant_id", "role", "action", "target", "status", "address", "request_id", "at", "occurrences")
_COLUMNS = f"{', '.join(_VALUES)}, actor_id, via, label"

_INSERT = Prepared(
    "insert_audit",
    f"""
INSERT INTO audit (id, {_COLUMNS}, changes)
SELECT id, {_COLUMNS}, changes::json
FROM unnest(%(id)s::uuid[], %(tenant_id)s::text[], %(role)s::text[], %(action)s::text[], %(target)s::text[],
            %(status)s::smallint[], %(address)s::text[], %(request_id)s::text[], %(at)s::timestamptz[],
            %(occurrences)s::integer[], %(actor_id)s::text[], %(via)s::text[], %(label)s::text[],
            %(changes_json)s::text[])
    AS d (id, {_COLUMNS}, changes)
ON CONFLICT DO NOTHING
""",
)


def insert(connection: Connection, records: Mapping[str, AuditRecord]) -> None:
    """Insert records, by their new UUIDs, with one statement. A repetition inserts none twice."""
    those = records.values()
    given = {name: text_array([getattr(each, name) for each in those]) for name in (*_VALUES, "changes_json")}
    by = {
        "actor_id": text_array([each.actor.id for each in those]),
        "via": text_array([each.actor.via for each in those]),
        "label": text_array([each.actor.label for each in those]),
    }
    _INSERT.run(connection, given | by | {"id": text_array(records)})


#: Entries of the leading filter that are searched for the other filters.
_MAX_SEARCHED = 10_000


def _search(*leading: str) -> str:
    """Return the newest entries with values of the leading columns, as a FROM item; other filters apply to these.

    It is an index range in index order: with equalities the planner may walk the primary key over the entries of all
    tenants.
    """
    columns, values = ", ".join(leading), ", ".join(f"%({name})s" for name in leading)
    # The indexes of targets and labels only have entries with one, which the planner does not infer from a range.
    are_there = " AND ".join(f"{name} IS NOT NULL" for name in leading)
    order = ", ".join(f"{name} DESC" for name in leading)
    return f"""(
    SELECT * FROM audit
    WHERE ({columns}, id) >= ({values}, %(first)s::uuid) AND ({columns}, id) < ({values}, %(before)s::uuid)
        AND {are_there}
    ORDER BY {order}, id DESC LIMIT CASE WHEN %(filters)s > 1 THEN {_MAX_SEARCHED} ELSE %(limit)s END
) AS newest
WHERE (%(action)s::text IS NULL OR action = %(action)s) AND (%(actor_id)s::text IS NULL OR actor_id = %(actor_id)s)
    AND (%(label)s::text IS NULL OR label = %(label)s) AND (%(target)s::text IS NULL OR target = %(target)s)"""


_ROWS = RecordRows(AuditEntry, "newest", without=("actor",))


def _page(*leading: str) -> Statement:
    return Statement(
        f"SELECT {_ROWS.columns}, actor_id, via, label FROM {_search(*leading)} ORDER BY id DESC LIMIT %(limit)s"
    )


def _count(*leading: str) -> Statement:
    return Statement(f"SELECT count(*) FROM (SELECT 1 FROM {_search(*leading)} LIMIT %(limit)s) AS counted")


_PAGE, _COUNT = _page("tenant_id"), _count("tenant_id")
_PAGE_OF_ACTION, _COUNT_OF_ACTION = _page("tenant_id", "action"), _count("tenant_id", "action")
_PAGE_OF_ACTOR, _COUNT_OF_ACTOR = _page("tenant_id", "actor_id"), _count("tenant_id", "actor_id")
_PAGE_OF_LABEL, _COUNT_OF_LABEL = _page("tenant_id", "label"), _count("tenant_id", "label")
_PAGE_OF_TARGET, _COUNT_OF_TARGET = _page("tenant_id", "target"), _count("tenant_id", "target")


def _statements(audit_filter: AuditFilter) -> tuple[Statement, Statement]:
    """Return the statements for a page and its count, with the most selective filter leading."""
    if audit_filter.target is not None:
        return _PAGE_OF_TARGET, _COUNT_OF_TARGET
    if audit_filter.label is not None:
        return _PAGE_OF_LABEL, _COUNT_OF_LABEL
    if audit_filter.actor_id is not None:
        return _PAGE_OF_ACTOR, _COUNT_OF_ACTOR
    if audit_filter.action is not None:
        return _PAGE_OF_ACTION, _COUNT_OF_ACTION
    return _PAGE, _COUNT


def page(
    connection: Connection, *, tenant_id: str, audit_filter: AuditFilter, bounds: PageBounds
) -> tuple[list[AuditEntry], int]:
    """Return entries of a tenant, newest first, and the number of matches, exact up to `MAX_IN_TOTAL`.

    With several filters, the newest entries of the leading filter are searched for the others.
    """
    page, count = _statements(audit_filter)
    part = _filter_parameters(tenant_id, audit_filter, bounds.after_id) | {"limit": bounds.limit}
    found = [
        _ROWS.read(row, actor=Actor.of_columns(*row[_ROWS.count :])) for row in connection.exec_driver_sql(page, part)
    ]
    every = _filter_parameters(tenant_id, audit_filter, None) | {"limit": MAX_IN_TOTAL}
    return found, int(connection.exec_driver_sql(count, every).scalar_one())


def _filter_parameters(tenant_id: str, audit_filter: AuditFilter, before_id: str | None) -> dict[str, object]:
    return {
        **ids.uuid_range("aud", since=audit_filter.since, until=audit_filter.until, before_id=before_id),
        "tenant_id": tenant_id,
        **vars(audit_filter),
        "filters": sum(getattr(audit_filter, name) is not None for name in ("action", "actor_id", "label", "target")),
    }


_DELETE, _DELETE_FIRST, _DELETE_OF_REST = map(deletes, ("audit", "audit_first", "audit_rest"))
_DELETE_FROM = {"audit": _DELETE, "audit_first": _DELETE_FIRST, "audit_rest": _DELETE_OF_REST}


def delete_old(connection: Connection, *, retention_days: float, limit: int) -> int:
    """Delete entries past retention that are not dropped with a partition. Returns their number."""
    return delete_rows(connection, "audit", _DELETE_FROM, retention_days=retention_days, limit=limit)
