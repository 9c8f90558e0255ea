"""Lists of approvals for clients. All statements here are scoped to a tenant."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ava.domain.approval import Approval, ApprovalFilter
from ava.domain.counts import MAX_IN_TOTAL
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.approvals import ROWS, approval_uuid


@dataclass(frozen=True, kw_only=True, slots=True)
class Decider:
    """Who may decide: a user or a key, with the person behind it and its role."""

    id: str
    person: str
    #: The roles up to its own.
    roles: Collection[str]


_MATCHING = """a.tenant_id = %(tenant_id)s AND (%(status)s::text IS NULL OR a.status = %(status)s)
    AND (%(job_id)s::uuid IS NULL OR a.job_id = %(job_id)s::uuid)
    AND (%(decider)s::text IS NULL OR a.status = 'pending' AND %(person)s <> ALL(a.deciders)
        AND NOT (a.not_by AND %(person)s = ANY(a.requesters))
        AND CASE WHEN a.users IS NULL THEN a.roles && %(roles)s::text[] ELSE %(decider)s = ANY(a.users) END)"""
_PAGE = f"""
SELECT {ROWS.columns} FROM approvals AS a
WHERE {_MATCHING} AND (%(after)s::uuid IS NULL OR a.id {{beyond}} %(after)s::uuid)
ORDER BY a.id {{direction}} LIMIT %(limit)s OFFSET %(offset)s
"""
_OLDEST = Statement(_PAGE.format(beyond=">", direction="ASC"))
_NEWEST = Statement(_PAGE.format(beyond="<", direction="DESC"))


def page(
    connection: Connection,
    *,
    tenant_id: str,
    wanted: ApprovalFilter,
    decider: Decider | None,
    limit: int,
    offset: int,
    after_id: str | None,
) -> list[Approval]:
    """Return a page of approvals: pending ones with the oldest first, other lists with the newest first."""
    given = _parameters(tenant_id, wanted, decider) | {"limit": limit, "offset": offset}
    given["after"] = None if after_id is None else approval_uuid(after_id)
    statement = _OLDEST if wanted.is_of_pending else _NEWEST
    return [ROWS.read(row) for row in connection.exec_driver_sql(statement, given)]


_COUNT = Statement(f"SELECT count(*) FROM (SELECT FROM approvals AS a WHERE {_MATCHING} LIMIT {MAX_IN_TOTAL}) AS n")


def count(connection: Connection, *, tenant_id: str, wanted: ApprovalFilter, decider: Decider | None) -> int:
    """Return the number of matches, counted up to `MAX_IN_TOTAL`."""
    return int(connection.exec_driver_sql(_COUNT, _parameters(tenant_id, wanted, decider)).scalar_one())


def _parameters(tenant_id: str, wanted: ApprovalFilter, decider: Decider | None) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "status": None if wanted.status is None else wanted.status.value,
        "job_id": None if wanted.job_id is None else rows.job_uuid(wanted.job_id),
        "decider": None if decider is None else decider.id,
        "person": None if decider is None else decider.person,
        "roles": [] if decider is None else list(decider.roles),
    }
