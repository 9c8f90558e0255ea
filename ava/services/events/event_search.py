"""Search the event that a handler waits for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import UUID

from ava.domain import ids
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.jobs.job import Job
from ava.store.engine.database import Connection
from ava.store.events import awaited, events

#: Events that one statement reads, to match them against a pattern.
_EVENTS_PER_STATEMENT = 20


def search_event(
    read: Callable[[Callable[[Connection], Any]], Any],
    job: Job,
    wanted: AwaitedEvent,
    *,
    event_id: str | None,
    taken: Collection[str],
) -> Mapping[str, Any] | None:
    """Return the record of the event with this id, or of the first matching event since the job's creation.

    `read` calls a function with a connection. `taken`: ids of events to skip. None: there is no such event.
    """
    tenant_id = job.tenant_id
    if event_id is not None:
        found = read(lambda c: events.show(c, tenant_id=tenant_id, event_id=event_id))
        return None if found is None or event_id in taken else found.record()
    after = str(UUID(int=ids.first_uuid(job.created_at).int - 1))
    limit = 1 if wanted.match is None else _EVENTS_PER_STATEMENT
    while True:
        page = read(
            lambda c, after=after: awaited.find(  # type: ignore[misc]
                c, tenant_id=tenant_id, type_=wanted.type, after=after, taken=taken, limit=limit
            )
        )
        for event in page:
            if wanted.matches(record := event.record()):
                return dict(record)
        if len(page) < limit:
            return None
        after = str(ids.decode("evt", page[-1].id))
