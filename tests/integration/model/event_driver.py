"""Calls of the store that send events and wait for them."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain import ids
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.events.event import EventSpec, InboundEvent
from ava.domain.jobs.waits import EntryState, JournalKind, NewEntry
from ava.store.engine.database import Database
from ava.store.events import events
from ava.store.jobs import journal
from tests.integration.model.state import IS_SINCE, JobState
from tests.integration.model.transitions import Run

#: Patterns of the waits, which each event of the type matches. One finds its waits by an exact value.
_MATCHES = {"ordered": {"data": {"kind": ["ordered"]}}, "paid": {"data": {"kind": [{"prefix": "p"}]}}}


class EventDriver:
    """Events over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin_to_wait(self, run: Run, attempt: int, types: Sequence[str]) -> None:
        """Write waits for events into the journal of a run, named like their types."""
        entries = [
            NewEntry(
                kind=JournalKind.EVENT,
                name=type_,
                state=EntryState.WAITS,
                value_json=AwaitedEvent(type_, _MATCHES.get(type_)).json,
            )
            for type_ in types
        ]
        with self._database.connect() as connection:
            journal.write(connection, run=run.key, claim_id=run.claim, attempt=attempt, entries=entries)

    def send(self, tenant: str, types: Sequence[str]) -> None:
        """Store events of types that no subscription names."""
        with self._database.transaction() as connection:
            reserved = events.reserve(connection, tenant_id=tenant, count=len(types))
            new = [
                InboundEvent(
                    id=event_id,
                    tenant_id=tenant,
                    spec=EventSpec(type=type_, data_json=f'{{"kind":"{type_}"}}'),
                    created_at=reserved.now,
                )
                for event_id, type_ in zip(reserved.event_ids, types, strict=True)
            ]
            events.insert(connection, new, fanned_out_to={}, version=None)

    def sleeps(self, job: JobState) -> set[tuple[str, str]]:
        """Return the kinds and names of the journal's sleeps that go on."""
        statement = (
            "SELECT kind, name FROM job_journal WHERE job_id = %(id)s::uuid AND kind = 'sleep' AND until > now()"
        )
        with self._database.connect() as connection:
            found = connection.exec_driver_sql(statement, {"id": str(ids.decode("job", job.id))})
            return {(kind, name) for kind, name in found}

    def pending(self, job: JobState) -> set[str]:
        """Returns the types of events since a job was made that have not been compared with waits yet."""
        statement = f"""SELECT e.event_type FROM wakes AS e JOIN jobs AS j ON j.tenant_id = e.tenant_id
            WHERE e.kind = 'event' AND j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid AND {IS_SINCE}"""
        given = {"tenant_id": job.tenant, "id": str(ids.decode("job", job.id))}
        with self._database.connect() as connection:
            return set(connection.exec_driver_sql(statement, given).scalars())
