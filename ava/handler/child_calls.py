"""The children of a run: found in the journal by their names, or created. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ava.domain.jobs.waits import ChildState, JournalKind, LoadedJournal, NewChild
from ava.handler.acts import Act, Steps
from ava.handler.call_arguments import check_priority, encode_input, read_worker_id
from ava.handler.children import ChildJob
from ava.handler.entries import JournalEntries

#: Max children per transaction.
_CHILDREN_PER_TRANSACTION = 100


class ChildStore(Protocol):
    """Creates children of a run, and reads their outputs."""

    def make_children(self, new: Sequence[NewChild]) -> Sequence[ChildState]:
        """Create children, all or none, with their entries. Raise `ChildRefused`."""

    def outputs(self, job_ids: Sequence[str]) -> Mapping[str, str | None]:
        """Return the outputs of children as serialized JSON, by id."""


class ChildCalls:
    """The children of one run."""

    def __init__(self, store: ChildStore, entries: JournalEntries, journal: LoadedJournal) -> None:
        self._store = store
        self._entries = entries
        #: The children, and their names in the journal, by job id.
        self.by_id = {id_: ChildJob(state, store.outputs) for id_, state in journal.children.items()}
        of_children = (entry for entry in journal.entries if entry.kind is JournalKind.CHILD)
        self.names = {entry.child_id or "": entry.name for entry in of_children}

    def find(self, name: str, was: Sequence[str]) -> ChildJob | None:
        """Return the child with the name, or with an earlier name. Raise `DuplicateName`."""
        found = self._entries.find(JournalKind.CHILD, name, was)
        return None if found is None else self.by_id.get(found.child_id or "")

    def create(self, new: Sequence[NewChild]) -> Steps[list[ChildJob]]:
        """Create children in one transaction."""
        self._entries.catch_up()
        states = yield Act(lambda: self._store.make_children(new), is_statement=True)
        created = [ChildJob(state, self._store.outputs) for state in states]
        self.by_id |= {child.id: child for child in created}
        self.names |= {child.id: each.name for child, each in zip(created, new, strict=True)}
        return created


class NumberedChildren:
    """Children of one worker, one per input, in the order of the inputs."""

    def __init__(self, calls: ChildCalls, worker: object, *, priority: int | None, is_detached: bool) -> None:
        self._calls = calls
        self._worker_id = read_worker_id(worker)
        self._priority = check_priority(priority)
        self._is_detached = is_detached
        self._found: dict[int, ChildJob] = {}
        self._new: dict[int, NewChild] = {}
        #: The number of unfinished children, including new ones.
        self.unfinished = 0

    @property
    def children(self) -> list[ChildJob]:
        return [child for _, child in sorted(self._found.items())]

    def find(self, number: int, name: str, was: Sequence[str] = ()) -> bool:
        """Return True if the child with the name exists."""
        if (found := self._calls.find(name, was)) is not None:
            self._found[number] = found
            self.unfinished += found.is_unfinished
        return found is not None

    def add(self, number: int, name: str, input: Any) -> Steps[None]:
        """Create a child with the next full transaction."""
        self.unfinished += 1
        self._new[number] = NewChild(
            name=name,
            worker_id=self._worker_id,
            input_json=encode_input(input),
            priority=self._priority,
            is_detached=self._is_detached,
        )
        if len(self._new) == _CHILDREN_PER_TRANSACTION:
            yield from self.create()

    def create(self) -> Steps[None]:
        if self._new:
            created = yield from self._calls.create(tuple(self._new.values()))
            self._found |= zip(self._new, created, strict=True)
            self._new.clear()
