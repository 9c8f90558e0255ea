"""Events of webhooks on their way from the job's move, whose trigger wrote them, to the deliveries."""

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
from ava.store.jobs import rows

__all__ = ["NewEvent", "claim_new", "delete_old", "fan_out"]

#: The key of the lock under which events are fanned out: "ava fan" as a number.
_LOCK_KEY = 0x61766120_66616E
#: Bytes of payloads (as they are stored) that one batch may hold, so that memory stays bounded.
_MOST_BYTES = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """An event that no delivery was made of yet."""

    event: Event
    #: The job as it was at that moment; None where it is gone by now.
    job: Job | None


# Whoever stops in the middle must not hold up the others for ever.
_LOCK = """
SELECT pg_try_advisory_xact_lock(%s) FROM set_config('idle_in_transaction_session_timeout', '10s', true)
"""
# What cannot change any more is the job's own; the rest is as it was at the moment of the event.
_COLUMNS_THEN = (
    rows.JOB_COLUMNS.replace("j.output::text, j.error", "{final} THEN j.output END::text, {final} THEN j.error END")
    .format(final="CASE WHEN e.completed_at IS NOT NULL")
    .replace("j.status", "e.status")
    .replace("j.started_at, j.completed_at", "e.started_at, e.completed_at")
    .replace("j.attempt", "e.attempt")
    .replace("j.cancel_requested_at, j.cancelled_by, j.progress", "e.cancel_requested_at, e.cancelled_by, e.progress")
)
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
SELECT e.id::text, e.type, e.created_at, e.tenant_id, e.sequence, {_COLUMNS_THEN}
FROM sized AS e LEFT JOIN jobs AS j ON j.id = e.job_id
WHERE e.place = 1 OR e.bytes <= {_MOST_BYTES}
ORDER BY e.n
""",
)


def claim_new(connection: Connection, *, limit: int) -> list[NewEvent]:
    """The oldest events that were not fanned out, within a transaction; none where another process does it now.

    One at a time does it, so that the deliveries of one job come to be in the order of its events.
    """
    if not connection.exec_driver_sql(_LOCK, (_LOCK_KEY,)).scalar():
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
), made AS (
    INSERT INTO webhook_deliveries (endpoint_id, event_id, event_type, job_id, n)
    SELECT p.id, done.id, done.type, done.job_id, done.n
    FROM done JOIN webhook_endpoints AS p ON p.tenant_id = done.tenant_id AND p.status IN ('active', 'degraded')
        AND done.type = ANY(p.events) AND p.created_at <= done.created_at
    WHERE done.body IS NOT NULL
    ORDER BY done.n
    RETURNING endpoint_id
), lanes AS (
    -- Locked, all of them: a lane that is taken between our looking at it and our commit would miss what we bring.
    SELECT endpoint_id, due_at, greatest(now(), not_before) AS rung_at FROM webhook_lanes
    WHERE endpoint_id IN (SELECT endpoint_id FROM made)
    ORDER BY endpoint_id FOR UPDATE
), rung AS (
    UPDATE webhook_lanes AS l SET due_at = lanes.rung_at
    FROM lanes WHERE l.endpoint_id = lanes.endpoint_id AND (lanes.due_at IS NULL OR lanes.due_at > lanes.rung_at)
)
SELECT count(*) FROM made
""",
)


def fan_out(connection: Connection, bodies: Sequence[tuple[NewEvent, str | None]]) -> int:
    """Fix the body of each event (as JSON text) and make its deliveries; how many deliveries.

    An event without a body is done with. An endpoint that was made later than an event is not told of it.
    """
    parameters = {
        "ids": [str(ids.decode("evt", new.event.id)) for new, _ in bodies],
        "bodies": [body for _, body in bodies],
        "traces": [None if new.job is None else new.job.traceparent for new, _ in bodies],
    }
    return int(_FAN_OUT.run(connection, parameters)[0][0])


_DELETE_OLD = """
WITH old AS (
    SELECT id FROM webhook_events WHERE id < %(before)s::uuid ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), deliveries AS (
    DELETE FROM webhook_deliveries WHERE event_id IN (SELECT id FROM old)
), endpoints AS (
    DELETE FROM webhook_endpoints AS p WHERE p.status = 'deleted' AND EXISTS (SELECT 1 FROM old)
        AND NOT EXISTS (SELECT 1 FROM webhook_deliveries AS d WHERE d.endpoint_id = p.id)
)
DELETE FROM webhook_events WHERE id IN (SELECT id FROM old)
"""


def delete_old(connection: Connection, *, retention_days: float, limit: int) -> int:
    """Delete the oldest events past retention with their deliveries, and deleted endpoints that have none left."""
    oldest = clock.now(connection) - timedelta(days=retention_days)
    parameters = {"before": str(ids.first_uuid(oldest)), "limit": limit}
    return connection.exec_driver_sql(_DELETE_OLD, parameters).rowcount
