"""Leases of endpoints. The sender with the lease sends the endpoint's due deliveries and writes their outcomes.

So only that sender enforces the endpoint's concurrency and the order of its events. The leases of a sender without
heartbeats expire. They are rows of `webhook_lanes`, with the concurrency in `width`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ava.domain import ids
from ava.domain.notices.notice import Channel
from ava.domain.webhooks.webhook import EndpointHealth
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import BY_INDEX, Statement, array

_HEARTBEAT = Statement("""
WITH me AS (
    INSERT INTO webhook_senders AS s (id, host, pid) VALUES (%(id)s::uuid, %(host)s, %(pid)s)
    ON CONFLICT (id) DO UPDATE SET seen_at = now()
), dead AS (
    DELETE FROM webhook_senders WHERE seen_at < now() - %(dead_after)s * interval '1 second' AND id <> %(id)s::uuid
), orphans AS (
    SELECT l.tenant_id, l.endpoint_id FROM webhook_lanes AS l
    WHERE l.sender_id = %(id)s::uuid AND l.endpoint_id <> ALL (%(held)s::uuid[])
        OR l.sender_id <> %(id)s::uuid AND NOT EXISTS (
            SELECT 1 FROM webhook_senders AS s
            WHERE s.id = l.sender_id AND s.seen_at > now() - %(dead_after)s * interval '1 second')
    ORDER BY l.endpoint_id FOR UPDATE SKIP LOCKED
)
UPDATE webhook_lanes AS l SET sender_id = NULL, due_at = now() FROM orphans
WHERE l.tenant_id = orphans.tenant_id AND l.endpoint_id = orphans.endpoint_id
""")


def heartbeat(
    connection: Connection, *, sender_id: str, host: str, pid: int, dead_after_seconds: float, held: Collection[str]
) -> int:
    """Write a sender's heartbeat, and free the leases that no living sender knows of. Returns the number of leases.

    These are the leases of dead senders, and leases of this sender that are not `held` (endpoints' UUIDs): it acquired
    them and lost the response.
    """
    parameters = {"id": sender_id, "host": host, "pid": pid, "dead_after": dead_after_seconds, "held": array(held)}
    return connection.exec_driver_sql(_HEARTBEAT, parameters).rowcount


_DEREGISTER = Statement("""
WITH me AS (DELETE FROM webhook_senders WHERE id = %(id)s::uuid)
UPDATE webhook_lanes SET sender_id = NULL, due_at = now() WHERE sender_id = %(id)s::uuid
""")


def deregister(connection: Connection, *, sender_id: str) -> None:
    """Free the leases of a sender that shuts down."""
    connection.exec_driver_sql(_DEREGISTER, {"id": sender_id})


_COUNT_SENDERS = Statement("""
SELECT count(*) FROM webhook_senders WHERE seen_at > now() - %(dead_after)s * interval '1 second'
""")


def count_senders(connection: Connection, *, dead_after_seconds: float) -> int:
    """Return the number of senders with a recent heartbeat."""
    return int(connection.exec_driver_sql(_COUNT_SENDERS, {"dead_after": dead_after_seconds}).scalar_one())


@dataclass(frozen=True, kw_only=True)
class PendingWork:
    """The pending work of senders."""

    #: Age of the oldest event that was not fanned out, in seconds; None if there is none.
    oldest_event_seconds: float | None
    has_due_leases: bool

    def __bool__(self) -> bool:
        """Return True if there is any work."""
        return self.oldest_event_seconds is not None or self.has_due_leases


_OLDEST_EVENT = "FROM webhook_events WHERE fanned_out_at IS NULL ORDER BY n LIMIT 1"
_HAS_DUE_LEASES = "EXISTS (SELECT 1 FROM webhook_lanes WHERE sender_id IS NULL AND due_at <= now())"

_FIND_WORK = Prepared(
    "find_work", f"SELECT (SELECT extract(epoch FROM now() - created_at)::float8 {_OLDEST_EVENT}), {_HAS_DUE_LEASES}"
)


def find_work(connection: Connection) -> PendingWork:
    """Return the pending work. Senders poll at least ten times per second, so the statement is cheap."""
    row = _FIND_WORK.run(connection, {}, before=BY_INDEX)[0]
    return PendingWork(oldest_event_seconds=row[0], has_due_leases=row[1])


@dataclass(frozen=True, kw_only=True)
class HeldLease:
    """A lease that a sender has acquired."""

    #: The endpoint's UUID.
    endpoint: str
    tenant_id: str
    #: Max concurrent requests to the endpoint.
    concurrency: int
    #: Number of consecutive requests that timed out.
    timeouts: int


_LEASE_ROWS = RecordRows(HeldLease, "l", columns={"endpoint": "l.endpoint_id::text", "concurrency": "l.width"})
_ACQUIRE = Prepared(
    "acquire_leases",
    f"""
WITH next AS (
    SELECT tenant_id, endpoint_id FROM webhook_lanes
    WHERE sender_id IS NULL AND due_at <= now() AND (timeouts > 0) = %(is_silent)s
        AND (width > 1 OR %(is_any_concurrency)s)
    ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE webhook_lanes AS l SET sender_id = %(sender_id)s::uuid, due_at = NULL
FROM next WHERE l.tenant_id = next.tenant_id AND l.endpoint_id = next.endpoint_id
RETURNING {_LEASE_ROWS.columns}
""",
)


def acquire(connection: Connection, *, sender_id: str, health: EndpointHealth, limit: int) -> list[HeldLease]:
    """Acquire leases of endpoints that have due deliveries and this health, longest overdue first.

    `UNKNOWN` includes answering endpoints, because a sender requests `ANSWERING` first.
    """
    parameters = {
        "sender_id": sender_id,
        "is_silent": health is EndpointHealth.SILENT,
        "is_any_concurrency": health is not EndpointHealth.ANSWERING,
        "limit": limit,
    }
    return [_LEASE_ROWS.read(row) for row in _ACQUIRE.run(connection, parameters)]


@dataclass(frozen=True, kw_only=True)
class DueDelivery:
    """A due delivery with the data for its request."""

    #: Its UUID.
    id: str
    endpoint: str
    tenant_id: str
    job: str | None
    failures: int
    due_at: datetime
    #: Number of earlier requests, including requests before a redelivery.
    requests: int
    event_id: str = field(metadata={"prefix": "evt"})
    #: None for a large body: `read_body` reads it when its request begins, so that no large bodies wait in memory.
    body: str | None
    #: Size of a large body in bytes; 0 if `body` is set.
    bytes_to_read: int = 0
    #: Its trace; None if there is none.
    traceparent: str | None = None
    url: str
    #: The endpoint's sealed secrets, the current one first.
    sealed_secrets: tuple[str, ...]
    #: The channel of a notice, which has its target as the sealed secret; None: a webhook.
    channel: Channel | None = None


#: Min size of a body that is only read when its request begins. Most bodies are smaller.
_LARGE_BODY_BYTES = 8_192


# Every search probes each partition, so a loose index scan, from the highest number to 0, finds the existing numbers.
def _failures_of(endpoint: str) -> str:
    """Return the distinct failure counts of an endpoint's pending deliveries as the FROM item `f`.

    `p` is the endpoint's row.
    """
    return f"""(
        WITH RECURSIVE levels (failures) AS (
            (SELECT d.failures FROM webhook_deliveries AS d
             WHERE d.endpoint_id = {endpoint} AND d.tenant_id IS NOT DISTINCT FROM p.tenant_id AND d.status = 'pending'
             ORDER BY d.failures DESC LIMIT 1)
            UNION ALL
            SELECT next.failures FROM levels CROSS JOIN LATERAL (
                SELECT d.failures FROM webhook_deliveries AS d
                WHERE d.endpoint_id = {endpoint} AND d.tenant_id IS NOT DISTINCT FROM p.tenant_id
                    AND d.status = 'pending' AND d.failures < levels.failures
                ORDER BY d.failures DESC LIMIT 1
            ) AS next WHERE levels.failures > 0
        )
        SELECT failures FROM levels
    ) AS f (failures)"""


# PostgreSQL measures a body without reading it, even if it is compressed.
_DELIVERY_ROWS = RecordRows(
    DueDelivery,
    "d",
    columns={
        "id": "d.id::text",
        "endpoint": "p.id::text",
        "tenant_id": "p.tenant_id",
        "job": "d.job_id::text",
        "requests": "jsonb_array_length(d.history)",
        "body": f"CASE WHEN octet_length(e.body) < {_LARGE_BODY_BYTES} THEN e.body END",
        "bytes_to_read": f"""CASE WHEN octet_length(e.body) >= {_LARGE_BODY_BYTES}
            THEN octet_length(e.body) ELSE 0 END""",
        "traceparent": "e.traceparent",
        "url": "p.url",
        "sealed_secrets": """ARRAY[p.secret] || CASE WHEN p.previous_secret_until > now()
            THEN ARRAY[p.previous_secret] END""",
        "channel": "p.channel",
    },
    readers={"sealed_secrets": tuple},
)
# Deliveries with more failures are first, so that they keep their retry schedule however many new ones there are.
_DUE_DELIVERIES = Prepared(
    "due_deliveries",
    f"""
SELECT {_DELIVERY_ROWS.columns}
FROM unnest(%(endpoints)s::uuid[], %(capacities)s::int[]) AS w (endpoint_id, capacity)
JOIN webhook_lanes AS l ON l.endpoint_id = w.endpoint_id AND l.sender_id = %(sender_id)s::uuid
JOIN webhook_endpoints AS p ON p.tenant_id = l.tenant_id AND p.id = w.endpoint_id AND p.status <> 'deleted'
    AND p.paused_at IS NULL
CROSS JOIN LATERAL (
    SELECT found.* FROM {_failures_of("w.endpoint_id")} CROSS JOIN LATERAL (
        SELECT d.* FROM webhook_deliveries AS d
        WHERE d.endpoint_id = w.endpoint_id AND d.tenant_id IS NOT DISTINCT FROM p.tenant_id
            AND d.status = 'pending' AND d.failures = f.failures AND d.due_at <= now()
            AND d.id <> ALL(%(in_flight)s::uuid[])
        ORDER BY d.due_at, d.n LIMIT w.capacity
    ) AS found
    ORDER BY found.failures DESC, found.due_at, found.n LIMIT w.capacity
) AS d
CROSS JOIN LATERAL (
    SELECT * FROM webhook_events WHERE tenant_id = d.tenant_id AND id = d.event_id LIMIT 1
) AS e
ORDER BY p.id, d.failures DESC, d.due_at, d.n
""",
)


def due_deliveries(
    connection: Connection, *, sender_id: str, capacities: Mapping[str, int], in_flight: Collection[str]
) -> list[DueDelivery]:
    """Return the due deliveries of a sender's leases, in order: for each endpoint (a UUID) at most its capacity.

    `in_flight` has the UUIDs of the deliveries that the sender is already sending.
    """
    parameters = {
        "sender_id": sender_id,
        "endpoints": list(capacities),
        "capacities": list(capacities.values()),
        "in_flight": list(in_flight),
    }
    return [_DELIVERY_ROWS.read(row) for row in _DUE_DELIVERIES.run(connection, parameters, before=BY_INDEX)]


_READ_BODY = Prepared(
    "read_webhook_body", "SELECT body FROM webhook_events WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid"
)


def read_body(connection: Connection, *, tenant_id: str, event_id: str) -> str | None:
    """Return the body of an event; None if retention has deleted the event."""
    found = _READ_BODY.run(connection, {"tenant_id": tenant_id, "id": str(ids.decode("evt", event_id))})
    return found[0][0] if found else None


@dataclass(frozen=True, kw_only=True)
class LeaseRelease:
    """The state of a lease at its release."""

    endpoint: str
    concurrency: int
    timeouts: int
    #: Seconds until the endpoint may receive another request.
    pause_seconds: float


# The lease becomes due with its next delivery, or earlier if a fan-out made it due while it was held.
_RELEASE = Prepared(
    "release_leases",
    f"""
WITH given AS (
    SELECT * FROM unnest(%(endpoints)s::uuid[], %(concurrencies)s::int[], %(timeouts)s::int[], %(pauses)s::float8[])
        AS g (endpoint_id, concurrency, timeouts, pause)
), mine AS (
    SELECT l.tenant_id, l.endpoint_id FROM webhook_lanes AS l JOIN given USING (endpoint_id)
    WHERE l.sender_id = %(sender_id)s::uuid ORDER BY l.endpoint_id FOR UPDATE OF l
), next AS (
    SELECT given.*, mine.tenant_id, CASE WHEN pause > 0 THEN now() + pause * interval '1 second' END AS not_before, (
        SELECT min(found.due_at)
        FROM webhook_endpoints AS p CROSS JOIN LATERAL {_failures_of("p.id")} CROSS JOIN LATERAL (
            SELECT d.due_at FROM webhook_deliveries AS d
            WHERE d.endpoint_id = p.id AND d.tenant_id IS NOT DISTINCT FROM p.tenant_id AND d.status = 'pending'
                AND d.failures = f.failures
            ORDER BY d.due_at LIMIT 1
        ) AS found
        WHERE p.tenant_id = mine.tenant_id AND p.id = given.endpoint_id
            AND p.status <> 'deleted' AND p.paused_at IS NULL) AS due_at
    FROM given JOIN mine USING (endpoint_id)
)
UPDATE webhook_lanes AS l SET sender_id = NULL, width = next.concurrency, timeouts = least(next.timeouts, 1000),
    not_before = next.not_before,
    due_at = CASE WHEN coalesce(l.due_at, next.due_at) IS NOT NULL
                  THEN greatest(least(l.due_at, next.due_at), next.not_before) END
FROM next WHERE l.tenant_id = next.tenant_id AND l.endpoint_id = next.endpoint_id
""",
)


def release(connection: Connection, *, sender_id: str, leases: Sequence[LeaseRelease]) -> None:
    """Release leases until their endpoints have due deliveries again."""
    parameters = {
        "sender_id": sender_id,
        "endpoints": [lease.endpoint for lease in leases],
        "concurrencies": [lease.concurrency for lease in leases],
        "timeouts": [lease.timeouts for lease in leases],
        "pauses": [lease.pause_seconds for lease in leases],
    }
    _RELEASE.run(connection, parameters, before=BY_INDEX)
