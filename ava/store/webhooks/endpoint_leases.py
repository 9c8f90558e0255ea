"""Lanes: the way to one endpoint, held by one sender at a time, who sends what is due there and writes what came of it.

That one sender holds all of an endpoint makes its cap and the order of its events that sender's own affair. A sender
that is killed is silent, and its lanes are free again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ava.domain import ids
from ava.domain.webhook import DeliveryStatus, EndpointHealth
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared

__all__ = [
    "DeliveryOutcome",
    "DueDelivery",
    "HeldLease",
    "LeaseRelease",
    "PendingWork",
    "StatusChange",
    "acquire",
    "deregister",
    "due_deliveries",
    "find_work",
    "heartbeat",
    "record",
    "release",
]

_BEAT = """
WITH me AS (
    INSERT INTO webhook_senders AS s (id, host, pid) VALUES (%(id)s::uuid, %(host)s, %(pid)s)
    ON CONFLICT (id) DO UPDATE SET seen_at = now()
), dead AS (
    DELETE FROM webhook_senders WHERE seen_at < now() - %(dead_after)s * interval '1 second' AND id <> %(id)s::uuid
), orphans AS (
    SELECT l.endpoint_id FROM webhook_lanes AS l
    WHERE l.sender_id IS NOT NULL AND l.sender_id <> %(id)s::uuid AND NOT EXISTS (
        SELECT 1 FROM webhook_senders AS s
        WHERE s.id = l.sender_id AND s.seen_at > now() - %(dead_after)s * interval '1 second')
    ORDER BY l.endpoint_id FOR UPDATE SKIP LOCKED
)
UPDATE webhook_lanes AS l SET sender_id = NULL, due_at = now() FROM orphans WHERE l.endpoint_id = orphans.endpoint_id
"""


def heartbeat(connection: Connection, *, sender_id: str, host: str, pid: int, dead_after_seconds: float) -> int:
    """Show that a sender lives, and free what dead ones hold; how many lanes that was."""
    parameters = {"id": sender_id, "host": host, "pid": pid, "dead_after": dead_after_seconds}
    return connection.exec_driver_sql(_BEAT, parameters).rowcount


def deregister(connection: Connection, *, sender_id: str) -> None:
    """Free all that a sender holds, for it ends."""
    statement = """
        WITH me AS (DELETE FROM webhook_senders WHERE id = %(id)s::uuid)
        UPDATE webhook_lanes SET sender_id = NULL, due_at = now() WHERE sender_id = %(id)s::uuid
    """
    connection.exec_driver_sql(statement, {"id": sender_id})


@dataclass(frozen=True, kw_only=True)
class PendingWork:
    """Whether there is anything to do for a sender."""

    #: Seconds since the oldest event that was not fanned out; None where there is none.
    oldest_event_seconds: float | None
    has_due_leases: bool

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return self.oldest_event_seconds is not None or self.has_due_leases


_LOOK = Prepared(
    "look_for_webhooks",
    """
SELECT (SELECT extract(epoch FROM now() - created_at)::float8 FROM webhook_events
        WHERE fanned_out_at IS NULL ORDER BY n LIMIT 1),
       EXISTS (SELECT 1 FROM webhook_lanes WHERE sender_id IS NULL AND due_at <= now())
""",
)


def find_work(connection: Connection) -> PendingWork:
    """See whether there is anything to do. It is asked ten times a second and more, and costs next to nothing."""
    row = _LOOK.run(connection, {})[0]
    return PendingWork(oldest_event_seconds=row[0], has_due_leases=row[1])


@dataclass(frozen=True, kw_only=True)
class HeldLease:
    """A lane that a sender has taken."""

    #: The endpoint's UUID.
    endpoint: str
    #: How many attempts at once it gets.
    concurrency: int
    #: How many attempts in a row got no answer in time.
    timeouts: int


_TAKE = Prepared(
    "take_lanes",
    """
WITH next AS (
    SELECT endpoint_id FROM webhook_lanes
    WHERE sender_id IS NULL AND due_at <= now() AND (timeouts > 0) = %(is_silent)s AND (width > 1 OR %(is_any_width)s)
    ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE webhook_lanes AS l SET sender_id = %(sender_id)s::uuid, due_at = NULL
FROM next WHERE l.endpoint_id = next.endpoint_id
RETURNING l.endpoint_id::text, l.width, l.timeouts
""",
)


def acquire(connection: Connection, *, sender_id: str, health: EndpointHealth, limit: int) -> list[HeldLease]:
    """Take lanes on which something is due and whose endpoints behave so, the one that waits longest first.

    Those that answer are taken before those of which nothing is known, so the latter may be the former.
    """
    parameters = {
        "sender_id": sender_id,
        "is_silent": health is EndpointHealth.SILENT,
        "is_any_width": health is not EndpointHealth.ANSWERING,
        "limit": limit,
    }
    return [
        HeldLease(endpoint=row[0], concurrency=row[1], timeouts=row[2]) for row in _TAKE.run(connection, parameters)
    ]


@dataclass(frozen=True, kw_only=True)
class DueDelivery:
    """A delivery to be attempted now, with all that the attempt needs."""

    #: Its UUID.
    id: str
    endpoint: str
    job: str | None
    failures: int
    #: How many attempts there were, those before a redelivery included.
    attempts: int
    event_id: str
    body: str
    #: The trace that it belongs to; None where nothing was traced.
    traceparent: str | None = None
    url: str
    #: The endpoint's sealed secrets, the present one first.
    sealed_secrets: tuple[str, ...]


# What failed before comes first, so that its ladder is kept however much is new.
_DUE = Prepared(
    "due_deliveries",
    """
SELECT d.id::text, p.id::text, d.job_id::text, d.failures, jsonb_array_length(d.history), e.id::text, e.body,
       e.traceparent, p.url, p.secret, CASE WHEN p.previous_secret_until > now() THEN p.previous_secret END
FROM unnest(%(endpoints)s::uuid[], %(capacities)s::int[]) AS w (endpoint_id, capacity)
JOIN webhook_lanes AS l ON l.endpoint_id = w.endpoint_id AND l.sender_id = %(sender_id)s::uuid
JOIN webhook_endpoints AS p ON p.id = w.endpoint_id AND p.status IN ('active', 'degraded')
CROSS JOIN LATERAL (
    SELECT found.* FROM generate_series(5, 0, -1) AS f (failures) CROSS JOIN LATERAL (
        SELECT d.* FROM webhook_deliveries AS d
        WHERE d.endpoint_id = w.endpoint_id AND d.status = 'pending' AND d.failures = f.failures
            AND d.due_at <= now() AND d.id <> ALL(%(in_flight)s::uuid[])
        ORDER BY d.due_at, d.n LIMIT w.capacity
    ) AS found
    ORDER BY found.failures DESC, found.due_at, found.n LIMIT w.capacity
) AS d
JOIN webhook_events AS e ON e.id = d.event_id
ORDER BY p.id, d.failures DESC, d.due_at, d.n
""",
)


def due_deliveries(
    connection: Connection, *, sender_id: str, capacities: Mapping[str, int], in_flight: Collection[str]
) -> list[DueDelivery]:
    """What is due on lanes that a sender holds, for each endpoint's UUID at most so many, in order.

    `busy`: the UUIDs of deliveries that are being sent already.
    """
    parameters = {
        "sender_id": sender_id,
        "endpoints": list(capacities),
        "capacities": list(capacities.values()),
        "in_flight": list(in_flight),
    }
    return [_due_delivery(row) for row in _DUE.run(connection, parameters)]


def _due_delivery(row: Any) -> DueDelivery:
    id_, endpoint, job, failures, attempts, event, body, traceparent, url, secret, previous_secret = row
    return DueDelivery(
        id=id_,
        endpoint=endpoint,
        job=job,
        failures=failures,
        attempts=attempts,
        event_id=ids.encode("evt", event),
        body=body,
        traceparent=traceparent,
        url=url,
        sealed_secrets=(secret,) if previous_secret is None else (secret, previous_secret),
    )


@dataclass(frozen=True, kw_only=True)
class DeliveryOutcome:
    """What came of one attempt, to be written."""

    #: The delivery's UUID.
    delivery: str
    #: How many failures there had been before.
    failures: int
    status: DeliveryStatus
    #: Seconds until the next attempt, while it is pending.
    retry_in_seconds: float | None
    #: Whether the endpoint answered 410 Gone.
    is_gone: bool
    #: The attempt as it is shown.
    entry: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StatusChange:
    """An endpoint whose status an outcome changed."""

    webhook_id: str
    status: str


#: How many attempts of one delivery are remembered.
_MOST_REMEMBERED = 50

# A failure that was written already, by a sender that held the lane before, is not counted twice.
_RECORD = Prepared(
    "record_outcomes",
    f"""
WITH given AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(failures)s::int[], %(statuses)s::text[], %(delays)s::float8[],
                         %(gone)s::bool[], %(entries)s::text[])
        AS g (id, failures, status, delay, is_gone, entry)
), held AS (
    SELECT d.id FROM webhook_deliveries AS d JOIN given ON given.id = d.id ORDER BY d.id FOR UPDATE OF d
), done AS (
    UPDATE webhook_deliveries AS d SET
        status = given.status,
        failures = d.failures + CASE WHEN given.status = 'delivered' THEN 0 ELSE 1 END,
        due_at = CASE WHEN given.status = 'pending' THEN clock_timestamp() + given.delay * interval '1 second' END,
        completed_at = CASE WHEN given.status <> 'pending' THEN clock_timestamp() END,
        history = CASE WHEN jsonb_array_length(d.history) < {_MOST_REMEMBERED} THEN d.history ELSE d.history - 0 END
                  || given.entry::jsonb
    FROM given JOIN held ON held.id = given.id
    WHERE d.id = given.id AND d.status = 'pending' AND (given.status = 'delivered' OR d.failures = given.failures)
    RETURNING d.endpoint_id, d.status, given.is_gone
), told AS (
    SELECT endpoint_id, bool_or(is_gone) AS is_gone, bool_or(status = 'delivered') AS is_healthy,
           bool_or(status = 'abandoned') AS is_degraded
    FROM done GROUP BY endpoint_id
)
UPDATE webhook_endpoints AS p SET
    status = CASE WHEN told.is_gone THEN 'disabled' WHEN told.is_healthy THEN 'active' ELSE 'degraded' END,
    disabled_reason = CASE WHEN told.is_gone THEN 'gone' END,
    updated_at = clock_timestamp()
FROM told
WHERE p.id = told.endpoint_id AND p.status IN ('active', 'degraded')
    AND (told.is_gone OR (told.is_healthy AND p.status = 'degraded')
         OR (told.is_degraded AND NOT told.is_healthy AND p.status = 'active'))
RETURNING p.id::text, p.status
""",
)


def record(connection: Connection, outcomes: Sequence[DeliveryOutcome]) -> list[StatusChange]:
    """Write what came of attempts, and return the endpoints whose status that changed."""
    parameters = {
        "ids": [outcome.delivery for outcome in outcomes],
        "failures": [outcome.failures for outcome in outcomes],
        "statuses": [outcome.status.value for outcome in outcomes],
        "delays": [outcome.retry_in_seconds for outcome in outcomes],
        "gone": [outcome.is_gone for outcome in outcomes],
        "entries": [json.dumps(outcome.entry) for outcome in outcomes],
    }
    found = _RECORD.run(connection, parameters)
    return [StatusChange(webhook_id=ids.encode("wh", row[0]), status=row[1]) for row in found]


@dataclass(frozen=True, kw_only=True)
class LeaseRelease:
    """How a lane is left."""

    endpoint: str
    concurrency: int
    timeouts: int
    #: Seconds for which the endpoint is left alone.
    pause_seconds: float


# A lane that nobody rang while it was held is due when its next delivery is. Whoever rang it has the last word.
_RELEASE = Prepared(
    "release_lanes",
    """
WITH given AS (
    SELECT * FROM unnest(%(endpoints)s::uuid[], %(widths)s::int[], %(timeouts)s::int[], %(pauses)s::float8[])
        AS g (endpoint_id, width, timeouts, pause)
), mine AS (
    SELECT l.endpoint_id FROM webhook_lanes AS l JOIN given USING (endpoint_id)
    WHERE l.sender_id = %(sender_id)s::uuid ORDER BY l.endpoint_id FOR UPDATE OF l
), next AS (
    SELECT given.*, CASE WHEN pause > 0 THEN now() + pause * interval '1 second' END AS not_before, (
        SELECT min(found.due_at) FROM webhook_endpoints AS p CROSS JOIN generate_series(0, 5) AS f (failures)
        CROSS JOIN LATERAL (
            SELECT d.due_at FROM webhook_deliveries AS d
            WHERE d.endpoint_id = p.id AND d.status = 'pending' AND d.failures = f.failures ORDER BY d.due_at LIMIT 1
        ) AS found
        WHERE p.id = given.endpoint_id AND p.status IN ('active', 'degraded')) AS due_at
    FROM given JOIN mine USING (endpoint_id)
)
UPDATE webhook_lanes AS l SET sender_id = NULL, width = next.width, timeouts = least(next.timeouts, 1000),
    not_before = next.not_before,
    due_at = CASE WHEN coalesce(l.due_at, next.due_at) IS NOT NULL
                  THEN greatest(least(l.due_at, next.due_at), next.not_before) END
FROM next WHERE l.endpoint_id = next.endpoint_id
""",
)


def release(connection: Connection, *, sender_id: str, leases: Sequence[LeaseRelease]) -> None:
    """Leave lanes, until something is due on them again."""
    parameters = {
        "sender_id": sender_id,
        "endpoints": [lease.endpoint for lease in leases],
        "widths": [lease.concurrency for lease in leases],
        "timeouts": [lease.timeouts for lease in leases],
        "pauses": [lease.pause_seconds for lease in leases],
    }
    _RELEASE.run(connection, parameters)
