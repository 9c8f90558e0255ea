"""List and redeliver the deliveries of a tenant's endpoints and notices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast
from uuid import UUID

from ava.domain import ids
from ava.domain.counts import MAX_IN_TOTAL, PageBounds
from ava.domain.delivery import SENT, Delivery
from ava.domain.webhooks.webhook_events import Event
from ava.store.delivery_table import DeliveryFilter, DeliveryTable
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.webhooks.endpoints import endpoint_uuid

SENT_TABLE = DeliveryTable(
    "webhook_deliveries",
    owner="d.endpoint_id",
    prefixes=("wh", "ntc"),
    leading=("d.endpoint_id",),
    statuses=SENT,
    columns={
        "direction": "'out'",
        # The events of notices have other names.
        "webhook_id": "CASE WHEN starts_with(d.event_type, 'ava.') THEN d.endpoint_id::text END",
        "notice_id": "CASE WHEN NOT starts_with(d.event_type, 'ava.') THEN d.endpoint_id::text END",
        "job_ids": "array_remove(ARRAY[d.job_id::text], NULL)",
        "reason": "d.history -> -1 ->> 'error'",
        "next_attempt_at": "d.due_at",
        "attempts_json": "d.history::text",
        "response_status": "(d.history -> -1 ->> 'status')::integer",
        # PostgreSQL knows the size of a stored value without reading it.
        "body_bytes": "octet_length(e.body)",
        **dict.fromkeys(("hook_id", "source_id", "duplicate_of", "replay_of", "address", "headers_json"), "NULL"),
    },
    joins="LEFT JOIN webhook_events AS e ON e.tenant_id = d.tenant_id AND e.id = d.event_id",
    body="e.body",
)
(_PAGE, _PAGE_OF_TYPE), (_COUNT, _COUNT_OF_TYPE) = SENT_TABLE.pages, SENT_TABLE.counts
_SHOW = SENT_TABLE.shown


_OF_JOB = Statement(f"""
SELECT {SENT_TABLE.columns} FROM webhook_deliveries AS d {SENT_TABLE.joins}
WHERE d.job_id = %(job_id)s::uuid AND d.tenant_id = %(tenant_id)s AND d.id < %(before)s::uuid
ORDER BY d.id DESC LIMIT %(limit)s OFFSET %(offset)s
""")
_COUNT_OF_JOB = Statement("""
SELECT count(*) FROM (
    SELECT 1 FROM webhook_deliveries WHERE job_id = %(job_id)s::uuid AND tenant_id = %(tenant_id)s LIMIT %(limit)s
) AS counted
""")


def of_job(connection: Connection, *, tenant_id: str, job_id: str, bounds: PageBounds) -> tuple[list[Delivery], int]:
    """Return deliveries about a job, newest first, without bodies, and their number up to `MAX_IN_TOTAL`."""
    given: dict[str, object] = {"tenant_id": tenant_id, "job_id": ids.to_uuid("job", job_id)}
    page = given | {"limit": bounds.limit, "offset": bounds.offset}
    page["before"] = ids.uuid_range("del", since=None, until=None, before_id=bounds.after_id)["before"]
    found = [SENT_TABLE.read(row) for row in connection.exec_driver_sql(_OF_JOB, page)]
    count = connection.exec_driver_sql(_COUNT_OF_JOB, given | {"limit": MAX_IN_TOTAL}).scalar_one()
    return found, int(count)


# A redelivery restarts the retry schedule and keeps the history. A pending delivery becomes due now and keeps its
# position in the schedule, because an active request may be about to count a failure. Its `due_at` always changes, so
# that the outcome of an active request does not end it (`outcomes.record`).
_REDELIVER = Statement(f"""
WITH again AS (
    UPDATE webhook_deliveries AS d SET status = 'pending', due_at = least(d.due_at, now()) - interval '1 us',
        completed_at = NULL,
        failures = CASE WHEN d.status = 'pending' THEN d.failures ELSE 0 END
    FROM webhook_endpoints AS p
    WHERE d.endpoint_id = p.id AND p.tenant_id = %(tenant_id)s AND p.id = %(owner_id)s::uuid
        AND p.status <> 'deleted' AND p.paused_at IS NULL AND d.tenant_id = %(tenant_id)s AND d.id = %(id)s::uuid
    RETURNING d.*
), lease AS (
    UPDATE webhook_lanes SET due_at = greatest(now(), not_before)
    WHERE tenant_id = %(tenant_id)s AND endpoint_id = (SELECT endpoint_id FROM again LIMIT 1)
)
SELECT {SENT_TABLE.columns} FROM again AS d {SENT_TABLE.joins}
""")


def redeliver(connection: Connection, *, tenant_id: str, endpoint_id: str, delivery_id: str) -> Delivery | None:
    """Send a delivery again now, with the same id and bytes.

    Returns None if there is no such delivery, or its endpoint is paused.
    """
    parameters = SENT_TABLE.one(tenant_id, endpoint_id, delivery_id)
    row = connection.exec_driver_sql(_REDELIVER, parameters).first()
    return None if row is None else SENT_TABLE.read(row)


@dataclass(frozen=True, kw_only=True)
class Redelivered:
    """A batch of deliveries to send again."""

    count: int
    #: Where the next batch begins; None after an empty one.
    last: UUID | None


# Ids are ordered by creation time, so an index finds deliveries since a time; row comparisons as in a list.
def _redeliver_many(*index: str) -> Statement:
    values = {"d.endpoint_id": "%(owner_id)s::uuid", "d.status": "%(status)s", "d.event_type": "%(event_type)s"}
    columns, keys = ", ".join(index), ", ".join(values[name] for name in index)
    return Statement(f"""
WITH ended AS (
    SELECT d.id FROM webhook_deliveries AS d
    JOIN webhook_endpoints AS p ON p.tenant_id = d.tenant_id AND p.id = d.endpoint_id
    WHERE p.tenant_id = %(tenant_id)s AND p.status <> 'deleted' AND p.paused_at IS NULL
        AND ({columns}, d.id) >= ({keys}, %(first)s::uuid) AND ({columns}, d.id) < ({keys}, %(before)s::uuid)
        AND d.id >= %(first)s::uuid AND d.id < %(before)s::uuid
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


_REDELIVER_MANY = _redeliver_many("d.endpoint_id", "d.status")
_REDELIVER_MANY_OF_TYPE = _redeliver_many("d.endpoint_id", "d.status", "d.event_type")


def redeliver_many(
    connection: Connection,
    *,
    tenant_id: str,
    endpoint_id: str,
    delivery_filter: DeliveryFilter,
    after: UUID | None,
    limit: int,
) -> Redelivered:
    """Send ended deliveries of one status again, at most `limit`, behind the delivery `after`, oldest first."""
    parameters = SENT_TABLE.parameters(tenant_id, endpoint_id, delivery_filter)
    (parameters["status"],) = cast(list[str], parameters.pop("statuses"))
    if after is not None:
        parameters["first"] = str(UUID(int=after.int + 1))
    statement = _REDELIVER_MANY if delivery_filter.event_type is None else _REDELIVER_MANY_OF_TYPE
    count, last = connection.exec_driver_sql(statement, parameters | {"limit": limit}).one()
    return Redelivered(count=count, last=None if last is None else UUID(last))


_INSERT_TEST = Statement(f"""
WITH event AS (
    INSERT INTO webhook_events (id, tenant_id, type, sequence, created_at, endpoint_id, body, fanned_out_at)
    VALUES (%(event_id)s::uuid, %(tenant_id)s, %(type)s, %(sequence)s, %(created_at)s, %(endpoint_id)s::uuid, %(body)s,
            now())
    RETURNING id, n, body
), delivery AS (
    INSERT INTO webhook_deliveries (tenant_id, endpoint_id, event_id, event_type, n)
    SELECT %(tenant_id)s, %(endpoint_id)s::uuid, id, %(type)s, n FROM event
    RETURNING *
), lease AS (
    UPDATE webhook_lanes SET due_at = greatest(now(), not_before)
    WHERE tenant_id = %(tenant_id)s AND endpoint_id = %(endpoint_id)s::uuid
)
SELECT {SENT_TABLE.columns} FROM delivery AS d LEFT JOIN event AS e ON e.id = d.event_id
""")


def insert_test(connection: Connection, *, endpoint_id: str, event: Event, body: str) -> Delivery:
    """Insert a test event and its delivery to one endpoint. The caller has checked that it is the tenant's."""
    parameters = {
        "endpoint_id": endpoint_uuid(endpoint_id),
        "event_id": str(ids.decode("evt", event.id)),
        "tenant_id": event.tenant_id,
        "type": event.type,
        "sequence": event.sequence,
        "created_at": event.created_at,
        "body": body,
    }
    return SENT_TABLE.read(connection.exec_driver_sql(_INSERT_TEST, parameters).one())
