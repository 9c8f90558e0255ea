"""Events that jobs wait for: runs search for them, and the dispatcher matches each new event with the waits.

A wait is a journal entry. It is stored before the run searches for its event, and each event writes a wake in its own
transaction. So for a concurrent event and wait, the run sees the event, or the wakes duty sees the wait.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from ava.domain import ids
from ava.domain.events import awaited
from ava.domain.events.event import InboundEvent
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.events.events import COLUMNS, event_of, event_uuid
from ava.store.jobs.wake_queue import EventWakes, WaitPosition

_FIND = Statement(f"""
SELECT {COLUMNS} FROM events AS e
WHERE e.tenant_id = %(tenant_id)s AND e.type = %(type)s AND e.id > %(after)s::uuid AND e.id <> ALL(%(taken)s::uuid[])
ORDER BY e.tenant_id, e.type, e.id LIMIT %(limit)s
""")


def find(
    connection: Connection, *, tenant_id: str, type_: str, after: str, taken: Collection[str], limit: int
) -> list[InboundEvent]:
    """Return events of a type behind a UUID, oldest first, except events with ids in `taken`."""
    uuids = [uuid for uuid in map(event_uuid, taken) if uuid is not None]
    given = {"tenant_id": tenant_id, "type": type_, "after": after, "taken": uuids, "limit": limit}
    return [event_of(row) for row in connection.exec_driver_sql(_FIND, given)]


#: Max jobs listed with an event.
MAX_LISTED = 100
_JOBS_OF = Statement("""
SELECT e.id::text, k.job_id::text FROM unnest(%(ids)s::uuid[]) AS e (id) CROSS JOIN LATERAL (
    SELECT DISTINCT k.job_id FROM job_journal AS k WHERE k.tenant_id = %(tenant_id)s AND k.event_id = e.id
    ORDER BY k.job_id LIMIT %(limit)s
) AS k
""")


def with_jobs(connection: Connection, found: Sequence[InboundEvent]) -> list[InboundEvent]:
    """Return events of one tenant with the first `MAX_LISTED` jobs that received each event by a wait."""
    jobs: dict[str, list[str]] = {str(event_uuid(event.id)): [] for event in found}
    if found:
        given = {"tenant_id": found[0].tenant_id, "ids": list(jobs), "limit": MAX_LISTED}
        for uuid, job_uuid in connection.exec_driver_sql(_JOBS_OF, given):
            jobs[uuid].append(ids.encode("job", job_uuid))
    return [replace(event, woken_job_ids=jobs[str(event_uuid(event.id))]) for event in found]


#: Condition: the wait `k` has no event yet. And: the wait is for a type, as in the index `job_journal_events`.
_IS_OPEN = "k.kind = 'event' AND k.state = 'waits' AND k.event_id IS NULL"
_OF_TYPE = f"k.tenant_id = %(tenant_id)s AND k.value ->> 'type' = %(type)s AND {_IS_OPEN}"

# One index descent per list of paths. For the last key of a list see `last_key`.
_SAMPLES = Statement(f"""
WITH RECURSIVE samples AS (
    (SELECT k.match_key, k.value FROM job_journal AS k
     WHERE {_OF_TYPE} AND k.match_key >= %(first_key)s::uuid ORDER BY k.match_key LIMIT 1)
    UNION ALL
    SELECT n.match_key, n.value FROM samples AS s CROSS JOIN LATERAL (
        SELECT k.match_key, k.value FROM job_journal AS k
        WHERE {_OF_TYPE} AND k.match_key > (left(s.match_key::text, 18) || '-ffff-ffffffffffff')::uuid
        ORDER BY k.match_key LIMIT 1
    ) AS n
)
SELECT s.match_key::text, s.value::text FROM samples AS s LIMIT %(limit)s
""")


def samples(connection: Connection, wakes: EventWakes, *, limit: int) -> list[tuple[UUID, str]]:
    """Return one wait for each list of exact paths among the waits for the events: its key and its JSON.

    Ordered by key, starting at the paths of the position that the events have reached.
    """
    first_key = awaited.first_key(wakes.after.key)
    given = {"tenant_id": wakes.tenant_id, "type": wakes.type, "first_key": str(first_key), "limit": limit}
    return [(UUID(key), value_json) for key, value_json in connection.exec_driver_sql(_SAMPLES, given)]


@dataclass(frozen=True, kw_only=True, slots=True)
class EventWait:
    """A wait for an event of a type."""

    position: WaitPosition
    name: str
    #: The awaited event, as stored in the journal.
    value_json: str
    job_created_at: datetime | None
    has_ended: bool
    #: The given events that the job has already received.
    taken: Collection[str]


_ROWS = RecordRows(
    EventWait,
    "k",
    columns={
        "job_created_at": "j.created_at",
        "has_ended": "j.id IS NULL OR j.completed_at IS NOT NULL",
        "taken": """ARRAY(
            SELECT o.event_id::text FROM job_journal AS o
            WHERE o.tenant_id = %(tenant_id)s AND o.job_id = k.job_id AND o.kind = 'event'
                AND o.event_id = ANY(%(event_ids)s::uuid[]))""",
    },
    readers={"taken": lambda uuids: {ids.encode("evt", uuid) for uuid in uuids}},
    without=("position",),
)
# Waits of one job with one key stay together. Each range has one lower bound, because with two PostgreSQL may start
# reading at the lower one.
_WAITS = Statement(f"""
SELECT {_ROWS.columns}, k.match_key::text, k.job_id::text
FROM (
    SELECT w.* FROM unnest(%(after_keys)s::uuid[], %(after_ids)s::uuid[], %(last_keys)s::uuid[])
        AS r (after_key, after_id, last_key)
    CROSS JOIN LATERAL (
        SELECT k.match_key, k.job_id, k.name, k.value FROM job_journal AS k
        WHERE {_OF_TYPE} AND (k.match_key, k.job_id) > (r.after_key, r.after_id) AND k.match_key <= r.last_key
        ORDER BY k.match_key, k.job_id FETCH FIRST %(limit)s ROWS WITH TIES
    ) AS w ORDER BY w.match_key, w.job_id FETCH FIRST %(limit)s ROWS WITH TIES
) AS k LEFT JOIN jobs AS j ON j.tenant_id = %(tenant_id)s AND j.id = k.job_id
ORDER BY k.match_key, k.job_id, k.name
""")


def waits(
    connection: Connection, wakes: EventWakes, keys: Sequence[tuple[UUID, UUID]], *, limit: int
) -> list[EventWait]:
    """Return the next waits with keys in ranges, ordered by position; slightly more than `limit` if needed."""
    left = [(max(WaitPosition.before(first), wakes.after), last) for first, last in keys if last >= wakes.after.key]
    given = {
        "tenant_id": wakes.tenant_id,
        "type": wakes.type,
        "after_keys": [str(after.key) for after, _ in left],
        "after_ids": [after.job_uuid for after, _ in left],
        "last_keys": [str(last) for _, last in left],
        "event_ids": [event_uuid(event_id) for event_id in wakes.event_ids],
        "limit": limit,
    }
    return [
        _ROWS.read(row, position=WaitPosition(key=UUID(row[-2]), job_uuid=row[-1]))
        for row in connection.exec_driver_sql(_WAITS, given)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundEvent:
    wait: EventWait
    event_id: str


# A run that writes into its journal locks its job first too. It may have replaced a wait in between.
_MARK = Statement(f"""
WITH locked AS (
    SELECT j.tenant_id, j.id FROM jobs AS j
    WHERE j.tenant_id = %(tenant_id)s AND j.id = ANY(%(jobs)s::uuid[])
    ORDER BY j.id FOR NO KEY UPDATE OF j
), marked AS (
    UPDATE job_journal AS k SET event_id = f.event_id
    FROM unnest(%(jobs)s::uuid[], %(names)s::text[], %(values)s::text[], %(events)s::uuid[])
        AS f (job_id, name, value, event_id)
    JOIN locked AS l ON l.id = f.job_id
    WHERE k.tenant_id = l.tenant_id AND k.job_id = l.id AND k.name = f.name AND k.value::text = f.value AND {_IS_OPEN}
    RETURNING k.tenant_id, k.job_id
)
SELECT DISTINCT m.job_id::text FROM marked AS m
""")


def mark(connection: Connection, tenant_id: str, found: Sequence[FoundEvent]) -> list[tuple[str, str]]:
    """Store events in the waits they match, and lock their jobs. Returns these as tenants and UUIDs."""
    if not found:
        return []
    given = _parameters(tenant_id, [each.wait for each in found])
    given["values"] = [each.wait.value_json for each in found]
    given["events"] = [event_uuid(each.event_id) for each in found]
    return [(tenant_id, uuid) for uuid in connection.exec_driver_sql(_MARK, given).scalars()]


_FORGET_ENDED = Statement(f"""
DELETE FROM job_journal AS k USING unnest(%(jobs)s::uuid[], %(names)s::text[]) AS f (job_id, name)
WHERE k.tenant_id = %(tenant_id)s AND k.job_id = f.job_id AND k.name = f.name AND {_IS_OPEN}
""")


def forget_ended(connection: Connection, tenant_id: str, ended: Sequence[EventWait]) -> int:
    """Delete waits of ended jobs, so that no later event is matched with them. Returns their number."""
    if not ended:
        return 0
    return connection.exec_driver_sql(_FORGET_ENDED, _parameters(tenant_id, ended)).rowcount


def _parameters(tenant_id: str, chosen: Sequence[EventWait]) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "jobs": [each.position.job_uuid for each in chosen],
        "names": [each.name for each in chosen],
    }
