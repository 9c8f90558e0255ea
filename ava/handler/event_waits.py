"""A handler's waits for events and for decisions of persons.

The run writes a wait to the journal before it searches for the event. If the search misses an event, the dispatcher
matches it with the entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from ava.domain.approval import ApprovalRequest, ApprovalStatus, Decision, JournalledApproval, OnTimeout
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.events.event import compact_json
from ava.domain.jobs.waits import EntryState, JournalEntry, JournalKind, NewEntry, Wait, WaitCondition
from ava.handler.acts import Act, Steps
from ava.handler.call_arguments import check_seconds
from ava.handler.entries import JournalEntries
from ava.handler.errors import WaitTimeout


class EventStore(Protocol):
    def find_event(
        self, wanted: AwaitedEvent, *, event_id: str | None, taken: Collection[str]
    ) -> Mapping[str, Any] | None:
        """Return the record of the event with the id, or of the first matching event since the job's creation.

        `taken`: ids of events to skip. None: there is no such event.
        """


class EventWaits:
    def __init__(
        self, store: EventStore, entries: JournalEntries, taken: Collection[str], write: Callable[..., Steps[None]]
    ) -> None:
        """`taken`: events that earlier waits of the job have returned. `write` writes an entry."""
        self._store = store
        self._entries = entries
        self._taken = set(taken)
        self._write = write

    def wait(
        self, type_: str, match: Mapping[str, Any] | None, *, timeout: float | None, key: str | None
    ) -> Steps[Mapping[str, Any] | Wait]:
        """Return the event's record, or the wait if it has not arrived yet. Raise `WaitTimeout`."""
        wanted = AwaitedEvent.of(type_, match)
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        name = wanted.type if key is None else key
        found = self._entries.find(JournalKind.EVENT, name, ())
        if found is not None and found.state is EntryState.DONE:
            record: Mapping[str, Any] = json.loads(found.value_json or "null")
            return record
        if found is not None and found.state is EntryState.TIMED_OUT:
            raise timeout_error(f"The event {name!r} did not arrive", timeout)
        left = timeout
        if timeout is not None and found is not None and found.until_in_seconds is not None:
            left = self._entries.seconds_left(found)
        event = yield from self._find(wanted, name, found, left)
        if event is not None:
            yield from self._keep(name, event)
            return event
        if left is not None and left <= 0:
            yield from self._write(NewEntry(kind=JournalKind.EVENT, name=name, state=EntryState.TIMED_OUT))
            raise timeout_error(f"The event {name!r} did not arrive", timeout)
        return Wait(condition=WaitCondition.EVENT, timeout_seconds=left, event=wanted.shown, event_names=(name,))

    def _find(
        self, wanted: AwaitedEvent, name: str, found: JournalEntry | None, left: float | None
    ) -> Steps[Mapping[str, Any] | None]:
        is_written = found is not None and found.value_json == wanted.json
        if is_written and found is not None and found.event_id is not None:
            event = yield from self._poll(wanted, found.event_id)
            if event is not None:
                return event
            # Retention has deleted it, or another wait has taken it, so match the entry with further events.
            is_written = False
        if not is_written:
            entry = NewEntry(
                kind=JournalKind.EVENT, name=name, state=EntryState.WAITS, value_json=wanted.json, until_in_seconds=left
            )
            if found is None:
                self._entries.add_value()
            yield from self._write(entry)
        # Search even if an earlier run has written the entry: it may have died before its search.
        event = yield from self._poll(wanted, None)
        return event

    def _poll(self, wanted: AwaitedEvent, event_id: str | None) -> Steps[Mapping[str, Any] | None]:
        while True:
            taken = frozenset(self._taken)
            event: Mapping[str, Any] | None = yield Act(
                lambda taken=taken: self._store.find_event(wanted, event_id=event_id, taken=taken),  # type: ignore[misc]
                is_statement=True,
            )
            if event is None or event["id"] not in self._taken:
                return event
            # Another branch of the handler has just taken it.
            if event_id is not None:
                return None

    def _keep(self, name: str, event: Mapping[str, Any]) -> Steps[None]:
        """Write an event to the journal before returning it, so that the next run gets the same one."""
        event_json = compact_json(event)
        self._entries.add_bytes(event_json)
        self._taken.add(event["id"])
        yield from self._write(
            NewEntry(
                kind=JournalKind.EVENT, name=name, state=EntryState.DONE, value_json=event_json, event_id=event["id"]
            )
        )


def timeout_error(sentence: str, timeout: float | None) -> WaitTimeout:
    """Return the error of a wait that timed out; `timeout` None: the handler no longer passes it."""
    return WaitTimeout(f"{sentence} in time." if timeout is None else f"{sentence} within {timeout:g} s.")


class ApprovalStore(Protocol):
    def request_approval(self, name: str, wanted: ApprovalRequest) -> NewEntry:
        """Request a decision, and write the journal's entry. Return it: `done` if a decision holds already."""


class ApprovalWaits:
    def __init__(self, store: ApprovalStore, entries: JournalEntries, write: Callable[..., Steps[None]]) -> None:
        self._store = store
        self._entries = entries
        self._write = write

    def wait(self, name: str, wanted: ApprovalRequest, was: Sequence[str]) -> Steps[Decision | Wait]:
        """Return the decision, or the wait while it is pending. Raise `WaitTimeout`."""
        found = self._entries.find(JournalKind.APPROVAL, name, was)
        known = None if found is None else JournalledApproval.read(found.value_json or "")
        state = None if found is None else found.state
        stored_name = name if found is None else found.name
        if known is None or known.payload_hash != wanted.payload_hash:
            if found is None:
                self._entries.add_value()
            self._entries.catch_up()
            entry = yield Act(lambda: self._store.request_approval(name, wanted), is_statement=True)
            known, state, stored_name = JournalledApproval.read(entry.value_json), entry.state, name
        if known.status is ApprovalStatus.PENDING:
            return Wait(condition=WaitCondition.APPROVAL, approval_id=known.id, approval_names=(stored_name,))
        is_late = known.status is ApprovalStatus.EXPIRED
        if state is EntryState.WAITS and found is not None:
            # Decided since the job began to wait. A later run gets the same result, and no wait ends by it again.
            self._entries.add_bytes(found.value_json or "")
            yield from self._write(
                NewEntry(
                    kind=JournalKind.APPROVAL,
                    name=found.name,
                    state=EntryState.TIMED_OUT if is_late else EntryState.DONE,
                    value_json=found.value_json,
                )
            )
        if is_late and wanted.on_timeout is OnTimeout.FAIL:
            raise timeout_error(f"The approval {name!r} was not decided", wanted.timeout_seconds)
        return known.decision
