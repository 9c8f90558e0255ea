"""New events find the jobs whose handlers wait for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ava.domain import ids
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.events.event import InboundEvent
from ava.store.engine.database import Connection
from ava.store.events import awaited, events
from ava.store.events.awaited import EventWait, FoundEvent
from ava.store.jobs import wake_queue

#: What one transaction compares: events, the bytes of their data, and jobs that wait.
_MAX_EVENTS = 20
_MAX_BYTES = 2**20
_MAX_JOBS = 1_000
#: Seconds after which a transaction leaves the other jobs to the next one.
_MAX_SECONDS = 0.5

#: Many jobs wait for events by the same pattern.
_read = lru_cache(maxsize=1_000)(AwaitedEvent.read)


class AwaitingJobs:
    """Compares events with what handlers wait for, one tenant after the other in turn."""

    def __init__(self, *, max_jobs: int = _MAX_JOBS) -> None:
        """`max_jobs`: the jobs of one transaction."""
        self._max_jobs = max_jobs
        self._last_tenant = ""

    def run_next(self, connection: Connection) -> list[tuple[str, str]] | None:
        """Compare some events of the next tenant with what its jobs wait for, in a transaction.

        Returns the jobs, locked, for which events were found: tenants and UUIDs. None: no event is left.
        """
        wakes = wake_queue.claim_events(connection, after_tenant=self._last_tenant, limit=_MAX_EVENTS)
        if wakes is None:
            was_last, self._last_tenant = self._last_tenant != "", ""
            return [] if was_last else None
        self._last_tenant = wakes.tenant_id
        waits, last = awaited.waits(connection, wakes, max_jobs=self._max_jobs)
        open_waits = [each for each in waits if not each.has_ended]
        awaited.forget_ended(connection, wakes.tenant_id, [each for each in waits if each.has_ended])
        count, marked = len(wakes.event_ids), []
        if open_waits:
            new = _read_events(connection, wakes.tenant_id, wakes.event_ids)
            count = _count_within(wakes.event_ids, new)
            chosen = sorted(new[event_id] for event_id in wakes.event_ids[:count] if event_id in new)
            found, reached = _match([(event_id, record) for event_id, _, record in chosen], open_waits)
            marked = awaited.mark(connection, wakes.tenant_id, found)
            last = reached or last
        wake_queue.advance_events(connection, wakes, to=last, count=count)
        return marked


_Event = tuple[str, int, Any]


def _read_events(connection: Connection, tenant_id: str, event_ids: Sequence[str]) -> dict[str, _Event]:
    found = events.show_many(connection, tenant_id=tenant_id, event_ids=event_ids)
    return {event_id: (event_id, _size(event), event.record()) for event_id, event in found.items()}


def _size(event: InboundEvent) -> int:
    return len(event.spec.data_json) + len(event.spec.headers_json or "")


def _count_within(event_ids: Sequence[str], new: dict[str, _Event]) -> int:
    """Returns how many of the first events have `_MAX_BYTES` together: one at least."""
    size = 0
    for count, event_id in enumerate(event_ids):
        size += new[event_id][1] if event_id in new else 0
        if count and size > _MAX_BYTES:
            return count
    return len(event_ids)


def _match(
    new: Sequence[tuple[str, dict[str, Any]]], waits: Sequence[EventWait]
) -> tuple[list[FoundEvent], str | None]:
    """Returns for each wait the first event that it is for, and the last job that there was time for, if not for all.

    One event may be found for several waits of a job, of which the handler gives it to one. The others look again.
    """
    found: list[FoundEvent] = []
    until = time.monotonic() + _MAX_SECONDS
    job_uuid = ""
    for wait in waits:
        if wait.job_uuid != job_uuid:
            if job_uuid and time.monotonic() > until:
                return found, job_uuid
            job_uuid = wait.job_uuid
        first = str(ids.first_uuid(wait.job_created_at))
        wanted = _read(wait.value_json)
        for event_id, record in new:
            is_new = event_id not in wait.taken and str(ids.decode("evt", event_id)) >= first
            if is_new and wanted.matches(record):
                found.append(FoundEvent(wait=wait, event_id=event_id))
                break
    return found, None
