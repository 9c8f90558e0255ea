"""Read and change error groups of tenants. All statements here are scoped to a tenant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from ava.domain import ids
from ava.domain.counts import PageBounds
from ava.domain.error_group import ErrorDay, ErrorGroup, ErrorStatus
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement


@dataclass(frozen=True, kw_only=True)
class ErrorFilter:
    """A filter for error groups; None means any."""

    #: The time range of the failures, which are counted by day: a day that it touches counts as a whole.
    since: datetime
    until: datetime | None = None
    worker_id: str | None = None
    status: ErrorStatus | None = None


_ROWS = RecordRows(ErrorGroup, "g", columns={"message": "g.variants[1]"}, without=("count", "daily"))


_DAYS_IN_RANGE = """d.tenant_id = g.tenant_id AND d.error_id = g.id
        AND d.day >= date_trunc('day', %(since)s::timestamptz, 'UTC')
        AND d.day < coalesce(%(until)s::timestamptz, 'infinity')"""


def _with_days(groups: str) -> str:
    return f"""
SELECT {_ROWS.columns}, d.days, d.jobs
FROM ({groups}) AS g CROSS JOIN LATERAL (
    SELECT array_agg(d.day ORDER BY d.day) AS days, array_agg(d.jobs ORDER BY d.day) AS jobs
    FROM error_days AS d WHERE {_DAYS_IN_RANGE}
) AS d
"""


_MATCHING = f"""
    SELECT g.* FROM error_groups AS g
    WHERE g.tenant_id = %(tenant_id)s AND g.last_seen_at >= %(since)s
        AND (%(until)s::timestamptz IS NULL
            OR g.first_seen_at < %(until)s AND EXISTS (SELECT FROM error_days AS d WHERE {_DAYS_IN_RANGE}))
        AND (%(worker_id)s::text IS NULL OR g.worker_id = %(worker_id)s)
        AND (%(status)s::text IS NULL OR g.status = %(status)s)
"""
_PAGE = Statement(
    _with_days(f"""{_MATCHING}
        AND (%(before_id)s::uuid IS NULL OR (g.last_seen_at, g.id) < (
            SELECT b.last_seen_at, b.id FROM error_groups AS b
            WHERE b.tenant_id = %(tenant_id)s AND b.id = %(before_id)s::uuid))
    ORDER BY g.last_seen_at DESC, g.id DESC LIMIT %(limit)s OFFSET %(offset)s
""")
    + "ORDER BY g.last_seen_at DESC, g.id DESC"
)
_COUNT = Statement(f"SELECT count(*) FROM ({_MATCHING}) AS g")


def page(
    connection: Connection, *, tenant_id: str, error_filter: ErrorFilter, bounds: PageBounds
) -> tuple[list[ErrorGroup], int]:
    """Return groups of a tenant, the last seen first, and the number of matches."""
    given: dict[str, object] = {"tenant_id": tenant_id, **vars(error_filter)}
    found = [_group(row) for row in connection.exec_driver_sql(_PAGE, given | bounds.before("err"))]
    return found, int(connection.exec_driver_sql(_COUNT, given).scalar_one())


_SHOW = Statement(
    _with_days("SELECT g.* FROM error_groups AS g WHERE g.tenant_id = %(tenant_id)s AND g.id = %(id)s::uuid")
)


def show(
    connection: Connection, *, tenant_id: str, error_id: str, since: datetime, until: datetime | None = None
) -> ErrorGroup | None:
    """Return a tenant's group with its failures of a time range; None if there is none."""
    parameters = {"tenant_id": tenant_id, "id": error_uuid(error_id), "since": since, "until": until}
    row = connection.exec_driver_sql(_SHOW, parameters).first()
    return None if row is None else _group(row)


_CHANGE = Statement("""
UPDATE error_groups AS g SET status = %(status)s,
    resolved_at = CASE WHEN %(status)s = 'resolved' THEN clock_timestamp() END
FROM (SELECT tenant_id, id, status FROM error_groups
      WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid FOR UPDATE) AS before
WHERE g.tenant_id = before.tenant_id AND g.id = before.id RETURNING before.status
""")


def change(connection: Connection, *, tenant_id: str, error_id: str, status: ErrorStatus) -> ErrorStatus | None:
    """Set the status of a group. Returns the previous status; None if there is no such group."""
    parameters = {"tenant_id": tenant_id, "id": error_uuid(error_id), "status": status.value}
    before = connection.exec_driver_sql(_CHANGE, parameters).scalar()
    return None if before is None else ErrorStatus(before)


error_uuid = partial(ids.to_uuid, "err")


def _group(row: Sequence[Any]) -> ErrorGroup:
    days, jobs = row[_ROWS.count :]
    daily = [ErrorDay(day=day, jobs=number) for day, number in zip(days or (), jobs or (), strict=True)]
    return _ROWS.read(row, count=sum(day.jobs for day in daily), daily=daily)
