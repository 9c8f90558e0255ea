"""Measure the bytes that tenants store: page by page over whole tables, with the sums of the last complete pass.

It keeps the quota of stored bytes, so that no tenant fills the database. A sum maintained by each write would be a row
that all writes of a tenant lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement

_FIRST_UUID = "00000000-0000-0000-0000-000000000000"
#: Bytes per row of a job or event, with index entries but without values of variable length.
_ROW_BYTES = 600
#: The same for a delivery, a row of log lines, and a run in `job_runs`.
_DELIVERY_BYTES, _LINES_BYTES, _RUN_BYTES = 300, 100, 200


#: Tenant, UUID and number of a row; only log lines and runs use the tenant and the number.
Position = tuple[str, str, int]


@dataclass(frozen=True, kw_only=True)
class StoredKind:
    """Rows of one kind. `pg_column_size` is the stored size, so measuring reads no values."""

    name: str
    statement: Statement


@dataclass(frozen=True, kw_only=True)
class StoredPage:
    #: Bytes by tenant.
    sums: Mapping[str, int]
    #: The position of the last row; None for the last page.
    position: Position | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    stored_bytes: int
    measured_at: datetime


def _kind(
    table: str, size: str, *, join: str = "", tenant: str = "p.tenant_id", number: str | None = None
) -> StoredKind:
    """Return the rows of a table, with the SQL of a row's size.

    `number`: the column of a row's number within its job; None: each row has an id. The statement's last row has no
    tenant, but the position of the page's last row.
    """
    order = "id" if number is None else f"tenant_id, job_id, {number}"
    position = "id > %(id)s::uuid" if number is None else f"({order}) > (%(tenant)s, %(id)s::uuid, %(seq)s)"
    last = "id::text, 0" if number is None else f"job_id::text, {number}"
    statement = Statement(f"""
WITH page AS (
    SELECT * FROM {table} WHERE {position} ORDER BY {order} LIMIT %(limit)s
)
SELECT {tenant} AS tenant_id, sum({size})::bigint AS bytes, NULL AS id, NULL::bigint AS seq, NULL AS position_tenant
FROM page AS p {join} GROUP BY 1
UNION ALL
(SELECT NULL, (SELECT count(*) FROM page), {last}, tenant_id
 FROM page
 ORDER BY {order.replace(",", " DESC,")} DESC LIMIT 1)
""")
    return StoredKind(name=table, statement=statement)


def _sizes(*columns: str) -> str:
    return " + ".join(f"coalesce(pg_column_size(p.{column}), 0)" for column in columns)


KINDS = (
    _kind("jobs", f"{_ROW_BYTES} + {_sizes('input', 'output', 'error')}"),
    _kind(
        "job_logs",
        f"{_LINES_BYTES} + {_sizes('times', 'msgs')}",
        join="JOIN jobs AS j ON j.tenant_id = p.tenant_id AND j.id = p.job_id",
        tenant="j.tenant_id",
        number="seq",
    ),
    _kind("job_runs", f"{_RUN_BYTES}", number="run_no"),
    _kind("webhook_events", f"{_ROW_BYTES} + {_sizes('body')}"),
    _kind("webhook_deliveries", f"{_DELIVERY_BYTES} + {_sizes('history')}"),
    _kind("events", f"{_ROW_BYTES} + {_sizes('data', 'headers')}"),
    _kind("hook_deliveries", f"{_DELIVERY_BYTES} + {_sizes('headers', 'body')}"),
)


def read_page(connection: Connection, kind: StoredKind, position: Position | None, *, limit: int) -> StoredPage:
    """Return the sums of the rows behind `position`; None means the start."""
    tenant_id, uuid, seq = position or ("", _FIRST_UUID, -1)
    statement = kind.statement
    parameters = {"tenant": tenant_id, "id": uuid, "seq": seq, "limit": limit}
    rows = connection.exec_driver_sql(statement, parameters).all()
    last = next((row for row in rows if row.tenant_id is None), None)
    is_last = last is None or last.bytes < limit
    return StoredPage(
        sums={row.tenant_id: row.bytes for row in rows if row.tenant_id is not None},
        position=None if is_last or last is None else (last.position_tenant, last.id, last.seq),
    )


_SAVE = Statement("""
INSERT INTO tenant_storage AS t (tenant_id, stored_bytes)
SELECT tenant_id, stored_bytes FROM unnest(%(tenants)s::text[], %(bytes)s::bigint[]) AS g (tenant_id, stored_bytes)
ON CONFLICT (tenant_id) DO UPDATE SET stored_bytes = excluded.stored_bytes, measured_at = excluded.measured_at
""")
_FORGET = Statement("DELETE FROM tenant_storage WHERE measured_at < now()")


def save(connection: Connection, sums: Mapping[str, int], *, batch: int) -> None:
    """Replace the stored sums by the sums of a complete pass, in the caller's transaction."""
    tenants: Sequence[str] = sorted(sums)
    for first in range(0, len(tenants), batch):
        part = tenants[first : first + batch]
        connection.exec_driver_sql(_SAVE, {"tenants": part, "bytes": [sums[tenant] for tenant in part]})
    connection.exec_driver_sql(_FORGET)


_MEASURED_ROWS = RecordRows(Measured, "t")
_MEASURED = Statement(f"SELECT {_MEASURED_ROWS.columns} FROM tenant_storage AS t WHERE t.tenant_id = %(tenant_id)s")


def measured(connection: Connection, *, tenant_id: str) -> Measured | None:
    """Return a tenant's stored bytes at the end of the last pass; None if there were none, or no pass."""
    return _MEASURED_ROWS.first(connection.exec_driver_sql(_MEASURED, {"tenant_id": tenant_id}))
