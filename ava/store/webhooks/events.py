"""Webhook events, from the trigger that writes one when a job moves, to the deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ava.domain import ids
from ava.domain.events import Event
from ava.domain.job import Job
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.jobs import rows

__all__ = ["NewEvent", "claim_new", "delete_old", "fan_out"]

#: The key of the advisory lock that a fan-out holds: "ava fan" as a number.
_LOCK_KEY = 0x61766120_66616E
#: The most bytes of payloads, as stored, in one batch, so that memory stays bounded.
_MOST_BYTES = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """An event that was not fanned out yet."""

    event: Event
    #: The job as it was at the event; None if it was deleted since.
    job: Job | None


# The time-out ends the transaction of a process that freezes while it holds the lock.
_LOCK_FAN_OUT = Statement("""
SELECT pg_try_advisory_xact_lock(%(key)s) FROM set_config('idle_in_transaction_session_timeout', '10s', true)
""")
# The columns are those of `rows.JOB_COLUMNS`; those that may change after the event are read from the event.
# The events are read once: to join them with themselves, the planner may walk all new ones for each of them.
_CLAIM_NEW = Prepared(
    "claim_new_events",
    f"""
WITH sized AS (
    SELECT e.*, sum(pg_column_size(j.input) + coalesce(pg_column_size(j.output), 0)) OVER (ORDER BY e.n) AS bytes,
           row_number() OVER (ORDER BY e.n) AS place
    FROM (SELECT * FROM webhook_events WHERE fanned_out_at IS NULL ORDER BY n LIMIT %(limit)s) AS e
    LEFT JOIN jobs AS j ON j.id = e.job_id
)
SELECT e.id::text, e.type, e.created_at, e.tenant_id, e.sequence,
    j.id::text, j.worker_id, j.tenant_id, e.status, j.trigger, j.priority, j.input::text, j.triggered_by,
    j.created_at, e.started_at, e.completed_at, CASE WHEN e.completed_at IS NOT NULL THEN j.output END::text,
    CASE WHEN e.completed_at IS NOT NULL THEN j.error END, j.scheduled_at, e.attempt, j.max_attempts,
    e.cancel_requested_at, e.cancelled_by, e.progress::text, j.retry_of::text, j.queue, j.run_no, j.run_at,
    j.published_at, j.node_id::text, j.traceparent
FROM sized AS e LEFT JOIN jobs AS j ON j.id = e.job_id
WHERE e.place = 1 OR e.bytes <= {_MOST_BYTES}
ORDER BY e.n
""",
)


def claim_new(connection: Connection, *, limit: int) -> list[NewEvent]:
    """Returns the oldest events that were not fanned out, within a transaction, or none if another process fans out.

    One process at a time fans out, so that the deliveries of one job are created in the order of its events.
    """
    if not connection.exec_driver_sql(_LOCK_FAN_OUT, {"key": _LOCK_KEY}).scalar():
        return []
    return [_new_event(row) for row in _CLAIM_NEW.run(connection, {"limit": limit})]


def _new_event(row: Any) -> NewEvent:
    id_, type_, created_at, tenant_id, sequence, *job = row
    event = Event(id=ids.encode("evt", id_), type=type_, created_at=created_at, tenant_id=tenant_id, sequence=sequence)
    return NewEvent(event=event, job=None if job[0] is None else rows.job(job))


_FAN_OUT = Prepared(
    "fan_out",
    """
WITH given AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(bodies)s::text[], %(traces)s::text[]) AS g (id, body, traceparent)
), done AS (
    UPDATE webhook_events AS e SET body = given.body, traceparent = given.traceparent, fanned_out_at = now()
    FROM given WHERE e.id = given.id
    RETURNING e.*
), created AS (
    INSERT INTO webhook_deliveries (endpoint_id, event_id, event_type, job_id, n)
    SELECT p.id, done.id, done.type, done.job_id, done.n
    FROM done JOIN webhook_endpoints AS p ON p.tenant_id = done.tenant_id AND p.status IN ('active', 'degraded')
        AND done.type = ANY(p.events) AND p.created_at <= done.created_at
    WHERE done.body IS NOT NULL
    ORDER BY done.n
    RETURNING endpoint_id
), leases AS (
    -- All of them are locked: a sender that acquires one between this read and the commit would miss the deliveries.
    SELECT endpoint_id, due_at, greatest(now(), not_before) AS next_due_at FROM webhook_lanes
    WHERE endpoint_id IN (SELECT endpoint_id FROM created)
    ORDER BY endpoint_id FOR UPDATE
), made_due AS (
    UPDATE webhook_lanes AS l SET due_at = leases.next_due_at
    FROM leases
    WHERE l.endpoint_id = leases.endpoint_id AND (leases.due_at IS NULL OR leases.due_at > leases.next_due_at)
)
SELECT count(*) FROM created
""",
)


def fan_out(connection: Connection, bodies: Sequence[tuple[NewEvent, str | None]]) -> int:
    """Store the body of each event (as JSON text) and create its deliveries. Returns the number of deliveries.

    An event without a body has no deliveries. An endpoint does not receive events that are older than itself.
    """
    parameters = {
        "ids": [str(ids.decode("evt", new.event.id)) for new, _ in bodies],
        "bodies": [body for _, body in bodies],
        "traces": [None if new.job is None else new.job.traceparent for new, _ in bodies],
    }
    return int(_FAN_OUT.run(connection, parameters)[0][0])


_DELETE_OLD = Statement("""
WITH old AS (
    SELECT id FROM webhook_events WHERE id < %(before)s::uuid ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), deliveries AS (
    DELETE FROM webhook_deliveries WHERE event_id IN (SELECT id FROM old)
), endpoints AS (
    DELETE FROM webhook_endpoints AS p WHERE p.status = 'deleted' AND EXISTS (SELECT 1 FROM old)
        AND NOT EXISTS (SELECT 1 FROM webhook_deliveries AS d WHERE d.endpoint_id = p.id)
)
DELETE FROM webhook_events WHERE id IN (SELECT id FROM old)
""")


def delete_old(connection: Connection, *, retention_days: float, limit: int) -> int:
    """Delete the oldest events past retention with their deliveries, and deleted endpoints without deliveries.

    Returns the number of events.
    """
    oldest = clock.now(connection) - timedelta(days=retention_days)
    parameters = {"before": str(ids.first_uuid(oldest)), "limit": limit}
    return connection.exec_driver_sql(_DELETE_OLD, parameters).rowcount
