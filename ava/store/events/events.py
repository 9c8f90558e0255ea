"""Events: stored with the jobs that they create, read by tenants, and taken by the fan-out until all jobs exist."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from ava.domain import ids
from ava.domain.counts import MAX_IN_TOTAL, PageBounds
from ava.domain.events.event import EventSpec, InboundEvent, Refusal
from ava.store import dead_letters
from ava.store.dead_letters import DeadLetterKind
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.events.subscriptions import subscription_uuid
from ava.store.jobs.rows import job_uuid

#: Hours of deduplication of events by source and id.
HOURS = 24
#: The hook id of events without a hook, in `received_keys`.
_NO_HOOK = "00000000-0000-0000-0000-000000000000"
#: Condition: the fan-out has work. An index answers it.
ARE_UNFINISHED = "EXISTS (SELECT FROM events WHERE fanned_out_to IS NOT NULL)"

_SPEC = RecordRows(EventSpec, "e")
_ROWS = RecordRows(
    InboundEvent,
    "e",
    columns={
        "job_ids": "e.job_ids::text[]",
        "refused": "e.refused::text",
        "more_count": "CASE WHEN e.fanned_out_to IS NULL THEN 0 ELSE e.more_count END",
    },
    readers={"refused": lambda json_string: [Refusal(**each) for each in json.loads(json_string)]},
    without=("spec", "woken_job_ids", "is_duplicate"),
)
COLUMNS = f"{_ROWS.columns}, {_SPEC.columns}"


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """A filter for a tenant's events; None means any."""

    type: str | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Reserved:
    """The values that a transaction needs before it stores events."""

    #: Ids for new events, ascending.
    event_ids: Sequence[str]
    now: datetime
    #: The version of the tenant's subscriptions; None if the tenant never had any.
    version: int | None


_RESERVE = Statement("""
SELECT ARRAY(SELECT ava_uuid7()::text FROM generate_series(1, %(count)s)), now(),
    (SELECT v.version FROM subscription_versions AS v WHERE v.tenant_id = %(tenant_id)s)
""")


def reserve(connection: Connection, *, tenant_id: str, count: int) -> Reserved:
    """Return ids for new events of a tenant, and the version of its subscriptions."""
    uuids, now, version = connection.exec_driver_sql(_RESERVE, {"tenant_id": tenant_id, "count": count}).one()
    return Reserved(event_ids=[ids.encode("evt", uuid) for uuid in sorted(uuids)], now=now, version=version)


# Ordered, so that two transactions with the same ids do not deadlock.
_FIND_FIRST = Statement(f"""
INSERT INTO received_keys AS k (tenant_id, hook_id, digest, first_id, until)
SELECT %(tenant_id)s, '{_NO_HOOK}', g.digest, g.id::uuid, now() + interval '{HOURS} hours'
FROM unnest(%(digests)s::bytea[], %(ids)s::text[]) AS g (digest, id) ORDER BY g.digest
ON CONFLICT (tenant_id, hook_id, digest) DO UPDATE SET
    first_id = CASE WHEN k.until > now() THEN k.first_id ELSE excluded.first_id END,
    until = CASE WHEN k.until > now() THEN k.until ELSE excluded.until END
RETURNING k.digest, k.first_id::text
""")


def find_first(connection: Connection, *, tenant_id: str, event_ids: Mapping[bytes, str]) -> dict[bytes, str]:
    """Return, for each digest of source and id, the first event that has it: the given one, or an earlier one.

    Stores new digests in this transaction. Other transactions with an equal digest wait for it.
    """
    parameters = {
        "tenant_id": tenant_id,
        "digests": list(event_ids),
        "ids": [event_uuid(event_id) for event_id in event_ids.values()],
    }
    rows = connection.exec_driver_sql(_FIND_FIRST, parameters)
    return {bytes(digest): ids.encode("evt", first_id) for digest, first_id in rows}


# Each event writes a wake, even if no job waits for its type: one may begin to wait concurrently.
_INSERT = Statement("""
WITH woken AS (
    INSERT INTO wakes (tenant_id, kind, source_id, event_type)
    SELECT %(tenant_id)s, 'event', w.id::uuid, w.type FROM unnest(%(ids)s::text[], %(types)s::text[]) AS w (id, type)
)
INSERT INTO events (tenant_id, id, type, source, source_id, subject, time, data, extensions, headers, created_at,
                    hook_id, delivery_id, job_ids, refused, more_count, fanned_out_to, subscriptions_version,
                    copied_bytes, traceparent, sender)
SELECT %(tenant_id)s, g.id::uuid, g.type, g.source, g.source_id, g.subject, g.time, g.data::json, g.extensions::json,
    g.headers::json, g.created_at, %(hook_id)s::uuid, %(delivery_id)s::uuid, g.job_ids::uuid[], g.refused::json,
    g.more_count, g.fanned_out_to::uuid, CASE WHEN g.fanned_out_to IS NOT NULL THEN %(version)s::bigint END,
    g.copied_bytes, g.traceparent, g.sender
FROM unnest(%(ids)s::text[], %(types)s::text[], %(sources)s::text[], %(source_ids)s::text[], %(subjects)s::text[],
            %(times)s::timestamptz[], %(datas)s::text[], %(extensions)s::text[], %(headers)s::text[],
            %(created)s::timestamptz[], %(job_ids)s::text[], %(refused)s::text[], %(more_counts)s::integer[],
            %(fanned_out)s::text[], %(copied)s::integer[], %(traceparents)s::text[], %(senders)s::text[])
    AS g (id, type, source, source_id, subject, time, data, extensions, headers, created_at, job_ids, refused,
          more_count, fanned_out_to, copied_bytes, traceparent, sender)
""")


def insert(
    connection: Connection,
    events: Sequence[InboundEvent],
    *,
    fanned_out_to: Mapping[str, str],
    version: int | None,
    hook_uuid: str | None = None,
    delivery_uuid: str | None = None,
) -> None:
    """Insert events of one tenant.

    `fanned_out_to`: for events with jobs left to the fan-out, the last subscription with a created job. `version`: the
    version of the subscriptions that the fan-out uses.
    """
    if not events:
        return
    specs = [event.spec for event in events]
    parameters = {
        "tenant_id": events[0].tenant_id,
        "version": version,
        "hook_id": hook_uuid,
        "delivery_id": delivery_uuid,
        "ids": [event_uuid(event.id) for event in events],
        "types": [spec.type for spec in specs],
        "sources": [spec.source for spec in specs],
        "source_ids": [spec.source_id for spec in specs],
        "subjects": [spec.subject for spec in specs],
        "times": [spec.time for spec in specs],
        "datas": [spec.data_json for spec in specs],
        "extensions": [spec.extensions_json for spec in specs],
        "headers": [spec.headers_json for spec in specs],
        "created": [event.created_at for event in events],
        "job_ids": [_uuids(event.job_ids) for event in events],
        "refused": [_refused_json(event.refused) for event in events],
        "more_counts": [event.more_count for event in events],
        "fanned_out": [_subscription_uuid(fanned_out_to.get(event.id)) for event in events],
        "copied": [event.copied_bytes for event in events],
        "traceparents": [event.traceparent for event in events],
        "senders": [event.sender for event in events],
    }
    connection.exec_driver_sql(_INSERT, parameters)


def _uuids(job_ids: Sequence[str]) -> str:
    return "{" + ",".join(str(job_uuid(job_id)) for job_id in job_ids) + "}"


def _refused_json(refused: Sequence[Refusal]) -> str:
    return json.dumps([{"subscription_id": each.subscription_id, "reason": each.reason} for each in refused])


def _subscription_uuid(subscription_id: str | None) -> str | None:
    return None if subscription_id is None else subscription_uuid(subscription_id)


# Round-robin between tenants, so that no tenant waits for another's events.
_CLAIM_UNFINISHED = Statement(f"""
SELECT {COLUMNS}, e.fanned_out_to::text, e.subscriptions_version FROM events AS e
WHERE e.fanned_out_to IS NOT NULL AND e.tenant_id > %(after_tenant)s
ORDER BY e.tenant_id, e.id LIMIT 1 FOR UPDATE SKIP LOCKED
""")


@dataclass(frozen=True, kw_only=True)
class UnfinishedEvent:
    """An event with jobs left to create."""

    event: InboundEvent
    #: The last subscription with a created job.
    last_id: str
    #: The version of the tenant's subscriptions when the event arrived.
    version: int


def claim_unfinished(connection: Connection, *, after_tenant: str) -> UnfinishedEvent | None:
    """Lock the oldest unfinished event of the next tenant behind `after_tenant`, until the transaction ends.

    Returns None if no further tenant has such an event.
    """
    row = connection.exec_driver_sql(_CLAIM_UNFINISHED, {"after_tenant": after_tenant}).first()
    if row is None:
        return None
    *_, last_uuid, version = row
    return UnfinishedEvent(event=event_of(row), last_id=ids.encode("sub", last_uuid), version=version)


_ADVANCE = Statement("""
UPDATE events AS e SET job_ids = e.job_ids || %(job_ids)s::uuid[], refused = %(refused)s::json,
    fanned_out_to = %(fanned_out_to)s::uuid, copied_bytes = %(copied_bytes)s
WHERE e.tenant_id = %(tenant_id)s AND e.id = %(id)s::uuid
""")


def advance(
    connection: Connection,
    event: InboundEvent,
    *,
    job_ids: Sequence[str],
    refused: Sequence[Refusal],
    copied_bytes: int,
    to: str | None,
) -> None:
    """Store the further jobs of a locked event, all its refusals, and the last subscription; None if finished."""
    parameters = {
        "tenant_id": event.tenant_id,
        "id": event_uuid(event.id),
        "job_ids": _uuids(job_ids),
        "refused": _refused_json(refused),
        "fanned_out_to": _subscription_uuid(to),
        "copied_bytes": copied_bytes,
    }
    connection.exec_driver_sql(_ADVANCE, parameters)


_SET_ASIDE = Statement(f"""
WITH bad AS (
    SELECT tenant_id, id AS row_id, fanned_out_to AS continues_after FROM events
    WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid AND fanned_out_to IS NOT NULL FOR UPDATE
), done AS (
    UPDATE events AS e SET fanned_out_to = NULL FROM bad WHERE e.tenant_id = bad.tenant_id AND e.id = bad.row_id
)
{dead_letters.INSERT}""")


def set_aside(connection: Connection, event: InboundEvent, error: Exception) -> None:
    """Make an unfinished event, whose next jobs cannot be created, a dead letter."""
    uuid = str(event_uuid(event.id))
    given = dead_letters.insert_parameters(DeadLetterKind.EVENT_JOBS, [uuid], error)
    connection.exec_driver_sql(_SET_ASIDE, given | {"tenant_id": event.tenant_id, "id": uuid})


_SHOW_MANY = Statement(f"""
SELECT {COLUMNS} FROM events AS e WHERE e.tenant_id = %(tenant_id)s AND e.id = ANY(%(ids)s::uuid[])
    AND e.id BETWEEN %(first)s::uuid AND %(last)s::uuid
""")


def show_many(connection: Connection, *, tenant_id: str, event_ids: Sequence[str]) -> dict[str, InboundEvent]:
    """Return the events of a tenant that exist, by id."""
    uuids = [uuid for uuid in map(event_uuid, event_ids) if uuid is not None]
    if not uuids:
        return {}
    parameters = {"tenant_id": tenant_id, "ids": uuids, "first": min(uuids), "last": max(uuids)}
    return {event.id: event for event in map(event_of, connection.exec_driver_sql(_SHOW_MANY, parameters))}


def show(connection: Connection, *, tenant_id: str, event_id: str) -> InboundEvent | None:
    """Return a tenant's event; None if there is none."""
    return show_many(connection, tenant_id=tenant_id, event_ids=[event_id]).get(event_id)


# Index ranges as row comparisons, as in lists of jobs. For a type and a source, search the newest events of the type.
_MAX_SEARCHED = 10_000


def _search(*leading: str) -> str:
    columns, values = ", ".join(f"e.{name}" for name in leading), ", ".join(f"%({name})s" for name in leading)
    return f"""(
    SELECT e.* FROM events AS e
    WHERE e.tenant_id = %(tenant_id)s AND ({columns}, e.id) >= ({values}, %(first)s::uuid)
        AND ({columns}, e.id) < ({values}, %(before)s::uuid) AND e.id >= %(first)s::uuid AND e.id < %(before)s::uuid
    ORDER BY {", ".join(f"e.{name} DESC" for name in leading)}, e.id DESC LIMIT %(searched)s
) AS e WHERE e.tenant_id = %(tenant_id)s AND (%(source)s::text IS NULL OR e.source = %(source)s)"""


def _page(*leading: str) -> Statement:
    return Statement(f"""
SELECT {COLUMNS} FROM {_search(*leading)} ORDER BY e.id DESC LIMIT %(limit)s OFFSET %(offset)s
""")


def _count(*leading: str) -> Statement:
    return Statement(f"SELECT count(*) FROM (SELECT 1 FROM {_search(*leading)} LIMIT %(limit)s) AS counted")


_PAGE, _COUNT = _page("tenant_id"), _count("tenant_id")
_PAGE_OF_TYPE, _COUNT_OF_TYPE = _page("tenant_id", "type"), _count("tenant_id", "type")
_PAGE_OF_SOURCE, _COUNT_OF_SOURCE = _page("tenant_id", "source"), _count("tenant_id", "source")


def _statements(wanted: EventFilter) -> tuple[Statement, Statement]:
    if wanted.type is not None:
        return _PAGE_OF_TYPE, _COUNT_OF_TYPE
    return (_PAGE, _COUNT) if wanted.source is None else (_PAGE_OF_SOURCE, _COUNT_OF_SOURCE)


def page(
    connection: Connection, *, tenant_id: str, event_filter: EventFilter, bounds: PageBounds
) -> tuple[list[InboundEvent], int]:
    """Return events of a tenant, newest first, and the number of matches, exact up to `MAX_IN_TOTAL`."""
    page, count = _statements(event_filter)
    searches = event_filter.type is not None and event_filter.source is not None
    part = _filter_parameters(tenant_id, event_filter, bounds.after_id) | {
        "limit": bounds.limit,
        "offset": bounds.offset,
        "searched": _MAX_SEARCHED if searches else bounds.offset + bounds.limit,
    }
    found = [event_of(row) for row in connection.exec_driver_sql(page, part)]
    every = _filter_parameters(tenant_id, event_filter, None) | {"limit": MAX_IN_TOTAL, "searched": _MAX_SEARCHED}
    return found, int(connection.exec_driver_sql(count, every).scalar_one())


def _filter_parameters(tenant_id: str, wanted: EventFilter, before_id: str | None) -> dict[str, object]:
    return {
        **ids.uuid_range("evt", since=wanted.since, until=wanted.until, before_id=before_id),
        "tenant_id": tenant_id,
        "type": wanted.type,
        "source": wanted.source,
    }


event_uuid = partial(ids.to_uuid, "evt")


def event_of(row: Sequence[Any]) -> InboundEvent:
    return _ROWS.read(row, spec=_SPEC.read(row[_ROWS.count :]))
