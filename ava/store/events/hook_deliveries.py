"""Deliveries: the requests that hooks have received, their deduplication keys, and their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ava.domain import ids
from ava.domain.counts import MAX_IN_TOTAL
from ava.domain.events.hook import HookDelivery, HookVerdict
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.events.hooks import hook_uuid

_FIRST_UUID = "00000000-0000-0000-0000-000000000000"
_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

# The jobs of an event are stored with it; the job of a hook with a worker is stored with the delivery.
_ROWS = RecordRows(HookDelivery, "d", columns={"job_ids": "coalesce(e.job_ids, d.job_ids)::text[]"}, without=("body",))
_COLUMNS = _ROWS.columns
_EVENT = "LEFT JOIN events AS e ON e.tenant_id = d.tenant_id AND e.id = d.event_id"


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


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """The stored delivery."""

    delivery_id: str
    created_at: datetime
    #: The earlier delivery that it duplicates; None if it is the first.
    duplicate_of: str | None
    #: The UUID reserved for its job, and the id reserved for its event; None if it creates none.
    job_uuid: str | None
    event_id: str | None
    #: The version of the tenant's subscriptions; None if the tenant never had any.
    version: int | None


# One statement, because every delivery pays for it. A concurrent transaction with an equal digest waits for this one.
_ACCEPT = Statement("""
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
INSERT INTO hook_deliveries AS d (tenant_id, id, hook_id, verdict, status, event_id, event_type, source_id, job_ids,
                                  duplicate_of, replay_of, address, headers, query, body, body_bytes)
SELECT %(tenant_id)s, own.id, %(hook_id)s::uuid, CASE WHEN earlier.id IS NULL THEN 'accepted' ELSE 'duplicate' END,
    %(status)s, CASE WHEN earlier.id IS NULL AND %(makes_event)s THEN ava_uuid7() END, %(event_type)s, %(source_id)s,
    CASE WHEN earlier.id IS NULL AND %(makes_job)s THEN ARRAY[ava_uuid7()] ELSE '{}' END, earlier.id,
    %(replay_of)s::uuid, %(address)s, %(headers)s::json, %(query)s::json, %(body)s, %(body_bytes)s
FROM own LEFT JOIN earlier ON true
RETURNING d.id::text, d.created_at, d.duplicate_of::text, d.job_ids::text[], d.event_id::text,
    (SELECT v.version FROM subscription_versions AS v WHERE v.tenant_id = %(tenant_id)s)
""")


def accept(
    connection: Connection,
    arrival: Arrival,
    *,
    status: int,
    keys: Sequence[tuple[bytes, float]],
    makes_job: bool,
    makes_event: bool,
) -> Arrived:
    """Store a verified request, in the transaction that creates its event and jobs.

    `keys`: its deduplication keys, each with its validity in seconds, in ascending order.
    """
    parameters = _parameters(arrival) | {
        "status": status,
        "digests": [digest for digest, _ in keys],
        "seconds": [seconds for _, seconds in keys],
        "makes_job": makes_job,
        "makes_event": makes_event,
    }
    row = connection.exec_driver_sql(_ACCEPT, parameters).one()
    id_, created_at, duplicate_of, job_uuids, event_id, version = row
    return Arrived(
        delivery_id=ids.encode("del", id_),
        created_at=created_at,
        duplicate_of=None if duplicate_of is None else ids.encode("del", duplicate_of),
        job_uuid=job_uuids[0] if job_uuids else None,
        event_id=None if event_id is None else ids.encode("evt", event_id),
        version=version,
    )


def _parameters(arrival: Arrival) -> dict[str, Any]:
    return {
        "tenant_id": arrival.tenant_id,
        "hook_id": hook_uuid(arrival.hook_id),
        "event_type": arrival.event_type,
        "source_id": arrival.source_id,
        "replay_of": None if arrival.replay_of is None else delivery_uuid(arrival.replay_of),
        "address": arrival.address,
        "headers": arrival.headers_json,
        "query": arrival.query_json,
        "body": arrival.body,
        "body_bytes": arrival.body_bytes,
    }


_REFUSE = Statement("""
INSERT INTO hook_deliveries AS d (tenant_id, hook_id, verdict, status, reason, event_type, source_id, replay_of,
                                  address, headers, query, body, body_bytes)
VALUES (%(tenant_id)s, %(hook_id)s::uuid, 'refused', %(status)s, %(reason)s, %(event_type)s, %(source_id)s,
        %(replay_of)s::uuid, %(address)s, %(headers)s::json, %(query)s::json, %(body)s, %(body_bytes)s)
RETURNING d.id::text
""")


def refuse(connection: Connection, arrival: Arrival, *, status: int, reason: str) -> str:
    """Store a refused request, so that it can be inspected and replayed. Returns the delivery's id."""
    parameters = _parameters(arrival) | {"status": status, "reason": reason}
    return ids.encode("del", connection.exec_driver_sql(_REFUSE, parameters).scalar_one())


_MAKE_NOTHING = Statement("""
UPDATE hook_deliveries AS d SET verdict = 'refused', status = %(status)s, reason = %(reason)s, job_ids = '{}'
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
    status: int,
    reason: str,
    digests: Sequence[bytes],
) -> None:
    """Refuse a delivery in the transaction that stored it, because it cannot create a job; delete its keys."""
    parameters = {
        "tenant_id": tenant_id,
        "hook_id": hook_uuid(hook_id),
        "id": delivery_uuid(delivery_id),
        "status": status,
        "reason": reason,
        "digests": list(digests),
    }
    connection.exec_driver_sql(_MAKE_NOTHING, parameters)
    if digests:
        connection.exec_driver_sql(_FORGET_KEYS, parameters)


@dataclass(frozen=True, kw_only=True)
class HookDeliveryFilter:
    """A filter for deliveries of a hook; None means any."""

    verdict: HookVerdict | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


def _range(*index: str) -> str:
    values = {"d.tenant_id": "%(tenant_id)s", "d.hook_id": "%(hook_id)s::uuid", "d.verdict": "%(verdict)s"}
    columns, keys = ", ".join(index), ", ".join(values[name] for name in index)
    return f"""d.tenant_id = %(tenant_id)s AND ({columns}, d.id) >= ({keys}, %(first)s::uuid)
    AND ({columns}, d.id) < ({keys}, %(before)s::uuid) AND d.id >= %(first)s::uuid AND d.id < %(before)s::uuid"""


_ALL = ("d.tenant_id", "d.hook_id")
_OF_VERDICT = (*_ALL, "d.verdict")


def _page(*index: str) -> Statement:
    order = ", ".join(f"{name} DESC" for name in index)
    return Statement(f"""
SELECT {_COLUMNS}, CASE WHEN d.body_bytes <= %(max_body)s THEN d.body END
FROM (SELECT d.* FROM hook_deliveries AS d WHERE {_range(*index)}
      ORDER BY {order}, d.id DESC LIMIT %(limit)s OFFSET %(offset)s) AS d {_EVENT}
WHERE d.tenant_id = %(tenant_id)s ORDER BY d.id DESC
""")


def _count(*index: str) -> Statement:
    return Statement(f"""
SELECT count(*), coalesce(sum(body_bytes), 0)::bigint
FROM (SELECT d.body_bytes FROM hook_deliveries AS d WHERE {_range(*index)} LIMIT %(limit)s) AS counted
""")


_PAGE, _COUNT = _page(*_ALL), _count(*_ALL)
_PAGE_OF_VERDICT, _COUNT_OF_VERDICT = _page(*_OF_VERDICT), _count(*_OF_VERDICT)


def page(
    connection: Connection,
    *,
    tenant_id: str,
    hook_id: str,
    delivery_filter: HookDeliveryFilter,
    limit: int,
    offset: int = 0,
    before_id: str | None = None,
    max_body: int,
) -> list[HookDelivery]:
    """Return deliveries of a hook, newest first, without bodies of more than `max_body` bytes."""
    parameters = _filter_parameters(tenant_id, hook_id, delivery_filter, before_id)
    parameters |= {"limit": limit, "offset": offset, "max_body": max_body}
    statement = _PAGE if delivery_filter.verdict is None else _PAGE_OF_VERDICT
    return [_delivery(row) for row in connection.exec_driver_sql(statement, parameters)]


def count(connection: Connection, *, tenant_id: str, hook_id: str, delivery_filter: HookDeliveryFilter) -> int:
    """Return the number of a hook's matching deliveries, exact up to `MAX_IN_TOTAL`."""
    return sum_of(connection, tenant_id=tenant_id, hook_id=hook_id, delivery_filter=delivery_filter)[0]


def sum_of(
    connection: Connection,
    *,
    tenant_id: str,
    hook_id: str,
    delivery_filter: HookDeliveryFilter,
    limit: int = MAX_IN_TOTAL,
) -> tuple[int, int]:
    """Return the number of a hook's matching deliveries and the total size of their bodies, up to `limit`."""
    parameters = _filter_parameters(tenant_id, hook_id, delivery_filter, None) | {"limit": limit}
    statement = _COUNT if delivery_filter.verdict is None else _COUNT_OF_VERDICT
    found, size = connection.exec_driver_sql(statement, parameters).one()
    return found, size


def _filter_parameters(
    tenant_id: str, hook_id: str, wanted: HookDeliveryFilter, before_id: str | None
) -> dict[str, object]:
    before = None if before_id is None else delivery_uuid(before_id)
    if wanted.created_before is not None:
        bound = str(ids.first_uuid(wanted.created_before))
        before = bound if before is None else min(before, bound)
    after = wanted.created_after
    return {
        "tenant_id": tenant_id,
        "hook_id": hook_uuid(hook_id),
        "verdict": None if wanted.verdict is None else wanted.verdict.value,
        "first": _FIRST_UUID if after is None else str(ids.first_uuid(after)),
        "before": before or _LAST_UUID,
    }


_SHOW = Statement(f"""
SELECT {_COLUMNS}, d.body FROM hook_deliveries AS d {_EVENT}
WHERE d.tenant_id = %(tenant_id)s AND d.hook_id = %(hook_id)s::uuid AND d.id = %(id)s::uuid
""")


def show(connection: Connection, *, tenant_id: str, hook_id: str, delivery_id: str) -> HookDelivery | None:
    """Return one delivery of a hook with its whole body; None if there is none."""
    parameters = {"tenant_id": tenant_id, "hook_id": hook_uuid(hook_id), "id": delivery_uuid(delivery_id)}
    row = connection.exec_driver_sql(_SHOW, parameters).first()
    return None if row is None else _delivery(row)


@dataclass(frozen=True, kw_only=True)
class StoredRequest:
    """A delivery with the data for a replay."""

    delivery: HookDelivery
    query_json: str


def _read_requests(*index: str) -> Statement:
    return Statement(f"""
SELECT {_COLUMNS}, d.body, d.query::text FROM hook_deliveries AS d {_EVENT}
WHERE {_range(*index)} ORDER BY {", ".join(index)}, d.id LIMIT %(limit)s
""")


_READ_REQUESTS = _read_requests(*_ALL)
_READ_REQUESTS_OF_VERDICT = _read_requests(*_OF_VERDICT)
_READ_REQUEST = Statement(f"""
SELECT {_COLUMNS}, d.body, d.query::text FROM hook_deliveries AS d {_EVENT}
WHERE d.tenant_id = %(tenant_id)s AND d.hook_id = %(hook_id)s::uuid AND d.id = %(id)s::uuid
""")


def read_requests(
    connection: Connection,
    *,
    tenant_id: str,
    hook_id: str,
    delivery_filter: HookDeliveryFilter,
    limit: int,
    after_id: str | None = None,
    delivery_id: str | None = None,
) -> list[StoredRequest]:
    """Return complete deliveries, oldest first, behind `after_id`; or only the one with `delivery_id`."""
    parameters = _filter_parameters(tenant_id, hook_id, delivery_filter, None) | {"limit": limit}
    if after_id is not None:
        after = ids.decode("del", after_id)
        parameters["first"] = _FIRST_UUID if after is None else str(type(after)(int=after.int + 1))
    statement = _READ_REQUESTS if delivery_filter.verdict is None else _READ_REQUESTS_OF_VERDICT
    if delivery_id is not None:
        parameters["id"] = delivery_uuid(delivery_id)
        statement = _READ_REQUEST
    rows = connection.exec_driver_sql(statement, parameters)
    return [StoredRequest(delivery=_delivery(row), query_json=row[-1]) for row in rows]


def delivery_uuid(delivery_id: str) -> str | None:
    """Return the UUID of a delivery id; None if it is invalid."""
    value = ids.decode("del", delivery_id)
    return None if value is None else str(value)


def _delivery(row: Sequence[Any]) -> HookDelivery:
    body = row[_ROWS.count]
    return _ROWS.read(row, body=None if body is None else bytes(body))
