"""Deliveries: the requests that hooks have received, their deduplication keys, results and retention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from ava.domain import ids
from ava.domain.delivery import RECEIVED, REPLAYABLE, Delivery, DeliveryStatus
from ava.store.delivery_table import DeliveryFilter, DeliveryTable, delivery_uuid
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows, parameters_of
from ava.store.engine.statement import IN_ORDER, Deletion, Statement
from ava.store.events.hooks import hook_uuid
from ava.store.partitions import delete_rows, deletes

# The jobs of an event are stored with it; the job of a hook with a worker is stored with the delivery.
RECEIVED_TABLE = DeliveryTable(
    "hook_deliveries",
    owner="d.hook_id",
    prefixes=("hk",),
    leading=("d.tenant_id", "d.hook_id"),
    statuses=RECEIVED,
    columns={
        "direction": "'in'",
        "job_ids": "coalesce(e.job_ids, d.job_ids)::text[]",
        **dict.fromkeys(("webhook_id", "notice_id", "completed_at", "next_attempt_at", "attempts_json"), "NULL"),
    },
    joins="LEFT JOIN events AS e ON e.tenant_id = d.tenant_id AND e.id = d.event_id",
    body="d.body",
)
(_PAGE, _PAGE_OF_TYPE), (_COUNT, _COUNT_OF_TYPE) = RECEIVED_TABLE.pages, RECEIVED_TABLE.counts
_SHOW = RECEIVED_TABLE.shown


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A request to a hook, before it is stored."""

    tenant_id: str
    hook_id: str
    event_type: str | None
    source_id: str | None
    address: str
    headers_json: str
    query_json: str
    #: None: too large to read.
    body: bytes | None
    #: Size of the whole body.
    body_bytes: int
    #: The replayed delivery; None unless this is a replay.
    replay_of: str | None = None


_DELIVERY_ID = {"prefix": "del"}


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """The stored delivery."""

    delivery_id: str = field(metadata=_DELIVERY_ID)
    created_at: datetime
    #: The earlier delivery that it duplicates; None if it is the first.
    duplicate_of: str | None = field(metadata=_DELIVERY_ID)
    #: The UUID reserved for its job, and the id reserved for its event; None if it creates none.
    job_uuid: str | None
    event_id: str | None = field(metadata={"prefix": "evt"})
    #: The version of the tenant's subscriptions; None if the tenant never had any.
    version: int | None
    #: Whether there is an active containment that may cover what it creates.
    may_be_contained: bool


_ARRIVED_ROWS = RecordRows(
    Arrived,
    "d",
    columns={
        "delivery_id": "d.id::text",
        "job_uuid": "d.job_ids[1]::text",
        "version": "(SELECT v.version FROM subscription_versions AS v WHERE v.tenant_id = %(tenant_id)s)",
        "may_be_contained": """EXISTS (
            SELECT FROM contained_scopes AS c WHERE c.tenant_id IN (%(tenant_id)s, '*'))""",
    },
)
# One statement, because every delivery pays for it. A concurrent transaction with an equal digest waits for this one.
_ACCEPT = Statement(f"""
WITH own AS (SELECT ava_uuid7() AS id OFFSET 0), known AS (
    INSERT INTO received_keys AS k (tenant_id, hook_id, digest, first_id, until)
    SELECT %(tenant_id)s, %(hook_id)s::uuid, g.digest, own.id, now() + g.seconds * interval '1 second'
    FROM own CROSS JOIN unnest(%(digests)s::bytea[], %(seconds)s::float8[]) AS g (digest, seconds) ORDER BY g.digest
    ON CONFLICT (tenant_id, hook_id, digest) DO UPDATE SET
        first_id = CASE WHEN k.until > now() THEN k.first_id ELSE excluded.first_id END,
        until = CASE WHEN k.until > now() THEN k.until ELSE excluded.until END
    RETURNING first_id
), earlier AS (
    SELECT known.first_id AS id FROM known, own WHERE known.first_id <> own.id ORDER BY known.first_id LIMIT 1
)
INSERT INTO hook_deliveries AS d (tenant_id, id, hook_id, status, response_status, reason, event_id, event_type,
    source_id, job_ids, duplicate_of, replay_of, address, headers, query, body, body_bytes)
SELECT %(tenant_id)s, own.id, %(hook_id)s::uuid,
    CASE WHEN earlier.id IS NOT NULL THEN 'duplicate' WHEN %(skipped)s::text IS NULL THEN 'accepted' ELSE 'skipped' END,
    %(response_status)s, CASE WHEN earlier.id IS NULL THEN %(skipped)s::text END,
    CASE WHEN earlier.id IS NULL AND %(makes_event)s THEN ava_uuid7() END, %(event_type)s, %(source_id)s,
    CASE WHEN earlier.id IS NULL AND %(makes_job)s THEN ARRAY[ava_uuid7()] ELSE '{{}}' END, earlier.id,
    %(replay_of)s::uuid, %(address)s, %(headers)s::json, %(query)s::json, %(body)s, %(body_bytes)s
FROM own LEFT JOIN earlier ON true
RETURNING {_ARRIVED_ROWS.columns}
""")


def accept(
    connection: Connection,
    arrival: Arrival,
    *,
    response_status: int,
    keys: Sequence[tuple[bytes, float]],
    makes_job: bool,
    makes_event: bool,
    skipped: str | None,
) -> Arrived:
    """Store a verified request, in the transaction that creates its event and jobs.

    `keys`: its deduplication keys, each with its validity in seconds, in ascending order. `skipped`: why it creates
    nothing, unless it is a duplicate; None: it is processed.
    """
    parameters = _parameters(arrival) | {
        "response_status": response_status,
        "digests": [digest for digest, _ in keys],
        "seconds": [seconds for _, seconds in keys],
        "makes_job": makes_job,
        "makes_event": makes_event,
        "skipped": skipped,
    }
    return _ARRIVED_ROWS.read(connection.exec_driver_sql(_ACCEPT, parameters).one())


def _parameters(arrival: Arrival) -> dict[str, Any]:
    replay_of = None if arrival.replay_of is None else delivery_uuid(arrival.replay_of)
    return parameters_of(Arrival, arrival) | {"hook_id": hook_uuid(arrival.hook_id), "replay_of": replay_of}


_REFUSE = Statement("""
INSERT INTO hook_deliveries AS d (tenant_id, hook_id, status, response_status, reason, event_type, source_id,
                                  replay_of, address, headers, query, body, body_bytes)
VALUES (%(tenant_id)s, %(hook_id)s::uuid, 'refused', %(response_status)s, %(reason)s, %(event_type)s, %(source_id)s,
        %(replay_of)s::uuid, %(address)s, %(headers)s::json, %(query)s::json, %(body)s, %(body_bytes)s)
RETURNING d.id::text
""")


def refuse(connection: Connection, arrival: Arrival, *, response_status: int, reason: str) -> str:
    """Store a refused request, so that it can be inspected and replayed. Returns the delivery's id."""
    parameters = _parameters(arrival) | {"response_status": response_status, "reason": reason}
    return ids.encode("del", connection.exec_driver_sql(_REFUSE, parameters).scalar_one())


_MAKE_NOTHING = Statement("""
UPDATE hook_deliveries AS d SET status = %(status)s, response_status = %(response_status)s, reason = %(reason)s,
    job_ids = '{}', event_id = NULL
WHERE d.tenant_id = %(tenant_id)s AND d.id = %(id)s::uuid
""")
_FORGET_KEYS = Statement("""
DELETE FROM received_keys AS k WHERE k.tenant_id = %(tenant_id)s AND k.hook_id = %(hook_id)s::uuid
    AND k.digest = ANY(%(digests)s::bytea[]) AND k.first_id = %(id)s::uuid
""")


def make_nothing(
    connection: Connection,
    *,
    tenant_id: str,
    hook_id: str,
    delivery_id: str,
    response_status: int,
    reason: str,
    digests: Sequence[bytes],
    status: DeliveryStatus = DeliveryStatus.REFUSED,
) -> None:
    """Refuse or skip a delivery in the transaction that stored it, because it creates nothing; delete its keys."""
    parameters = {
        "tenant_id": tenant_id,
        "hook_id": hook_uuid(hook_id),
        "id": delivery_uuid(delivery_id),
        "response_status": response_status,
        "reason": reason,
        "digests": list(digests),
        "status": status.value,
    }
    connection.exec_driver_sql(_MAKE_NOTHING, parameters)
    if digests:
        connection.exec_driver_sql(_FORGET_KEYS, parameters)


def _sum(*, has_type: bool) -> Statement:
    ranges = RECEIVED_TABLE.ranges(has_type=has_type, columns="d.id, d.body_bytes")
    return Statement(f"""{IN_ORDER}
SELECT count(*), coalesce(sum(body_bytes), 0)::bigint FROM (
    SELECT found.body_bytes FROM {ranges} LIMIT %(limit)s
) AS counted
""")


_SUM, _SUM_OF_TYPE = _sum(has_type=False), _sum(has_type=True)


def sum_of(
    connection: Connection, *, tenant_id: str, hook_id: str, delivery_filter: DeliveryFilter, limit: int
) -> tuple[int, int]:
    """Return the number of a hook's replayable deliveries and the total size of their bodies, up to `limit`."""
    parameters = _replayable(tenant_id, hook_id, delivery_filter) | {"limit": limit}
    statement = _SUM if delivery_filter.event_type is None else _SUM_OF_TYPE
    found, size = connection.exec_driver_sql(statement, parameters).one()
    return found, size


@dataclass(frozen=True, kw_only=True)
class StoredRequest:
    """A delivery with the data for a replay."""

    delivery: Delivery
    #: The raw bytes; None if too large to be read.
    body: bytes | None
    query_json: str


_REQUEST = f"{RECEIVED_TABLE.columns}, d.body, d.query::text"


def _read_requests(*, has_type: bool) -> Statement:
    return Statement(f"""{IN_ORDER}
SELECT {_REQUEST} FROM (
    SELECT found.id FROM {RECEIVED_TABLE.ranges(has_type=has_type, order="ASC")} ORDER BY found.id LIMIT %(limit)s
) AS asked CROSS JOIN LATERAL (
    SELECT * FROM hook_deliveries WHERE tenant_id = %(tenant_id)s AND id = asked.id LIMIT 1
) AS d {RECEIVED_TABLE.joins} ORDER BY d.id
""")


_READ_REQUESTS, _READ_REQUESTS_OF_TYPE = _read_requests(has_type=False), _read_requests(has_type=True)
_READ_REQUEST = Statement(f"""
SELECT {_REQUEST} FROM hook_deliveries AS d {RECEIVED_TABLE.joins} WHERE {RECEIVED_TABLE.is_one}
""")


def read_requests(
    connection: Connection,
    *,
    tenant_id: str,
    hook_id: str,
    delivery_filter: DeliveryFilter,
    limit: int,
    after_id: str | None = None,
) -> list[StoredRequest]:
    """Return complete replayable deliveries, oldest first, behind `after_id`."""
    parameters = _replayable(tenant_id, hook_id, delivery_filter) | {"limit": limit}
    if after_id is not None and (after := ids.decode("del", after_id)) is not None:
        parameters["first"] = str(UUID(int=after.int + 1))
    statement = _READ_REQUESTS if delivery_filter.event_type is None else _READ_REQUESTS_OF_TYPE
    return [_request(row) for row in connection.exec_driver_sql(statement, parameters)]


def read_request(connection: Connection, *, tenant_id: str, hook_id: str, delivery_id: str) -> StoredRequest | None:
    """Return one complete delivery; None if there is none."""
    parameters = RECEIVED_TABLE.one(tenant_id, hook_id, delivery_id)
    row = connection.exec_driver_sql(_READ_REQUEST, parameters).first()
    return None if row is None else _request(row)


def _replayable(tenant_id: str, hook_id: str, wanted: DeliveryFilter) -> dict[str, object]:
    statuses = [each.value for each in REPLAYABLE if wanted.status in (None, each)]
    return RECEIVED_TABLE.parameters(tenant_id, hook_id, wanted) | {"statuses": statuses}


def _request(row: Sequence[Any]) -> StoredRequest:
    body, query_json = RECEIVED_TABLE.rest(row)
    return StoredRequest(
        delivery=RECEIVED_TABLE.read(row), body=None if body is None else bytes(body), query_json=query_json
    )


_DELETE_EVENTS = deletes("events")
_DELETE_FIRST_EVENTS = deletes("events_first")
_DELETE_EVENTS_OF_REST = deletes("events_rest")
_DELETE_DELIVERIES = deletes("hook_deliveries")
_DELETE_FIRST_DELIVERIES = deletes("hook_deliveries_first")
_DELETE_DELIVERIES_OF_REST = deletes("hook_deliveries_rest")
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
    return delete_rows(connection, table, _DELETE_FROM, retention_days=retention_days, limit=limit)


#: Deletes expired deduplication keys of events and deliveries.
delete_keys = Deletion("received_keys", "until < now()", order="until")
