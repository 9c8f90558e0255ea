"""Insert webhook events that belong to no job, and delete events past retention with their deliveries."""

from __future__ import annotations

from datetime import timedelta

from ava.domain import ids
from ava.domain.webhooks.webhook_events import Event
from ava.store import dead_letters
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.partitions import rows_to_delete

# Stores nothing if no endpoint subscribes, like the trigger that stores the events of jobs. The fan-out uses the body
# unchanged.
_INSERT = Statement("""
INSERT INTO webhook_events (id, tenant_id, type, sequence, created_at, body)
SELECT %(id)s::uuid, %(tenant_id)s, %(type)s, %(sequence)s, %(created_at)s, %(body)s
WHERE EXISTS (SELECT FROM webhook_endpoints AS e
              WHERE e.tenant_id = %(tenant_id)s AND e.status <> 'deleted' AND e.paused_at IS NULL
                AND e.channel IS NULL AND %(type)s = ANY(e.events))
""")


def insert(connection: Connection, event: Event, body: str) -> bool:
    """Store an event that belongs to no job, with its body as JSON. Returns False if no endpoint subscribes."""
    parameters = {
        "id": str(ids.decode("evt", event.id)),
        "tenant_id": event.tenant_id,
        "type": event.type,
        "sequence": event.sequence,
        "created_at": event.created_at,
        "body": body,
    }
    return connection.exec_driver_sql(_INSERT, parameters).rowcount == 1


# An event has as many deliveries as its tenant has endpoints, so they are deleted first, with a separate limit. Uses an
# index order, so that the search ends at the first recent event, whatever the statistics.
def _delete_deliveries(table: str) -> Statement:
    return Statement(f"""
DELETE FROM {table} WHERE id = ANY(ARRAY(
    SELECT id FROM {table} WHERE event_id < %(before)s::uuid AND id >= %(first)s::uuid
    ORDER BY event_id LIMIT %(limit)s))
""")


def _delete_events(table: str) -> Statement:
    return Statement(f"""
WITH old AS (
    SELECT e.id FROM {table} AS e
    WHERE e.id < %(before)s::uuid AND NOT EXISTS (SELECT FROM webhook_deliveries AS d WHERE d.event_id = e.id)
    ORDER BY e.id LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
)
DELETE FROM {table} WHERE id = ANY(ARRAY(SELECT id FROM old))
""")


_DELETE_DELIVERIES = _delete_deliveries("webhook_deliveries")
_DELETE_FIRST_DELIVERIES = _delete_deliveries("webhook_deliveries_first")
_DELETE_DELIVERIES_OF_REST = _delete_deliveries("webhook_deliveries_rest")
_DELETE_EVENTS = _delete_events("webhook_events")
_DELETE_FIRST_EVENTS = _delete_events("webhook_events_first")
_DELETE_EVENTS_OF_REST = _delete_events("webhook_events_rest")
_DELETE = {
    "webhook_deliveries": _DELETE_DELIVERIES,
    "webhook_deliveries_first": _DELETE_FIRST_DELIVERIES,
    "webhook_deliveries_rest": _DELETE_DELIVERIES_OF_REST,
    "webhook_events": _DELETE_EVENTS,
    "webhook_events_first": _DELETE_FIRST_EVENTS,
    "webhook_events_rest": _DELETE_EVENTS_OF_REST,
}
_DELETE_NOTICE_MAILS = Statement("DELETE FROM notice_mails WHERE day < current_date - 1")
# Each time, not only after it has deleted their deliveries: the response of that commit may be lost. The LIMIT makes
# PostgreSQL probe an index for each deleted endpoint, whatever the statistics.
_DELETE_ENDPOINTS = Statement("""
DELETE FROM webhook_endpoints AS p WHERE p.status = 'deleted'
    AND (SELECT d.id FROM webhook_deliveries AS d WHERE d.endpoint_id = p.id AND d.tenant_id = p.tenant_id LIMIT 1)
        IS NULL
""")
_FIRST_UUID = "00000000-0000-0000-0000-000000000000"


def delete_old(connection: Connection, *, retention_days: float, limit: int) -> int:
    """Delete the oldest events past retention that are not dropped with a partition, and their deliveries.

    Also deletes the numbers of mails of past days, and endpoints with the status `deleted` that have no
    deliveries left. Returns the number of events and deliveries: at most `limit` deliveries, and about as many events.
    """
    oldest = clock.now(connection) - timedelta(days=retention_days)
    events, deliveries = (
        rows_to_delete(connection, table, oldest=oldest, retention_days=retention_days)
        for table in ("webhook_events", "webhook_deliveries")
    )
    # A late fan-out may have created deliveries for dropped events, in newer partitions.
    leftover = ("webhook_deliveries", events.dropped_before, str(deliveries.dropped_before))
    count = 0
    for table, before, first in [*((table, events.before, _FIRST_UUID) for table in deliveries.tables), leftover]:
        statement, parameters = _DELETE[table], {"before": str(before), "first": first, "limit": limit - count}
        count += connection.exec_driver_sql(statement, parameters).rowcount
        if count >= limit:
            return count
    connection.exec_driver_sql(_DELETE_NOTICE_MAILS, {})
    dead_letters.delete_old(connection, before=events.dropped_before, oldest=oldest)
    for table in events.tables:
        statement, parameters = _DELETE[table], {"before": str(events.before), "limit": limit}
        count += connection.exec_driver_sql(statement, parameters).rowcount
    connection.exec_driver_sql(_DELETE_ENDPOINTS, {})
    return count
