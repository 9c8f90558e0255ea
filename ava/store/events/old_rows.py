"""Delete events and deliveries past retention, and expired deduplication keys."""

from __future__ import annotations

from datetime import timedelta

from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.partitions import rows_to_delete


def _delete(table: str) -> Statement:
    return Statement(f"""
DELETE FROM {table} WHERE id = ANY(ARRAY(
    SELECT id FROM {table} WHERE id < %(before)s::uuid ORDER BY id LIMIT %(limit)s))
""")


_DELETE_EVENTS = _delete("events")
_DELETE_FIRST_EVENTS = _delete("events_first")
_DELETE_EVENTS_OF_REST = _delete("events_rest")
_DELETE_DELIVERIES = _delete("hook_deliveries")
_DELETE_FIRST_DELIVERIES = _delete("hook_deliveries_first")
_DELETE_DELIVERIES_OF_REST = _delete("hook_deliveries_rest")
_DELETE_FROM = {
    "events": _DELETE_EVENTS,
    "events_first": _DELETE_FIRST_EVENTS,
    "events_rest": _DELETE_EVENTS_OF_REST,
    "hook_deliveries": _DELETE_DELIVERIES,
    "hook_deliveries_first": _DELETE_FIRST_DELIVERIES,
    "hook_deliveries_rest": _DELETE_DELIVERIES_OF_REST,
}


def delete_old(connection: Connection, table: str, *, retention_days: float, limit: int) -> int:
    """Delete rows of `events` or `hook_deliveries` past retention that are not dropped with a partition.

    Returns their number.
    """
    oldest = clock.now(connection) - timedelta(days=retention_days)
    rows = rows_to_delete(connection, table, oldest=oldest, retention_days=retention_days)
    count = 0
    for name in rows.tables:
        statement, parameters = _DELETE_FROM[name], {"before": str(rows.before), "limit": limit - count}
        count += connection.exec_driver_sql(statement, parameters).rowcount
    return count


_DELETE_KEYS = Statement("""
DELETE FROM received_keys WHERE (tenant_id, hook_id, digest) IN (
    SELECT tenant_id, hook_id, digest FROM received_keys
    WHERE until < now() ORDER BY until LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
""")


def delete_keys(connection: Connection, *, limit: int) -> int:
    """Delete expired deduplication keys of events and deliveries, oldest first. Returns their number."""
    return connection.exec_driver_sql(_DELETE_KEYS, {"limit": limit}).rowcount
