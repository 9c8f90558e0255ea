"""Webhook events that are not of a job, and those past retention with their deliveries."""

from __future__ import annotations

from datetime import timedelta

from ava.domain import ids
from ava.domain.events import Event
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

__all__ = ["delete_old", "insert"]

# As with a job's event, which a trigger writes, nothing is written if no endpoint subscribes. The fan-out takes the
# body as it is.
_INSERT = Statement("""
INSERT INTO webhook_events (id, tenant_id, type, sequence, created_at, body)
SELECT %(id)s::uuid, %(tenant_id)s, %(type)s, %(sequence)s, %(created_at)s, %(body)s
WHERE EXISTS (SELECT FROM webhook_endpoints AS e
              WHERE e.tenant_id = %(tenant_id)s AND e.status IN ('active', 'degraded') AND %(type)s = ANY(e.events))
""")


def insert(connection: Connection, event: Event, body: str) -> bool:
    """Write an event that is not of a job, with its body as JSON text. Returns False if no endpoint subscribes."""
    parameters = {
        "id": str(ids.decode("evt", event.id)),
        "tenant_id": event.tenant_id,
        "type": event.type,
        "sequence": event.sequence,
        "created_at": event.created_at,
        "body": body,
    }
    return connection.exec_driver_sql(_INSERT, parameters).rowcount == 1


# An event has as many deliveries as its tenant has endpoints, so they are deleted first, with a limit of their own.
_DELETE_OLD_DELIVERIES = Statement("""
WITH old AS (
    SELECT id FROM webhook_events WHERE id < %(before)s::uuid ORDER BY id LIMIT %(limit)s
), found AS (
    SELECT d.id FROM old JOIN webhook_deliveries AS d ON d.event_id = old.id LIMIT %(limit)s
)
DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM found)
""")
_DELETE_OLD = Statement("""
WITH old AS (
    SELECT e.id FROM webhook_events AS e
    WHERE e.id < %(before)s::uuid AND NOT EXISTS (SELECT FROM webhook_deliveries AS d WHERE d.event_id = e.id)
    ORDER BY e.id LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
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

    Returns the number of rows: `limit` deliveries at most, and as many events.
    """
    oldest = clock.now(connection) - timedelta(days=retention_days)
    parameters = {"before": str(ids.first_uuid(oldest)), "limit": limit}
    deliveries = connection.exec_driver_sql(_DELETE_OLD_DELIVERIES, parameters).rowcount
    if deliveries >= limit:
        return deliveries
    return deliveries + connection.exec_driver_sql(_DELETE_OLD, parameters).rowcount
