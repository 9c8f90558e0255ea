"""Match new events with waiting handlers, and search stored events for one that a handler waits for.

An event looks up the keys of its values (`ava.domain.events.awaited`) and is compared only with waits for these
keys. So with exact fields, the cost per event does not depend on the number of waiting jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from uuid import UUID

from ava.domain import ids
from ava.domain.events.awaited import MAX_KEYS, AwaitedEvent, TooManyKeys, event_keys, first_key, last_key
from ava.domain.events.event import InboundEvent
from ava.domain.events.patterns import Comparisons
from ava.domain.jobs.job import Job
from ava.domain.limits.table import EVENT_WAIT_COMPARISONS
from ava.store.engine.database import Connection
from ava.store.events import awaited, events
from ava.store.events.awaited import EventWait, FoundEvent
from ava.store.jobs import wake_queue
from ava.store.jobs.wake_queue import EventWakes, WaitPosition

#: Reads of one transaction: events, bytes of their data, lists of exact paths, waits, and pairs of events and waits.
MAX_EVENTS = 100
_MAX_BYTES = 2**20
_MAX_PATHS = 32
_MAX_WAITS = 500
_MAX_PAIRS = 5_000
#: Deleted events that no job waits for, per transaction.
_MAX_DROPPED = 1_000
#: Max seconds of comparisons per transaction; the next one continues.
_MAX_SECONDS = 0.1
_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

#: Many jobs wait with the same pattern.
_read = lru_cache(maxsize=1_000)(AwaitedEvent.read)


class AwaitingJobs:
    """Compares events with handlers' waits, tenant by tenant in round-robin order."""

    def __init__(self, *, max_waits: int = _MAX_WAITS) -> None:
        self._max_waits = max_waits
        #: The last tenants with compared events, and with deleted unawaited events.
        self._last_tenant = self._last_unawaited = ""
        #: The tenant before the claimed events.
        self._previous_tenant = ""
        self._claimed: EventWakes | None = None

    def return_turn(self) -> None:
        """Begin with the same tenant again, because its batch failed."""
        self._last_tenant = self._previous_tenant

    def set_aside(self, connection: Connection, error: Exception) -> None:
        """Make the claimed event, which failed on its own, a dead letter."""
        if self._claimed is None:
            raise error
        wake_queue.set_aside_events(connection, self._claimed, error)

    def run_next(self, connection: Connection, max_events: int = MAX_EVENTS) -> list[tuple[str, str]] | None:
        """Compare some events of the next tenant with its waits, in a transaction.

        If no job waits for their type, delete unawaited events of all tenants.

        Return the satisfied jobs, locked, as pairs of tenant and UUID. None: no event is left.
        """
        wakes = self._claim(connection, max_events)
        if wakes is None:
            return None
        samples = awaited.samples(connection, wakes, limit=_MAX_PATHS)
        if not samples:
            wake_queue.advance_events(connection, wakes, to=None, count=len(wakes.event_ids))
            self._last_unawaited = wake_queue.drop_unawaited(
                connection, after_tenant=self._last_unawaited, limit=_MAX_DROPPED
            )
            return []
        new = events.show_many(connection, tenant_id=wakes.tenant_id, event_ids=wakes.event_ids)
        batch = _ComparedEvents.of(wakes, new, samples)
        limit = min(self._max_waits, batch.max_waits)
        waits = awaited.waits(connection, wakes, batch.ranges(), limit=limit)
        found, reached = batch.match(waits)
        awaited.forget_ended(connection, wakes.tenant_id, [each for each in waits if each.has_ended])
        marked = awaited.mark(connection, wakes.tenant_id, found)
        if reached is None and len(waits) >= limit:
            reached = waits[-1].position
        if reached is None and len(samples) == _MAX_PATHS:
            reached = WaitPosition(key=last_key(samples[-1][0]), job_uuid=_LAST_UUID)
        wake_queue.advance_events(connection, wakes, to=reached, count=batch.count)
        return marked

    def _claim(self, connection: Connection, max_events: int) -> EventWakes | None:
        self._claimed, self._previous_tenant = None, self._last_tenant
        for after_tenant in dict.fromkeys((self._last_tenant, "")):
            wakes = wake_queue.claim_events(connection, after_tenant=after_tenant, limit=max_events)
            if wakes is not None:
                self._claimed, self._last_tenant = wakes, wakes.tenant_id
                return wakes
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _NewEvent:
    uuid: UUID
    id: str
    record: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _ComparedEvents:
    #: The first claimed events in this batch. Retention may have deleted some.
    count: int = 0
    #: Events by key; and by first key, if they have too many keys for these paths.
    by_key: dict[UUID, list[_NewEvent]] = field(default_factory=dict)
    by_paths: dict[UUID, list[_NewEvent]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, wakes: EventWakes, new: Mapping[str, InboundEvent], samples: Sequence[tuple[UUID, str]]
    ) -> _ComparedEvents:
        """Return the first events within `_MAX_BYTES` and about `MAX_KEYS`, at least one."""
        batch = cls()
        size = count = 0
        until = time.monotonic() + _MAX_SECONDS
        for event_id in wakes.event_ids:
            event = new.get(event_id)
            size += 0 if event is None else len(event.spec.data_json) + len(event.spec.headers_json or "")
            if count and (size > _MAX_BYTES or len(batch.by_key) >= MAX_KEYS or time.monotonic() > until):
                break
            count += 1
            if event is not None:
                batch._add(event, samples)
        return replace(batch, count=count)

    def _add(self, event: InboundEvent, samples: Sequence[tuple[UUID, str]]) -> None:
        uuid = ids.decode("evt", event.id)
        assert uuid is not None
        new = _NewEvent(uuid=uuid, id=event.id, record=event.record())
        for sample_key, value_json in samples:
            try:
                for key in event_keys(_read(value_json).match, new.record):
                    self.by_key.setdefault(key, []).append(new)
            except TooManyKeys:
                self.by_paths.setdefault(first_key(sample_key), []).append(new)

    @property
    def max_waits(self) -> int:
        """Return the number of waits that make about `_MAX_PAIRS` comparisons, at least one."""
        events = (*self.by_key.values(), *self.by_paths.values())
        return max(1, _MAX_PAIRS // max(map(len, events), default=1))

    def ranges(self) -> list[tuple[UUID, UUID]]:
        """Return disjoint key ranges of the waits to compare."""
        exact = [(key, key) for key in self.by_key if first_key(key) not in self.by_paths]
        return [*exact, *((first, last_key(first)) for first in self.by_paths)]

    def match(self, waits: Sequence[EventWait]) -> tuple[list[FoundEvent], WaitPosition | None]:
        """Return each satisfied wait's first event, and the last position within the budget (None: all were compared).

        One event may satisfy several waits of a job, but the handler gives it to one; the other waits search again.
        """
        found: list[FoundEvent] = []
        comparisons = Comparisons()
        until = time.monotonic() + _MAX_SECONDS
        position: WaitPosition | None = None
        for wait in waits:
            is_exhausted = comparisons.count > EVENT_WAIT_COMPARISONS.value or time.monotonic() > until
            if is_exhausted and position is not None and wait.position != position:
                return found, position
            position = wait.position
            event = self._first(wait, comparisons)
            if event is not None:
                found.append(FoundEvent(wait=wait, event_id=event.id))
        return found, None

    def _first(self, wait: EventWait, comparisons: Comparisons) -> _NewEvent | None:
        if wait.has_ended or wait.job_created_at is None:
            return None
        since = ids.first_uuid(wait.job_created_at)
        wanted = _read(wait.value_json)
        key = wait.position.key
        candidates: list[_NewEvent] = [*self.by_key.get(key, ()), *self.by_paths.get(first_key(key), ())]
        for event in sorted(candidates, key=lambda each: each.uuid):
            comparisons.count += 1
            is_new = event.uuid >= since and event.id not in wait.taken
            if is_new and wanted.matches(event.record, comparisons):
                return event
        return None


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
