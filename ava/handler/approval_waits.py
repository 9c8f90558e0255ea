"""A handler's waits for decisions of persons.

The journal has the latest result for a name. It counts only for the same content: another `payload_hash` asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ava.domain.approval import ApprovalRequest, ApprovalStatus, Decision, JournalledApproval, OnTimeout
from ava.domain.jobs.waits import EntryState, JournalKind, NewEntry, Wait, WaitCondition
from ava.handler.acts import Act, Steps
from ava.handler.entries import JournalEntries
from ava.handler.event_waits import timeout_error


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
