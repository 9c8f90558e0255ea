"""The partitions of tables that grow, each of one or several days of the rows' ids, and the one for the rest.

The processes' role owns no table, so functions of the owner create and drop them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ava.domain import ids
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

LOGS = "job_logs"
#: Deliveries come before their events, whose partitions stay as long as there are deliveries of them.
TABLES = (LOGS, "webhook_deliveries", "webhook_events", "hook_deliveries", "events", "audit")


def is_given(column: str) -> str:
    """Returns the condition that an id is one of `given_ids`, for statements that join its table to others.

    The range leaves out the other partitions, and an index finds the list, however PostgreSQL joins the tables.
    """
    return f"{column} = ANY(%(ids)s::uuid[]) AND {column} BETWEEN %(first)s::uuid AND %(last)s::uuid"


def given_ids(uuids: Sequence[str]) -> dict[str, object]:
    """Returns the parameters of `is_given`."""
    return {"ids": list(uuids), "first": min(uuids, default=None), "last": max(uuids, default=None)}


_ADD = Statement("SELECT ava_add_partitions(%(table)s, %(ahead)s, %(width)s)")


def add(connection: Connection, table: str, *, days_ahead: int, width_days: int) -> int:
    """Create the partitions that begin before a day ahead, except of days of which the rest has rows.

    Returns their number; 0 also if a lock was not free.
    """
    parameters = {"table": table, "ahead": days_ahead, "width": width_days}
    return int(connection.exec_driver_sql(_ADD, parameters).scalar_one())


_DROP = Statement("SELECT ava_drop_partition(%(table)s, %(kept_days)s)")


def drop(connection: Connection, table: str, *, kept_days: float) -> int:
    """Detach the oldest partition if all its rows are older than `kept_days`, or drop one that is detached.

    Returns the number of partitions; 0 also if a lock was not free. It is not made for log lines.
    """
    return int(connection.exec_driver_sql(_DROP, {"table": table, "kept_days": kept_days}).scalar_one())


_DROP_LOGS = Statement("SELECT ava_drop_log_days(%(kept_days)s, %(max_lines)s)")


def drop_logs(connection: Connection, *, kept_days: float, max_lines: int) -> int:
    """Detach the oldest partition of log lines that no job needs, or drop one that is detached.

    Jobs that ended late may be left in it when it is older than `kept_days`. Fewer than `max_lines` lines of them move
    to the rest. Returns the number of partitions; 0 also if a lock was not free.
    """
    parameters = {"kept_days": kept_days, "max_lines": max_lines}
    return int(connection.exec_driver_sql(_DROP_LOGS, parameters).scalar_one())


# The first 48 bits of an id are the milliseconds since 1970.
_DAYS_AHEAD = Statement("""
SELECT of_table, (('x' || left(replace(max(bound::text), '-', ''), 12))::bit(48)::bigint / 1000.0
                  - extract(epoch FROM now())) / 86400.0
FROM unnest(%(tables)s::text[]) AS of_table CROSS JOIN LATERAL ava_partitions(of_table) AS p GROUP BY of_table
""")


def days_ahead(connection: Connection) -> Mapping[str, float]:
    """Returns the days until the end of each table's last partition; negative if that is over."""
    found = connection.exec_driver_sql(_DAYS_AHEAD, {"tables": list(TABLES)})
    return {table: float(days) for table, days in found}


@dataclass(frozen=True, kw_only=True)
class RowsToDelete:
    """What is deleted row by row in a partitioned table, because its partition is not dropped in time."""

    #: The table itself, or the partitions whose old rows are deleted.
    tables: tuple[str, ...]
    #: Rows with smaller ids are old.
    before: UUID
    #: The partition that holds `before` begins with this id, so those before it are dropped; `before` if it has no
    #: beginning.
    dropped_before: UUID


_NAMES = Statement("""
SELECT c.relname, p.first_id::text, p.bound::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
LEFT JOIN ava_partitions(%(table)s) AS p ON p.name = c.relname WHERE i.inhparent = to_regclass(%(table)s)
""")


def rows_to_delete(connection: Connection, table: str, *, oldest: datetime, kept_days: float) -> RowsToDelete:
    """Returns what is deleted row by row of a table whose rows are kept since `oldest`, so many days.

    Rows that are kept for less than a day do not wait for their partition, because that would keep them much longer.
    """
    before = ids.first_uuid(oldest)
    if kept_days < 1:
        return RowsToDelete(tables=(table,), before=before, dropped_before=before)
    names: list[str] = []
    dropped_before = before
    for name, first_id, bound in connection.exec_driver_sql(_NAMES, {"table": table}):
        if name in (f"{table}_first", f"{table}_rest"):
            names.append(name)
        elif UUID(first_id) <= before < UUID(bound):
            dropped_before = UUID(first_id)
    return RowsToDelete(tables=tuple(names), before=before, dropped_before=dropped_before)
