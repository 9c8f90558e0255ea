"""Partitions of growing tables, each for one or several days of row ids, and the default partition (`…_rest`).

The processes' role owns no table, so functions of the owner create and drop partitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from ava.domain import ids
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

LOGS = "job_logs"
#: Deliveries precede their events, because an event partition is retained while it has deliveries.
TABLES = (LOGS, "webhook_deliveries", "webhook_events", "hook_deliveries", "events", "audit")


def is_given(column: str) -> str:
    """Return the condition that an id is in `given_ids`, for statements that join its table to others.

    The range excludes other partitions, and an index finds the list, however PostgreSQL joins the tables.
    """
    return f"{column} = ANY(%(ids)s::uuid[]) AND {column} BETWEEN %(first)s::uuid AND %(last)s::uuid"


def given_ids(uuids: Sequence[str]) -> dict[str, object]:
    return {"ids": list(uuids), "first": min(uuids, default=None), "last": max(uuids, default=None)}


_ADD = Statement("SELECT ava_add_partitions(%(table)s, %(ahead)s, %(width)s)")


def add(connection: Connection, table: str, *, days_ahead: int, width_days: int) -> int:
    """Create the partitions that begin within `days_ahead`, except for days with rows in the default partition.

    Returns their number; 0 also if a lock was not available.
    """
    parameters = {"table": table, "ahead": days_ahead, "width": width_days}
    return int(connection.exec_driver_sql(_ADD, parameters).scalar_one())


_DROP = Statement("SELECT ava_drop_partition(%(table)s, %(retention_days)s)")


def drop(connection: Connection, table: str, *, retention_days: float) -> int:
    """Detach the oldest partition if all its rows are older than `retention_days`, or drop a detached one.

    Returns the number of partitions; 0 also if a lock was not available. Not for log lines.
    """
    return int(connection.exec_driver_sql(_DROP, {"table": table, "retention_days": retention_days}).scalar_one())


_DROP_LOGS = Statement("SELECT ava_drop_log_days(%(retention_days)s, %(max_lines)s)")


def drop_logs(connection: Connection, *, retention_days: float, max_lines: int) -> int:
    """Detach the oldest log partition that no job needs, or drop a detached one.

    A partition older than `retention_days` may still have lines of jobs that ended late; fewer than `max_lines` of
    these move to the default partition. Returns the number of partitions; 0 also if a lock was not available.
    """
    parameters = {"retention_days": retention_days, "max_lines": max_lines}
    return int(connection.exec_driver_sql(_DROP_LOGS, parameters).scalar_one())


# The first 48 bits of an id are the milliseconds since 1970.
_DAYS_AHEAD = Statement("""
SELECT of_table, (('x' || left(replace(max(bound::text), '-', ''), 12))::bit(48)::bigint / 1000.0
                  - extract(epoch FROM now())) / 86400.0
FROM unnest(%(tables)s::text[]) AS of_table CROSS JOIN LATERAL ava_partitions(of_table) AS p GROUP BY of_table
""")


def days_ahead(connection: Connection) -> Mapping[str, float]:
    """Return the days until the end of each table's last partition; negative if it has passed."""
    found = connection.exec_driver_sql(_DAYS_AHEAD, {"tables": list(TABLES)})
    return {table: float(days) for table, days in found}


@dataclass(frozen=True, kw_only=True)
class RowsToDelete:
    """The rows of a partitioned table to delete individually, because their partition is not dropped in time."""

    #: The table itself, or its partitions with old rows.
    tables: tuple[str, ...]
    #: Rows with smaller ids are old.
    before: UUID
    #: The first id of the partition that contains `before`; earlier partitions are dropped. Equals `before` if that
    #: partition has no lower bound.
    dropped_before: UUID


_NAMES = Statement("""
SELECT c.relname, p.first_id::text, p.bound::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
LEFT JOIN ava_partitions(%(table)s) AS p ON p.name = c.relname WHERE i.inhparent = to_regclass(%(table)s)
""")


def rows_to_delete(connection: Connection, table: str, *, oldest: datetime, retention_days: float) -> RowsToDelete:
    """Return the rows to delete individually from a table that retains rows for `retention_days`, back to `oldest`.

    A retention below one day does not wait for the partition, because that would retain the rows much longer.
    """
    before = ids.first_uuid(oldest)
    if retention_days < 1:
        return RowsToDelete(tables=(table,), before=before, dropped_before=before)
    names: list[str] = []
    dropped_before = before
    for name, first_id, bound in connection.exec_driver_sql(_NAMES, {"table": table}):
        if name in (f"{table}_first", f"{table}_rest"):
            names.append(name)
        elif UUID(first_id) <= before < UUID(bound):
            dropped_before = UUID(first_id)
    return RowsToDelete(tables=tuple(names), before=before, dropped_before=dropped_before)


def deletes(table: str) -> Statement:
    """Return the statement of `delete_rows` for a table or a partition."""
    return Statement(f"""
DELETE FROM {table} WHERE id = ANY(ARRAY(
    SELECT id FROM {table} WHERE id < %(before)s::uuid ORDER BY id LIMIT %(limit)s))
""")


def delete_rows(
    connection: Connection, table: str, statements: Mapping[str, Statement], *, retention_days: float, limit: int
) -> int:
    """Delete rows past retention that are not dropped with a partition, by the statements of the table's partitions.

    Returns their number.
    """
    oldest = clock.now(connection) - timedelta(days=retention_days)
    rows = rows_to_delete(connection, table, oldest=oldest, retention_days=retention_days)
    count = 0
    for name in rows.tables:
        statement = statements[name]
        count += connection.exec_driver_sql(statement, {"before": str(rows.before), "limit": limit - count}).rowcount
    return count
