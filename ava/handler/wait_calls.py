"""The waits of a run: for children, for an event, for a decision and for a time. No I/O.

A handler on a node calls them through `ava.handler.journal_calls`, and the API for a handler whose waits arrive over
HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from ava.domain.approval import ApprovalRequest, Decision
from ava.domain.jobs.waits import EntryState, JournalEntry, JournalKind, LoadedJournal, NewEntry, Wait, WaitCondition
from ava.handler.acts import Steps
from ava.handler.branches import Branches
from ava.handler.call_arguments import SLEEP_NAME, check_seconds, name_of_wait
from ava.handler.entries import JournalEntries
from ava.handler.event_waits import ApprovalStore, ApprovalWaits, EventStore, EventWaits, timeout_error


class WaitStore(EventStore, ApprovalStore, Protocol):
    """What waits read and request."""


class AwaitedChild(Protocol):
    """A child that a handler may wait for."""

    @property
    def id(self) -> str: ...

    @property
    def is_unfinished(self) -> bool: ...

    @property
    def end_no(self) -> int | None: ...


Child = TypeVar("Child", bound=AwaitedChild)


@dataclass(slots=True)
class _WaitEntry(Generic[Child]):
    """The name of a wait in the journal, and its entry."""

    name: str
    found: JournalEntry | None
    #: The child that this run has chosen as the first to end.
    first: Child | None = None

    @property
    def state(self) -> EntryState | None:
        return None if self.found is None else self.found.state


class WaitCalls(Generic[Child]):
    def __init__(
        self,
        store: WaitStore,
        journal: LoadedJournal,
        *,
        entries: JournalEntries,
        branches: Branches,
        write: Callable[..., Steps[None]],
        children: Mapping[str, Child],
        names: Mapping[str, str],
    ) -> None:
        """`children` and `names`: the job's children and their names, by job id; later children are added to both."""
        self._entries = entries
        self._branches = branches
        self._write = write
        self._children = children
        self._names = names
        #: Waits without a timeout, which a handler may repeat.
        self._repeatable: dict[str, _WaitEntry[Child]] = {}
        done = (entry for entry in journal.entries if entry.state is EntryState.DONE)
        taken = {entry.event_id for entry in done if entry.event_id is not None}
        self._events = EventWaits(store, entries, taken, write)
        self._approvals = ApprovalWaits(store, entries, write)

    def for_all(self, children: Sequence[Child], *, timeout: float | None, key: str | None) -> Steps[None]:
        """Return once all children have ended. Raise `WaitTimeout`."""
        entry = None if timeout is None and key is None else self._entry(children, timeout, key, is_any=False)
        state = None if entry is None else entry.state
        if state is EntryState.TIMED_OUT or any(child.is_unfinished for child in children):
            yield from self._wait(WaitCondition.ENDED, children, timeout, entry)
        if entry is not None and state is EntryState.WAITS:
            yield from self._decide(entry, EntryState.DONE)

    def for_any(self, children: Sequence[Child], *, timeout: float | None, key: str | None) -> Steps[Child]:
        """Return the first child to end, with any outcome. Raise `WaitTimeout`, `ValueError` without children."""
        if not children:
            raise ValueError("env.wait_any needs a child")
        entry = self._entry(children, timeout, key, is_any=True)
        if entry.found is not None and (chosen := self._children.get(entry.found.child_id or "")) is not None:
            return chosen
        ended = [child for child in children if not child.is_unfinished]
        if entry.state is EntryState.TIMED_OUT or not ended:
            yield from self._wait(WaitCondition.ANY, children, timeout, entry)
        if entry.first is None:
            first = min(ended, key=lambda child: child.end_no or 0)
            yield from self._decide(entry, EntryState.DONE, first.id)
            entry.first = first
        return entry.first

    def sleep(self, seconds: float, *, key: str | None) -> Steps[None]:
        """Return `seconds` after the first run's call with this name."""
        name = SLEEP_NAME if key is None else key
        found = self._entries.find(JournalKind.SLEEP, name, ())
        if found is not None and found.state is EntryState.DONE:
            return
        left = seconds if found is None else self._entries.seconds_left(found)
        if left <= 0:
            # The time has passed since the run loaded the journal.
            yield from self._write(
                NewEntry(kind=JournalKind.SLEEP, name=name, state=EntryState.DONE, until_in_seconds=left)
            )
        else:
            begun = NewEntry(kind=JournalKind.SLEEP, name=name, state=EntryState.WAITS, until_in_seconds=seconds)
            entries = (begun,) if found is None else ()
            self._branches.suspend(Wait(condition=WaitCondition.TIME, timeout_seconds=left, entries=entries))

    def for_event(
        self, type_: str, match: Mapping[str, Any] | None, *, timeout: float | None, key: str | None
    ) -> Steps[Mapping[str, Any]]:
        """Return the record of the first event that matches and that no other wait has returned."""
        found = yield from self._events.wait(type_, match, timeout=timeout, key=key)
        if isinstance(found, Wait):
            self._branches.suspend(found)
        return found

    def for_decision(self, name: str, wanted: ApprovalRequest, was: Sequence[str]) -> Steps[Decision]:
        """Return the decision about a request. Raise `WaitTimeout` if it fails on its timeout."""
        found = yield from self._approvals.wait(name, wanted, was)
        if isinstance(found, Wait):
            self._branches.suspend(found)
        return found

    def suspend(
        self,
        condition: WaitCondition,
        children: Sequence[Child],
        *,
        timeout: float | None = None,
        entries: Sequence[NewEntry] = (),
    ) -> NoReturn:
        """Suspend the branch until its unfinished children have ended."""
        job_ids = dict.fromkeys(child.id for child in children if child.is_unfinished)
        self._branches.suspend(
            Wait(condition=condition, job_ids=tuple(job_ids), timeout_seconds=timeout, entries=tuple(entries))
        )

    def _entry(
        self, children: Sequence[Child], timeout: float | None, key: str | None, *, is_any: bool
    ) -> _WaitEntry[Child]:
        if timeout is not None:
            check_seconds("timeout", timeout)
        named = [self._names.get(child.id, child.id) for child in children]
        name = name_of_wait(named, is_any=is_any) if key is None else key
        if timeout is not None or key is not None:
            return _WaitEntry(name, self._entries.find(JournalKind.WAIT, name, ()))
        # Names distinguish timeouts. Without one, the same children may be awaited again, with the same first child.
        if name not in self._repeatable:
            self._repeatable[name] = _WaitEntry(name, self._entries.find(JournalKind.WAIT, name, ()))
        return self._repeatable[name]

    def _wait(
        self,
        condition: WaitCondition,
        children: Sequence[Child],
        timeout: float | None,
        entry: _WaitEntry[Child] | None,
    ) -> Steps[None]:
        """Suspend the branch until its children have ended. Raise `WaitTimeout` if the wait has timed out."""
        if entry is None:
            self.suspend(condition, children)
        left = timeout
        if timeout is not None and entry.found is not None:
            left = self._entries.seconds_left(entry.found)
        has_timed_out = entry.state is EntryState.TIMED_OUT
        if has_timed_out or (left is not None and left <= 0):
            if not has_timed_out:
                yield from self._decide(entry, EntryState.TIMED_OUT)
            raise timeout_error(f"The wait {entry.name!r} did not end", timeout)
        entries: tuple[NewEntry, ...] = ()
        if timeout is not None and entry.found is None:
            begun = NewEntry(kind=JournalKind.WAIT, name=entry.name, state=EntryState.WAITS, until_in_seconds=left)
            entries = (begun,)
        self.suspend(condition, children, timeout=left, entries=entries)

    def _decide(self, entry: _WaitEntry[Child], state: EntryState, child_id: str | None = None) -> Steps[None]:
        """Write a wait's result before the handler sees it, so that later runs of the attempt get the same result."""
        until = None if entry.found is None else self._entries.seconds_left(entry.found)
        yield from self._write(
            NewEntry(kind=JournalKind.WAIT, name=entry.name, state=state, child_id=child_id, until_in_seconds=until)
        )
