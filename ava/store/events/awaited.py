"""Events that jobs wait for: a run looks for one, and the dispatcher compares each new event with the waits.

A wait is an entry of a job's journal. It is there before the run looks for its event, and each event leaves a wake in
its own transaction. So of an event and a wait at the same moment, the run sees the event, or the duty that follows the
wake sees the wait.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain import ids
from ava.domain.events.event import InboundEvent
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.events.events import COLUMNS, event_of, event_uuid
from ava.store.jobs.wake_queue import EventWakes

#: The last job of all.
_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

_FIND = Statement(f"""
SELECT {COLUMNS} FROM events AS e
WHERE e.tenant_id = %(tenant_id)s AND e.type = %(type)s AND e.id > %(after)s::uuid AND e.id <> ALL(%(taken)s::uuid[])
ORDER BY e.tenant_id, e.type, e.id LIMIT %(limit)s
""")


def find(
    connection: Connection, *, tenant_id: str, type_: str, after: str, taken: Collection[str], limit: int
) -> list[InboundEvent]:
    """Returns events of a type after a UUID, the oldest first, without those whose ids are `taken`."""
    uuids = [uuid for uuid in map(event_uuid, taken) if uuid is not None]
    given = {"tenant_id": tenant_id, "type": type_, "after": after, "taken": uuids, "limit": limit}
    return [event_of(row) for row in connection.exec_driver_sql(_FIND, given)]


#: The waits `k` for which no event has been found, which `job_journal_events` has.
_IS_OPEN = "k.kind = 'event' AND k.state = 'waits' AND k.event_id IS NULL"


@dataclass(frozen=True, kw_only=True, slots=True)
class EventWait:
    """A wait for an event of a type."""

    job_uuid: str
    name: str
    #: What it is for, as the journal has it.
    value_json: str
    job_created_at: datetime
    #: Whether the job has ended.
    has_ended: bool
    #: Those of the given events that the job has got already.
    taken: Collection[str]


_WAITS = Statement(f"""
SELECT k.job_id::text, k.name, k.value::text, j.created_at, j.completed_at IS NOT NULL, ARRAY(
    SELECT o.event_id::text FROM job_journal AS o
    WHERE o.tenant_id = k.tenant_id AND o.job_id = k.job_id AND o.kind = 'event'
        AND o.event_id = ANY(%(event_ids)s::uuid[]))
FROM job_journal AS k JOIN jobs AS j ON j.tenant_id = k.tenant_id AND j.id = k.job_id
WHERE k.tenant_id = %(tenant_id)s AND k.value ->> 'type' = %(type)s AND {_IS_OPEN}
    AND k.job_id > coalesce(%(after_id)s::uuid, '00000000-0000-0000-0000-000000000000')
    AND k.job_id <= %(until_id)s::uuid
ORDER BY k.job_id, k.name
""")
_LAST_OF_PAGE = Statement(f"""
SELECT max(page.job_id::text) FROM (
    SELECT DISTINCT k.job_id FROM job_journal AS k
    WHERE k.tenant_id = %(tenant_id)s AND k.value ->> 'type' = %(type)s AND {_IS_OPEN}
        AND k.job_id > coalesce(%(after_id)s::uuid, '00000000-0000-0000-0000-000000000000')
    ORDER BY k.job_id LIMIT %(limit)s) AS page
HAVING count(*) = %(limit)s
""")


def waits(connection: Connection, wakes: EventWakes, *, max_jobs: int) -> tuple[list[EventWait], str | None]:
    """Returns the waits that events are to be compared with, of the next jobs in the order of their ids.

    With the last of the jobs as a UUID, if there may be more of them.
    """
    given = {
        "tenant_id": wakes.tenant_id,
        "type": wakes.type,
        "after_id": wakes.after_id,
        "event_ids": [event_uuid(event_id) for event_id in wakes.event_ids],
        "limit": max_jobs,
    }
    last: str | None = connection.exec_driver_sql(_LAST_OF_PAGE, given).scalar()
    found = [
        EventWait(
            job_uuid=uuid,
            name=name,
            value_json=value_json,
            job_created_at=created_at,
            has_ended=has_ended,
            taken={ids.encode("evt", each) for each in taken},
        )
        for uuid, name, value_json, created_at, has_ended, taken in connection.exec_driver_sql(
            _WAITS, given | {"until_id": last or _LAST_UUID}
        )
    ]
    return found, last


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundEvent:
    """An event that was found for a wait."""

    wait: EventWait
    event_id: str


# A run that writes into its journal locks its job first as well.
_MARK = Statement(f"""
WITH locked AS (
    SELECT j.tenant_id, j.id FROM jobs AS j
    WHERE j.tenant_id = %(tenant_id)s AND j.id = ANY(%(jobs)s::uuid[])
    ORDER BY j.id FOR NO KEY UPDATE OF j
), marked AS (
    UPDATE job_journal AS k SET event_id = f.event_id
    FROM unnest(%(jobs)s::uuid[], %(names)s::text[], %(events)s::uuid[]) AS f (job_id, name, event_id)
    JOIN locked AS l ON l.id = f.job_id
    WHERE k.tenant_id = l.tenant_id AND k.job_id = l.id AND k.name = f.name AND {_IS_OPEN}
    RETURNING k.tenant_id, k.job_id
)
SELECT DISTINCT m.job_id::text FROM marked AS m
""")


def mark(connection: Connection, tenant_id: str, found: Sequence[FoundEvent]) -> list[tuple[str, str]]:
    """Write events into the waits that they were found for, and lock their jobs. Returns these: tenants and UUIDs."""
    if not found:
        return []
    given = _parameters(tenant_id, [each.wait for each in found])
    given["events"] = [event_uuid(each.event_id) for each in found]
    return [(tenant_id, uuid) for uuid in connection.exec_driver_sql(_MARK, given).scalars()]


_FORGET_ENDED = Statement(f"""
DELETE FROM job_journal AS k USING unnest(%(jobs)s::uuid[], %(names)s::text[]) AS f (job_id, name)
WHERE k.tenant_id = %(tenant_id)s AND k.job_id = f.job_id AND k.name = f.name AND {_IS_OPEN}
""")


def forget_ended(connection: Connection, tenant_id: str, ended: Sequence[EventWait]) -> int:
    """Delete waits of jobs that have ended, so that no later event is compared with them. Returns their number."""
    if not ended:
        return 0
    return connection.exec_driver_sql(_FORGET_ENDED, _parameters(tenant_id, ended)).rowcount


def _parameters(tenant_id: str, chosen: Sequence[EventWait]) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "jobs": [each.job_uuid for each in chosen],
        "names": [each.name for each in chosen],
    }
