"""Webhook events past retention, with their deliveries."""

from __future__ import annotations

from datetime import timedelta

from ava.domain import ids
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

__all__ = ["delete_old"]

_DELETE_OLD = Statement("""
WITH old AS (
    SELECT id FROM webhook_events WHERE id < %(before)s::uuid ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), deliveries AS (
    DELETE FROM webhook_deliveries WHERE event_id IN (SELECT id FROM old)
), set_aside AS (
    DELETE FROM webhook_set_aside WHERE event_id IN (SELECT id FROM old)
), endpoints AS (
    DELETE FROM webhook_endpoints AS p WHERE p.status = 'deleted' AND EXISTS (SELECT 1 FROM old)
        AND NOT EXISTS (SELECT 1 FROM webhook_deliveries AS d WHERE d.endpoint_id = p.id)
)
DELETE FROM webhook_events WHERE id IN (SELECT id FROM old)
""")


def delete_old(connection: Connection, *, retention_days: float, limit: int) -> int:
    """Delete the oldest events past retention with their deliveries, and deleted endpoints without deliveries.

    Returns the number of events.
    """
    oldest = clock.now(connection) - timedelta(days=retention_days)
    parameters = {"before": str(ids.first_uuid(oldest)), "limit": limit}
    return connection.exec_driver_sql(_DELETE_OLD, parameters).rowcount
