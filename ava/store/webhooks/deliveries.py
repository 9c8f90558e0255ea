"""Deliveries, as the tenants of their endpoints see them and have them sent again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ava.domain import ids
from ava.domain.events import Event
from ava.domain.paging import MOST_IN_TOTAL
from ava.domain.webhook import Delivery, DeliveryStatus
from ava.store.engine.database import Connection
from ava.store.webhooks.endpoints import webhook_uuid

__all__ = ["DeliveryFilter", "count", "insert_test", "page", "redeliver", "redeliver_failed"]

_COLUMNS = (
    "d.id::text, d.endpoint_id::text, d.event_id::text, d.event_type, d.job_id::text, d.status, d.created_at, "
    "d.completed_at, d.due_at, d.history::text"
)
_MINE = "p.tenant_id = %(tenant_id)s AND p.status <> 'deleted' AND p.id = %(webhook_id)s::uuid"


@dataclass(frozen=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries of an endpoint; None means any."""

    status: DeliveryStatus | None = None
    event_type: str | None = None


# As with jobs, a list is a handful of index ranges, one for each status.
_RANGES = f"""
    webhook_endpoints AS p CROSS JOIN unnest(%(statuses)s::text[]) AS s (status) CROSS JOIN LATERAL (
        SELECT {{columns}} FROM webhook_deliveries AS d
        WHERE d.endpoint_id = p.id AND d.status = s.status AND {{conditions}}
        ORDER BY d.id DESC LIMIT %(limit)s
    ) AS found
    WHERE {_MINE}
"""


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
    """Deliveries to an endpoint of a tenant, newest first."""
    parameters, conditions = _bounds(tenant_id, webhook_id, delivery_filter)
    parameters |= {"limit": limit + offset, "offset": offset, "page": limit}
    if before_id is not None:
        conditions += " AND d.id < %(before_id)s::uuid"
        parameters["before_id"] = _delivery_uuid(before_id)
    ranges = _RANGES.format(columns="d.id", conditions=conditions)
    statement = (
        f"SELECT {_COLUMNS} FROM (SELECT found.id FROM {ranges} ORDER BY found.id DESC LIMIT %(page)s "
        "OFFSET %(offset)s) AS asked JOIN webhook_deliveries AS d ON d.id = asked.id ORDER BY d.id DESC"
    )
    return [_delivery(row) for row in connection.exec_driver_sql(statement, parameters)]


def count(connection: Connection, *, tenant_id: str, webhook_id: str, delivery_filter: DeliveryFilter) -> int:
    """How many deliveries a filter finds, exact up to `MOST_IN_TOTAL`."""
    parameters, conditions = _bounds(tenant_id, webhook_id, delivery_filter)
    parameters["limit"] = MOST_IN_TOTAL
    ranges = _RANGES.format(columns="d.id", conditions=conditions)
    statement = f"SELECT count(*) FROM (SELECT 1 FROM {ranges} LIMIT %(limit)s) AS counted"
    return int(connection.exec_driver_sql(statement, parameters).scalar_one())


def _bounds(tenant_id: str, webhook_id: str, delivery_filter: DeliveryFilter) -> tuple[dict[str, object], str]:
    statuses = [s.value for s in DeliveryStatus if delivery_filter.status in (None, s)]
    parameters: dict[str, object] = {
        "tenant_id": tenant_id,
        "webhook_id": webhook_uuid(webhook_id),
        "statuses": statuses,
        "event_type": delivery_filter.event_type,
    }
    return parameters, "(%(event_type)s::text IS NULL OR d.event_type = %(event_type)s)"


# A new ladder, with the history of the old one. Final ones only: a pending one is on its way as it is.
_AGAIN = f"""
WITH again AS (
    UPDATE webhook_deliveries AS d SET status = 'pending', failures = 0, due_at = now(), completed_at = NULL
    FROM webhook_endpoints AS p
    WHERE d.endpoint_id = p.id AND {_MINE} AND p.status <> 'disabled' AND {{which}}
    RETURNING d.*
), lane AS (
    UPDATE webhook_lanes SET due_at = greatest(now(), not_before)
    WHERE endpoint_id = (SELECT endpoint_id FROM again LIMIT 1)
)
"""
_REDELIVER = _AGAIN.format(which="d.id = %(id)s::uuid AND d.status <> 'pending'") + f"SELECT {_COLUMNS} FROM again AS d"
_REDELIVER_FAILED = (
    _AGAIN.format(which="d.status = 'abandoned' AND d.created_at >= %(since)s") + "SELECT count(*) FROM again"
)


def redeliver(connection: Connection, *, tenant_id: str, webhook_id: str, delivery_id: str) -> Delivery | None:
    """Send one again, same id and bytes, or leave it on its way; None where there is none such, or it is disabled."""
    parameters = {
        "tenant_id": tenant_id,
        "webhook_id": webhook_uuid(webhook_id),
        "id": _delivery_uuid(delivery_id),
    }
    row = connection.exec_driver_sql(_REDELIVER, parameters).first()
    if row is None:
        statement = (
            f"SELECT {_COLUMNS} FROM webhook_deliveries AS d JOIN webhook_endpoints AS p ON p.id = d.endpoint_id "
            f"WHERE {_MINE} AND d.id = %(id)s::uuid AND d.status = 'pending'"
        )
        row = connection.exec_driver_sql(statement, parameters).first()
    return None if row is None else _delivery(row)


def redeliver_failed(connection: Connection, *, tenant_id: str, webhook_id: str, since: datetime) -> int:
    """Send all again that were abandoned and made since a moment; how many."""
    parameters = {"tenant_id": tenant_id, "webhook_id": webhook_uuid(webhook_id), "since": since}
    return int(connection.exec_driver_sql(_REDELIVER_FAILED, parameters).scalar_one())


_INSERT_TEST = f"""
WITH event AS (
    INSERT INTO webhook_events (id, tenant_id, type, sequence, created_at, endpoint_id, body, fanned_out_at)
    VALUES (%(event_id)s::uuid, %(tenant_id)s, %(type)s, %(sequence)s, %(created_at)s, %(webhook_id)s::uuid, %(body)s,
            now())
    RETURNING id, n
), delivery AS (
    INSERT INTO webhook_deliveries (endpoint_id, event_id, event_type, n)
    SELECT %(webhook_id)s::uuid, id, %(type)s, n FROM event
    RETURNING *
), lane AS (
    UPDATE webhook_lanes SET due_at = greatest(now(), not_before) WHERE endpoint_id = %(webhook_id)s::uuid
)
SELECT {_COLUMNS} FROM delivery AS d
"""


def insert_test(connection: Connection, *, webhook_id: str, event: Event, body: str) -> Delivery:
    """Write a test event and its delivery to one endpoint, which the caller has made sure is the tenant's."""
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


def _delivery(row: Any) -> Delivery:
    id_, webhook, event, event_type, job, status, created_at, completed_at, due_at, history = row
    return Delivery(
        id=ids.encode("dlv", id_),
        webhook_id=ids.encode("wh", webhook),
        event_id=ids.encode("evt", event),
        event_type=event_type,
        job_id=None if job is None else ids.encode("job", job),
        status=DeliveryStatus(status),
        created_at=created_at,
        completed_at=completed_at,
        next_attempt_at=due_at,
        attempts_json=history,
    )
