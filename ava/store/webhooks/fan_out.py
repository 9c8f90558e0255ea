"""Statements of the fan-out: find new events, create their deliveries, and make events dead letters.

Each statement limits events, deliveries and bytes of payloads, however much a tenant has stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ava.domain import ids
from ava.domain.jobs.job import Job
from ava.domain.webhooks.webhook_events import Event
from ava.store import dead_letters
from ava.store.dead_letters import DeadLetterKind
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import BY_INDEX, Statement
from ava.store.jobs import rows
from ava.store.partitions import given_ids, is_given

#: The key of the fan-out's advisory lock: "ava fan" as a number.
_LOCK_KEY = 0x61766120_66616E
#: Max bytes of payloads, uncompressed, that one batch reads. The batch includes the event that reaches the limit.
MAX_BYTES = 4 * 2**20
#: Max deliveries of one event that one statement creates. Later batches serve the remaining endpoints.
MAX_DELIVERIES_PER_EVENT = 500
#: Statement and lock timeouts for creating deliveries, in seconds; shorter than the heartbeat timeout of senders.
STATEMENT_SECONDS = 5.0
LOCK_SECONDS = 2.0

# The timeout ends the transaction of a process that freezes while it holds the lock.
_LOCK = Statement("""
SELECT pg_try_advisory_xact_lock(%(key)s) FROM set_config('idle_in_transaction_session_timeout', '10s', true)
""")


def lock(connection: Connection) -> bool:
    """Lock the fan-out until the end of the transaction. Returns False if another process holds the lock.

    Only one process fans out, so that the deliveries of a job are created in the order of its events.
    """
    return bool(connection.exec_driver_sql(_LOCK, {"key": _LOCK_KEY}).scalar())


@dataclass(frozen=True, kw_only=True)
class FanOutCandidate:
    """An event that was not fanned out yet."""

    #: Its UUID.
    id: str
    tenant_id: str
    #: Number of deliveries to create next, at most `MAX_DELIVERIES_PER_EVENT`.
    deliveries: int
    #: Whether there are more endpoints.
    has_more: bool
    #: Whether an earlier batch has stored its body.
    has_body: bool
    #: Age in seconds.
    age_seconds: float


_CANDIDATE_ROWS = RecordRows(
    FanOutCandidate,
    "e",
    columns={
        "id": "e.id::text",
        "deliveries": f"least(p.deliveries, {MAX_DELIVERIES_PER_EVENT})",
        "has_more": f"p.deliveries > {MAX_DELIVERIES_PER_EVENT}",
        "has_body": "e.body IS NOT NULL",
        "age_seconds": "extract(epoch FROM now() - e.created_at)::float8",
    },
)
# A loose index scan finds the tenants, so the cost does not grow with the number of events. It uses the full order of
# `webhook_events_turns`, because the key's index also has fanned-out events. The tenants share the batch, and their
# first events precede all second ones. The bound by the oldest event excludes earlier days' partitions. It is a day
# lower because a dispatcher's clock creates some ids; an event with a larger clock error is found once it is the
# oldest.
_CANDIDATES = Prepared(
    "fan_out_candidates",
    f"""
WITH RECURSIVE oldest AS (
    SELECT least(id, ava_first_uuid(created_at - interval '1 day')) AS id FROM webhook_events
    WHERE fanned_out_at IS NULL
    ORDER BY n LIMIT 1
), tenants (tenant_id, ordinal) AS (
    (SELECT tenant_id, 1 FROM webhook_events WHERE fanned_out_at IS NULL AND tenant_id > %(after)s::text
        AND id >= (SELECT id FROM oldest)
     ORDER BY tenant_id, n LIMIT 1)
    UNION ALL
    SELECT next.tenant_id, t.ordinal + 1 FROM tenants AS t CROSS JOIN LATERAL (
        SELECT e.tenant_id FROM webhook_events AS e WHERE e.fanned_out_at IS NULL AND e.tenant_id > t.tenant_id
            AND e.id >= (SELECT id FROM oldest)
        ORDER BY e.tenant_id, e.n LIMIT 1
    ) AS next
    WHERE t.ordinal < %(tenants)s::int
), share AS (
    SELECT greatest(1, %(events)s::int / greatest(1, count(*))) AS events FROM tenants
)
SELECT {_CANDIDATE_ROWS.columns}
FROM tenants AS t CROSS JOIN share CROSS JOIN LATERAL (
    SELECT e.*, row_number() OVER (ORDER BY e.n) AS ordinal FROM (
        SELECT * FROM webhook_events WHERE fanned_out_at IS NULL AND tenant_id = t.tenant_id
            AND id >= (SELECT id FROM oldest)
        ORDER BY tenant_id, n LIMIT (SELECT events FROM share)
    ) AS e
) AS e CROSS JOIN LATERAL (
    SELECT count(*) AS deliveries FROM (
        SELECT 1 FROM webhook_endpoints AS p
        WHERE p.tenant_id = e.tenant_id AND p.status <> 'deleted' AND p.paused_at IS NULL AND p.channel IS NULL
            AND e.type = ANY(p.events) AND (e.is_of_child IS NOT TRUE OR NOT p.roots_only)
            AND p.created_at <= e.created_at AND (e.fanned_out_to IS NULL OR p.id > e.fanned_out_to)
        LIMIT {MAX_DELIVERIES_PER_EVENT} + 1
    ) AS p
) AS p
ORDER BY e.ordinal, t.tenant_id
LIMIT %(events)s::int
""",
)


def candidates(connection: Connection, *, after_tenant: str, max_tenants: int, limit: int) -> list[FanOutCandidate]:
    """Return the first new events of tenants behind `after_tenant`: round-robin by tenant, oldest first."""
    parameters = {"after": after_tenant, "tenants": max_tenants, "events": limit}
    return [_CANDIDATE_ROWS.read(row) for row in _CANDIDATES.run(connection, parameters, before=BY_INDEX)]


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """An event with the data for its body."""

    #: Its UUID.
    uuid: str
    event: Event
    #: The job at the time of the event; None if it was deleted since.
    job: Job | None


# The recursion reads real sizes event by event, until the limit. Stored sizes would not do: a payload that compresses
# well occupies a thousandth of its bytes. The columns that may change after the event are read from the event.
_HAS_ENDED, _HAS_STARTED = "e.completed_at IS NOT NULL", "coalesce(e.completed_at, e.started_at) IS NOT NULL"
_COLUMNS = rows.job_columns(
    status="e.status",
    started_at=f"CASE WHEN {_HAS_ENDED} THEN j.started_at ELSE e.started_at END",
    completed_at="e.completed_at",
    output_json=f"CASE WHEN {_HAS_ENDED} THEN j.output END::text",
    error=f"CASE WHEN {_HAS_ENDED} THEN j.error END",
    attempt="e.attempt",
    cancel_requested_at="e.cancel_requested_at",
    cancelled_by="e.cancelled_by",
    progress_json="e.progress::text",
    first_run_no=f"CASE WHEN {_HAS_STARTED} THEN j.first_run_no END",
    waiting_for_json="NULL",
    first_started_at=f"CASE WHEN {_HAS_ENDED} THEN j.first_started_at END",
    cpu_us=f"CASE WHEN {_HAS_ENDED} THEN j.cpu_us END",
    peak_memory_mb=f"CASE WHEN {_HAS_ENDED} THEN j.peak_memory_mb END",
    ready_at="CASE WHEN j.ready_at <= coalesce(e.completed_at, e.started_at) THEN j.ready_at END",
    earlier_ms=f"CASE WHEN {_HAS_ENDED} THEN {rows.earlier_runs('j')} END",
)
_PAYLOADS = Prepared(
    "fan_out_payloads",
    f"""
WITH RECURSIVE asked AS (
    SELECT * FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS a (id, ordinal)
), fitting (ordinal, bytes) AS (
    SELECT 0::bigint, 0::bigint
    UNION ALL
    SELECT asked.ordinal, fitting.bytes + coalesce((
        SELECT octet_length(j.input::text) + coalesce(octet_length(j.output::text), 0)
        FROM webhook_events AS e JOIN jobs AS j ON j.tenant_id = e.tenant_id AND j.id = e.job_id
        WHERE e.id = asked.id
    ), 0)
    FROM fitting JOIN asked ON asked.ordinal = fitting.ordinal + 1
    WHERE fitting.bytes < {MAX_BYTES}
)
SELECT e.id::text, e.type, e.created_at, e.tenant_id, e.sequence,
    {_COLUMNS}
FROM fitting JOIN asked USING (ordinal) JOIN webhook_events AS e ON e.id = asked.id
LEFT JOIN jobs AS j ON j.tenant_id = e.tenant_id AND j.id = e.job_id
WHERE {is_given("e.id")}
ORDER BY ordinal
""",
)


def payloads(connection: Connection, uuids: Sequence[str]) -> list[NewEvent]:
    """Return the first of these events, in order, with at most `MAX_BYTES` of payloads before the last one."""
    found = _PAYLOADS.run(connection, given_ids(uuids), before=BY_INDEX) if uuids else []
    return [_new_event(row) for row in found]


def _new_event(row: Any) -> NewEvent:
    id_, type_, created_at, tenant_id, sequence, *job = row
    event = Event(id=ids.encode("evt", id_), type=type_, created_at=created_at, tenant_id=tenant_id, sequence=sequence)
    return NewEvent(uuid=id_, event=event, job=None if job[0] is None else rows.job(job))


_LIMIT_STATEMENTS = Statement("""
SELECT set_config('statement_timeout', %(run)s, true), set_config('lock_timeout', %(lock)s, true)
""")

# An event is done when fewer deliveries than the limit were left to create. Otherwise the last endpoint is stored. The
# events are locked, so that a process that was declared dead creates no duplicate deliveries.
_CREATE_DELIVERIES = Prepared(
    "create_deliveries",
    f"""
WITH given AS (
    SELECT e.id, e.n, e.type, e.job_id, e.tenant_id, e.created_at, e.fanned_out_to, e.is_of_child,
           coalesce(e.body, g.body) AS body, coalesce(e.traceparent, g.traceparent) AS traceparent
    FROM unnest(%(ids)s::uuid[], %(bodies)s::text[], %(traces)s::text[]) AS g (id, body, traceparent)
    JOIN webhook_events AS e ON e.id = g.id AND {is_given("e.id")} AND e.fanned_out_at IS NULL
    FOR UPDATE OF e
), pairs AS (
    SELECT given.id, given.type, given.job_id, given.n, given.tenant_id, p.endpoint_id
    FROM given CROSS JOIN LATERAL (
        SELECT p.id AS endpoint_id FROM webhook_endpoints AS p
        WHERE p.tenant_id = given.tenant_id AND p.status <> 'deleted' AND p.paused_at IS NULL
            AND p.channel IS NULL AND given.type = ANY(p.events) AND (given.is_of_child IS NOT TRUE OR NOT p.roots_only)
            AND p.created_at <= given.created_at AND (given.fanned_out_to IS NULL OR p.id > given.fanned_out_to)
        ORDER BY p.id LIMIT {MAX_DELIVERIES_PER_EVENT}
    ) AS p
    WHERE given.body IS NOT NULL
), reached AS (
    SELECT id, count(*) AS deliveries, (array_agg(endpoint_id ORDER BY endpoint_id DESC))[1] AS last
    FROM pairs GROUP BY id
), done AS (
    UPDATE webhook_events AS e SET body = given.body, traceparent = given.traceparent, fanned_out_to = reached.last,
        fanned_out_at = CASE WHEN coalesce(reached.deliveries, 0) < {MAX_DELIVERIES_PER_EVENT} THEN now() END
    FROM given LEFT JOIN reached USING (id)
    WHERE e.tenant_id = given.tenant_id AND e.id = given.id AND {is_given("e.id")}
), created AS (
    INSERT INTO webhook_deliveries (tenant_id, endpoint_id, event_id, event_type, job_id, n)
    SELECT tenant_id, endpoint_id, id, type, job_id, n FROM pairs ORDER BY n, endpoint_id
    RETURNING tenant_id, endpoint_id
), leases AS (
    -- All of them are locked: a sender that acquires one between this read and the commit would miss the deliveries.
    SELECT tenant_id, endpoint_id, due_at, greatest(now(), not_before) AS next_due_at FROM webhook_lanes
    WHERE (tenant_id, endpoint_id) IN (SELECT tenant_id, endpoint_id FROM created)
    ORDER BY endpoint_id FOR UPDATE
), made_due AS (
    UPDATE webhook_lanes AS l SET due_at = leases.next_due_at
    FROM leases
    WHERE l.tenant_id = leases.tenant_id AND l.endpoint_id = leases.endpoint_id
        AND (leases.due_at IS NULL OR leases.due_at > leases.next_due_at)
)
SELECT count(*) FROM created
""",
)


def create_deliveries(connection: Connection, bodies: Sequence[tuple[str, str | None, str | None]]) -> int:
    """Create deliveries of events, given as UUID, body (JSON) and trace, within a transaction.

    A stored body is not replaced. An event without a body has no deliveries, and an endpoint receives no events that
    are older than itself. Returns the number of deliveries. Raises the driver's errors.
    """
    limits = {"run": f"{round(STATEMENT_SECONDS * 1000)}ms", "lock": f"{round(LOCK_SECONDS * 1000)}ms"}
    connection.exec_driver_sql(_LIMIT_STATEMENTS, limits)
    parameters = {
        **given_ids([uuid for uuid, _, _ in bodies]),
        "bodies": [body for _, body, _ in bodies],
        "traces": [trace for _, _, trace in bodies],
    }
    return int(_CREATE_DELIVERIES.run(connection, parameters, before=BY_INDEX)[0][0])


_ADD_DEAD_LETTER = Statement(f"""
WITH bad AS (
    UPDATE webhook_events SET fanned_out_at = now()
    WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid AND fanned_out_at IS NULL
    RETURNING tenant_id, id AS row_id, NULL::uuid AS continues_after
)
{dead_letters.INSERT}""")


def add_dead_letter(connection: Connection, *, tenant_id: str, uuid: str, error: Exception) -> None:
    """Exclude an event from the fan-out until an operator returns it (`ava start sender --retry-dead-letters`)."""
    given = dead_letters.insert_parameters(DeadLetterKind.WEBHOOK_EVENT, [uuid], error)
    connection.exec_driver_sql(_ADD_DEAD_LETTER, given | {"tenant_id": tenant_id, "id": uuid})
