"""Use cases of events: send, list and show them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.counts import PageBounds
from ava.domain.events.event import EventSpec, InboundEvent
from ava.domain.jobs.job import Job
from ava.errors import EventNotFound, required
from ava.metrics import counters
from ava.services import replays
from ava.services.events.event_jobs import Capacity, EventJobs
from ava.services.jobs import Jobs
from ava.store.engine.database import Connection, Database
from ava.store.events import awaited, events
from ava.store.events.events import EventFilter
from ava.store.jobs import idempotency
from ava.telemetry import tracing


class Events:
    """Use cases of events."""

    def __init__(self, database: Database, jobs: Jobs, event_jobs: EventJobs) -> None:
        self._database = database
        self._jobs = jobs
        self._event_jobs = event_jobs

    def send(
        self, caller: Caller, specs: Sequence[EventSpec], key: str | None = None
    ) -> tuple[list[InboundEvent], bool]:
        """Store events with their jobs, all or none. Return them in order, and True for a repeated call.

        An event with a known source and id is returned as the first one. Raise `TooMany` if the tenant stores too much,
        `IdempotencyKeyReused`.
        """
        with self._database.transaction() as connection:
            if key is not None:
                earlier = replays.reserve_for(connection, caller, key, _digest(specs))
                if earlier is not None:
                    return self._again(connection, caller, earlier), True
            size = sum(len(spec.data_json) for spec in specs)
            self._jobs.creator.admit_bytes(connection, tenant_id=caller.tenant_id, size=size)
            sent, jobs = self._store(connection, caller, specs)
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[event.id for event in sent])
        self._jobs.publish(jobs)
        repeated = sum(event.is_duplicate for event in sent)
        counters.EVENTS.labels("api", "duplicate").inc(repeated)
        counters.EVENTS.labels("api", "stored").inc(len(sent) - repeated)
        return sent, False

    def _store(
        self, connection: Connection, caller: Caller, specs: Sequence[EventSpec]
    ) -> tuple[list[InboundEvent], Sequence[Job]]:
        tenant_id = caller.tenant_id
        reserved = events.reserve(connection, tenant_id=tenant_id, count=len(specs))
        traceparent = tracing.current()
        new = [
            InboundEvent(
                id=event_id,
                tenant_id=tenant_id,
                spec=spec,
                created_at=reserved.now,
                traceparent=traceparent,
                sender=caller.actor.text,
            )
            for event_id, spec in zip(reserved.event_ids, specs, strict=True)
        ]
        first = self._find_first(connection, tenant_id, new)
        firsts = [event for event in new if first[event.id] == event.id]
        made = self._event_jobs.make(connection, firsts, Capacity(), version=reserved.version)
        events.insert(connection, made.events, fanned_out_to=made.fanned_out_to, version=reserved.version)
        found = {event.id: event for event in made.events}
        missing = sorted({event_id for event_id in first.values() if event_id not in found})
        found |= events.show_many(connection, tenant_id=tenant_id, event_ids=missing)
        return [_first_or_again(event, first[event.id], found) for event in new], made.jobs

    def _find_first(self, connection: Connection, tenant_id: str, new: Sequence[InboundEvent]) -> dict[str, str]:
        """Return for each new event the first one with its source and id: itself, unless one is known."""
        digests = {event.id: _key(event.spec) for event in new if event.spec.source_id is not None}
        own: dict[bytes, str] = {}
        for event_id, digest in digests.items():
            own.setdefault(digest, event_id)
        known = events.find_first(connection, tenant_id=tenant_id, event_ids=own) if own else {}
        return {event.id: known[digests[event.id]] if event.id in digests else event.id for event in new}

    def _again(self, connection: Connection, caller: Caller, uuids: Sequence[str]) -> list[InboundEvent]:
        event_ids = [ids.encode("evt", uuid) for uuid in uuids]
        found = events.show_many(connection, tenant_id=caller.tenant_id, event_ids=event_ids)
        if len(found) < len(set(event_ids)):
            raise EventNotFound
        return [found[event_id] for event_id in event_ids]

    def page(self, caller: Caller, event_filter: EventFilter, *, bounds: PageBounds) -> tuple[list[InboundEvent], int]:
        """Return a page of events, newest first, and the number of matches, exact up to `counts.MAX_IN_TOTAL`."""
        with self._database.connect() as connection:
            found, total = events.page(connection, tenant_id=caller.tenant_id, event_filter=event_filter, bounds=bounds)
            return awaited.with_jobs(connection, found), total

    def show(self, caller: Caller, event_id: str) -> InboundEvent:
        """Return an event. Raise `EventNotFound`."""
        with self._database.connect() as connection:
            found = required(events.show(connection, tenant_id=caller.tenant_id, event_id=event_id), EventNotFound)
            (shown,) = awaited.with_jobs(connection, [found])
        return shown


def _first_or_again(event: InboundEvent, first_id: str, found: dict[str, InboundEvent]) -> InboundEvent:
    if first_id == event.id:
        return found[event.id]
    # Retention may have deleted its row.
    return replace(found.get(first_id, replace(event, id=first_id)), is_duplicate=True)


def _key(spec: EventSpec) -> bytes:
    json_string = json.dumps([spec.source, spec.source_id])
    return hashlib.sha256(json_string.encode()).digest()


def _digest(specs: Sequence[EventSpec]) -> bytes:
    asked = [dataclasses.asdict(spec) | {"data_json": json.loads(spec.data_json)} for spec in specs]
    return hashlib.sha256(b"events" + json.dumps(asked, sort_keys=True, default=str).encode()).digest()
