"""List and redeliver the deliveries of a tenant's endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ava.domain import ids
from ava.domain.counts import MAX_IN_TOTAL
from ava.domain.webhooks.webhook import Delivery, DeliveryBody, DeliveryStatus
from ava.domain.webhooks.webhook_events import Event
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.webhooks.endpoints import webhook_uuid

_ROWS = RecordRows(
    Delivery,
    "d",
    columns={
        "webhook_id": "d.endpoint_id::text",
        "next_attempt_at": "d.due_at",
        "attempts_json": "d.history::text",
    },
)
_COLUMNS, _delivery = _ROWS.columns, _ROWS.read


@dataclass(frozen=True, kw_only=True)
class DeliveryFilter:
    """A filter for deliveries of an endpoint; None means any."""

    status: DeliveryStatus | None = None
    event_type: str | None = None


_FIRST_UUID = "00000000-0000-0000-0000-000000000000"
_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


# As for jobs, a list consists of a few index ranges, one per status, as row comparisons in the index's order.
def _ranges(*index: str) -> str:
    """Return the ranges of an index as a FROM item that yields, newest first, `found.id`."""
    values = {"d.endpoint_id": "p.id", "d.status": "s.status", "d.event_type": "%(event_type)s"}
    columns, keys = ", ".join(index), ", ".join(values[name] for name in index)
    order = ", ".join(f"{name} DESC" for name in index)
    return f"""webhook_endpoints AS p CROSS JOIN unnest(%(statuses)s::text[]) AS s (status) CROSS JOIN LATERAL (
    SELECT d.id FROM webhook_deliveries AS d
    WHERE ({columns}, d.id) >= ({keys}, '{_FIRST_UUID}'::uuid) AND ({columns}, d.id) < ({keys}, %(before_id)s::uuid)
        AND d.tenant_id IS NOT DISTINCT FROM p.tenant_id
    ORDER BY {order}, d.id DESC LIMIT %(limit)s
) AS found
WHERE p.tenant_id = %(tenant_id)s AND p.status <> 'deleted' AND p.id = %(webhook_id)s::uuid"""


def _page(ranges: str) -> Statement:
    return Statement(f"""
SELECT {_COLUMNS} FROM (
    SELECT found.id FROM {ranges} ORDER BY found.id DESC LIMIT %(page)s OFFSET %(offset)s
) AS asked CROSS JOIN LATERAL (
    SELECT * FROM webhook_deliveries WHERE tenant_id = %(tenant_id)s AND id = asked.id LIMIT 1
) AS d ORDER BY d.id DESC
""")


def _count(ranges: str) -> Statement:
    return Statement(f"SELECT count(*) FROM (SELECT 1 FROM {ranges} LIMIT %(limit)s) AS counted")


_BY_STATUS = _ranges("d.endpoint_id", "d.status")
_BY_TYPE = _ranges("d.endpoint_id", "d.status", "d.event_type")
_PAGE, _PAGE_OF_TYPE = _page(_BY_STATUS), _page(_BY_TYPE)
_COUNT, _COUNT_OF_TYPE = _count(_BY_STATUS), _count(_BY_TYPE)


def page(
    connection: Connection,
    *,
    tenant_id: str,
    webhook_id: str,
    delivery_filter: DeliveryFilter,
    limit: int,
    offset: int = 0,
    before_id: str | None = None,
) -> list[Delivery]:
    """Return deliveries to an endpoint of a tenant, newest first."""
    parameters = _filter_parameters(tenant_id, webhook_id, delivery_filter)
    before = _LAST_UUID if before_id is None else _delivery_uuid(before_id)
    parameters |= {"before_id": before, "limit": limit + offset, "offset": offset, "page": limit}
    statement = _PAGE if delivery_filter.event_type is None else _PAGE_OF_TYPE
    return [_delivery(row) for row in connection.exec_driver_sql(statement, parameters)]


def count(connection: Connection, *, tenant_id: str, webhook_id: str, delivery_filter: DeliveryFilter) -> int:
    """Return the number of matching deliveries, exact up to `MAX_IN_TOTAL`."""
    parameters = _filter_parameters(tenant_id, webhook_id, delivery_filter)
    parameters |= {"before_id": _LAST_UUID, "limit": MAX_IN_TOTAL}
    statement = _COUNT if delivery_filter.event_type is None else _COUNT_OF_TYPE
    return int(connection.exec_driver_sql(statement, parameters).scalar_one())


def _filter_parameters(tenant_id: str, webhook_id: str, delivery_filter: DeliveryFilter) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "webhook_id": webhook_uuid(webhook_id),
        "statuses": [s.value for s in DeliveryStatus if delivery_filter.status in (None, s)],
        "event_type": delivery_filter.event_type,
    }


# A redelivery restarts the retry schedule and keeps the history. A pending delivery becomes due now and keeps its
# position in the schedule, because an active request may be about to count a failure. Its `due_at` always changes, so
# that the outcome of an active request does not end it (`outcomes.record`).
_REDELIVER = Statement(f"""
WITH again AS (
    UPDATE webhook_deliveries AS d SET status = 'pending', due_at = least(d.due_at, now()) - interval '1 us',
        completed_at = NULL,
        failures = CASE WHEN d.status = 'pending' THEN d.failures ELSE 0 END
    FROM webhook_endpoints AS p
    WHERE d.endpoint_id = p.id AND p.tenant_id = %(tenant_id)s AND p.id = %(webhook_id)s::uuid
        AND p.status <> 'deleted' AND p.status <> 'disabled' AND d.tenant_id = %(tenant_id)s AND d.id = %(id)s::uuid
    RETURNING d.*
), lease AS (
    UPDATE webhook_lanes SET due_at = greatest(now(), not_before)
    WHERE tenant_id = %(tenant_id)s AND endpoint_id = (SELECT endpoint_id FROM again LIMIT 1)
)
SELECT {_COLUMNS} FROM again AS d
""")


def redeliver(connection: Connection, *, tenant_id: str, webhook_id: str, delivery_id: str) -> Delivery | None:
    """Send a delivery again now, with the same id and bytes.

    Returns None if there is no such delivery, or its endpoint is disabled.
    """
    parameters = {
        "tenant_id": tenant_id,
        "webhook_id": webhook_uuid(webhook_id),
        "id": _delivery_uuid(delivery_id),
    }
    row = connection.exec_driver_sql(_REDELIVER, parameters).first()
    return None if row is None else _delivery(row)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A filter for ended deliveries to send again."""

    since: datetime
    #: None: until now.
    until: datetime | None
    status: DeliveryStatus
    event_type: str | None


@dataclass(frozen=True, kw_only=True)
class Redelivered:
    """A batch of deliveries to send again."""

    count: int
    #: Where the next batch begins; None after an empty one.
    last: UUID | None


# Ids are ordered by creation time, so an index finds deliveries since a time; row comparisons as in a list.
def _redeliver_ended(*index: str) -> Statement:
    values = {"d.endpoint_id": "%(webhook_id)s::uuid", "d.status": "%(status)s", "d.event_type": "%(event_type)s"}
    columns, keys = ", ".join(index), ", ".join(values[name] for name in index)
    return Statement(f"""
WITH ended AS (
    SELECT d.id FROM webhook_deliveries AS d
    JOIN webhook_endpoints AS p ON p.tenant_id = d.tenant_id AND p.id = d.endpoint_id
    WHERE p.tenant_id = %(tenant_id)s AND p.status <> 'deleted' AND p.status <> 'disabled'
        AND ({columns}, d.id) >= ({keys}, %(first)s::uuid) AND ({columns}, d.id) < ({keys}, %(before)s::uuid)
        AND d.id >= %(first)s::uuid AND d.id < %(before)s::uuid
        AND d.created_at >= %(since)s AND (%(until)s::timestamptz IS NULL OR d.created_at < %(until)s::timestamptz)
    ORDER BY {columns}, d.id LIMIT %(limit)s FOR UPDATE OF d
), again AS (
    UPDATE webhook_deliveries AS d SET status = 'pending', failures = 0, due_at = now(), completed_at = NULL
    WHERE d.tenant_id = %(tenant_id)s AND d.id = ANY(ARRAY(SELECT id FROM ended))
        AND d.id >= %(first)s::uuid AND d.id < %(before)s::uuid AND d.status = %(status)s
    RETURNING d.endpoint_id
), lease AS (
    UPDATE webhook_lanes SET due_at = greatest(now(), not_before)
    WHERE tenant_id = %(tenant_id)s AND endpoint_id = (SELECT endpoint_id FROM again LIMIT 1)
)
SELECT (SELECT count(*) FROM again), (SELECT ended.id::text FROM ended ORDER BY ended.id DESC LIMIT 1)
""")


_REDELIVER_ENDED = _redeliver_ended("d.endpoint_id", "d.status")
_REDELIVER_ENDED_OF_TYPE = _redeliver_ended("d.endpoint_id", "d.status", "d.event_type")


def redeliver_ended(
    connection: Connection, *, tenant_id: str, webhook_id: str, ended: Ended, after: UUID | None, limit: int
) -> Redelivered:
    """Send ended deliveries again, at most `limit`, behind the delivery `after`, oldest first."""
    millisecond = ended.since.replace(microsecond=ended.since.microsecond // 1000 * 1000)
    parameters = {
        "tenant_id": tenant_id,
        "webhook_id": webhook_uuid(webhook_id),
        "since": ended.since,
        "until": ended.until,
        "status": ended.status.value,
        "event_type": ended.event_type,
        "first": str(ids.first_uuid(millisecond) if after is None else UUID(int=after.int + 1)),
        "before": _LAST_UUID if ended.until is None else str(ids.first_uuid(ended.until)),
        "limit": limit,
    }
    statement = _REDELIVER_ENDED if ended.event_type is None else _REDELIVER_ENDED_OF_TYPE
    count, last = connection.exec_driver_sql(statement, parameters).one()
    return Redelivered(count=count, last=None if last is None else UUID(last))


_READ_BODY = Statement("""
SELECT left(e.body, %(max_characters)s), octet_length(e.body) FROM webhook_deliveries AS d
JOIN webhook_endpoints AS p ON p.tenant_id = d.tenant_id AND p.id = d.endpoint_id
JOIN webhook_events AS e ON e.tenant_id = d.tenant_id AND e.id = d.event_id
WHERE d.tenant_id = %(tenant_id)s AND p.status <> 'deleted' AND p.id = %(webhook_id)s::uuid AND d.id = %(id)s::uuid
""")


def read_body(
    connection: Connection, *, tenant_id: str, webhook_id: str, delivery_id: str, max_characters: int
) -> DeliveryBody | None:
    """Return the first `max_characters` characters of a delivery's body; None if there is no such delivery."""
    parameters = {
        "tenant_id": tenant_id,
        "webhook_id": webhook_uuid(webhook_id),
        "id": _delivery_uuid(delivery_id),
        "max_characters": max_characters,
    }
    row = connection.exec_driver_sql(_READ_BODY, parameters).first()
    return None if row is None else DeliveryBody(text=row[0], bytes=row[1] or 0)


_INSERT_TEST = Statement(f"""
WITH event AS (
    INSERT INTO webhook_events (id, tenant_id, type, sequence, created_at, endpoint_id, body, fanned_out_at)
    VALUES (%(event_id)s::uuid, %(tenant_id)s, %(type)s, %(sequence)s, %(created_at)s, %(webhook_id)s::uuid, %(body)s,
            now())
    RETURNING id, n
), delivery AS (
    INSERT INTO webhook_deliveries (tenant_id, endpoint_id, event_id, event_type, n)
    SELECT %(tenant_id)s, %(webhook_id)s::uuid, id, %(type)s, n FROM event
    RETURNING *
), lease AS (
    UPDATE webhook_lanes SET due_at = greatest(now(), not_before)
    WHERE tenant_id = %(tenant_id)s AND endpoint_id = %(webhook_id)s::uuid
)
SELECT {_COLUMNS} FROM delivery AS d
""")


def insert_test(connection: Connection, *, webhook_id: str, event: Event, body: str) -> Delivery:
    """Insert a test event and its delivery to one endpoint. The caller has checked that it is the tenant's."""
    parameters = {
        "webhook_id": webhook_uuid(webhook_id),
        "event_id": str(ids.decode("evt", event.id)),
        "tenant_id": event.tenant_id,
        "type": event.type,
        "sequence": event.sequence,
        "created_at": event.created_at,
        "body": body,
    }
    return _delivery(connection.exec_driver_sql(_INSERT_TEST, parameters).one())


def _delivery_uuid(delivery_id: str) -> str | None:
    value = ids.decode("dlv", delivery_id)
    return None if value is None else str(value)
