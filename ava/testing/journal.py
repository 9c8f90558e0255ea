"""The journal of a test's run, in memory. What ends its children is given, and its time moves by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ava.domain import ids
from ava.domain.jobs.job import Status
from ava.domain.jobs.waits import (
    ChildState,
    EntryState,
    JournalEntry,
    JournalKind,
    LoadedJournal,
    NewChild,
    NewEntry,
    Wait,
    WaitCondition,
)
from ava.errors import HandlerError
from ava.handler.calls import Calls
from ava.node import outcome

__all__ = ["GivenCalls", "Journal", "MadeChild"]

#: The output of a child or the result of a step: a value, an exception, or a function that returns or raises it.
Given = Any


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeChild:
    """A child that the handler has made."""

    name: str
    worker_id: str
    input: dict[str, Any]
    is_detached: bool = False


class Journal:
    """The journal and the children of one job. It is the `JournalStore` of its runs."""

    def __init__(self, children: Mapping[str, Given]) -> None:
        """`children`: what each child ends with, by its name or its worker."""
        self._given = children
        self._entries: dict[tuple[JournalKind, str], JournalEntry] = {}
        self._states: dict[str, ChildState] = {}
        self._outputs: dict[str, str | None] = {}
        #: The children, by their ids, in the order in which they were made.
        self.made: dict[str, MadeChild] = {}
        self._skipped_seconds = 0.0
        self._n = self._end_no = 0

    # Time ----------------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Returns the seconds of a clock that jumps over each wait."""
        return time.monotonic() + self._skipped_seconds

    def pause(self, seconds: float) -> None:
        """Let a short sleep pass at once."""
        self._skipped_seconds += seconds

    # The store -----------------------------------------------------------------------------------------------------

    def load(self) -> LoadedJournal:
        """Returns what the next run finds."""
        now = self.now()
        entries = [
            replace(each, until_in_seconds=None if each.until_in_seconds is None else each.until_in_seconds - now)
            for each in sorted(self._entries.values(), key=lambda each: each.n)
        ]
        return LoadedJournal(entries=entries, children=dict(self._states))

    def write(self, entries: Sequence[NewEntry]) -> None:
        """Write entries."""
        for entry in entries:
            self._n += 1
            until = None if entry.until_in_seconds is None else self.now() + entry.until_in_seconds
            self._entries[entry.kind, entry.name] = JournalEntry(
                kind=entry.kind,
                name=entry.name,
                state=entry.state,
                value_json=entry.value_json,
                child_id=entry.child_id,
                until_in_seconds=until,
                n=self._n,
            )

    def make_children(self, new: Sequence[NewChild], entries: Sequence[NewEntry]) -> Sequence[ChildState]:
        """Make children, which end when a run waits for them."""
        self.write(entries)
        states = []
        for child in new:
            state = ChildState(id=ids.encode("job", ids.new_uuid()), worker_id=child.worker_id, status=Status.QUEUED)
            self._states[state.id] = state
            self.made[state.id] = MadeChild(
                name=child.name,
                worker_id=child.worker_id,
                input=json.loads(child.input_json),
                is_detached=child.is_detached,
            )
            done = NewEntry(kind=JournalKind.CHILD, name=child.name, state=EntryState.DONE, child_id=state.id)
            self.write([done])
            states.append(state)
        return states

    def outputs(self, job_ids: Sequence[str]) -> Mapping[str, str | None]:
        """Returns the outputs of children as JSON texts, by their ids."""
        return {job_id: self._outputs[job_id] for job_id in job_ids if job_id in self._outputs}

    @property
    def steps(self) -> dict[str, Any]:
        """Returns the results of the steps, by their names."""
        return {
            name: json.loads(entry.value_json or "null")
            for (kind, name), entry in self._entries.items()
            if kind is JournalKind.STEP and entry.state is EntryState.DONE
        }

    # Waits ---------------------------------------------------------------------------------------------------------

    def end_wait(self, wait: Wait) -> None:
        """Let a wait be over: its children end, or else its time is over. Raises `HandlerError` if nothing ends it."""
        self.write(wait.entries)
        ends = [job_id for job_id in wait.job_ids if self._has_end(self.made[job_id])]
        is_any = wait.condition is WaitCondition.ANY
        is_over = bool(ends) and (is_any or len(ends) == len(wait.job_ids))
        for job_id in ends[:1] if is_any else ends:
            self._end(job_id)
        if is_over:
            return
        if wait.timeout_seconds is None:
            (child, *_) = [self.made[job_id] for job_id in wait.job_ids if job_id not in ends]
            raise HandlerError(
                f"Nothing ends the child {child.name!r}: give run() children={{{child.name!r}: its output}}, "
                "or the wait a timeout."
            )
        self._skipped_seconds += wait.timeout_seconds

    def _has_end(self, child: MadeChild) -> bool:
        return any(name in self._given for name in _names(child))

    def _end(self, job_id: str) -> None:
        child = self.made[job_id]
        given = next(self._given[name] for name in _names(child) if name in self._given)
        self._end_no += 1
        error: str | None = None
        try:
            self._outputs[job_id] = outcome.encode_output(_value_of(given, child.input))
        except Exception as raised:
            error = outcome.explain(raised)
        self._states[job_id] = ChildState(
            id=job_id,
            worker_id=child.worker_id,
            status=Status.COMPLETED if error is None else Status.FAILED,
            error=error,
            end_no=self._end_no,
        )


@dataclass(kw_only=True)
class GivenCalls(Calls):
    """Calls of which some steps have given results."""

    given_steps: Mapping[str, Given] = field(default_factory=dict)

    def step(
        self, name: str, fn: Callable[..., Any], *args: Any, key: str | None, was: Sequence[str], once: str
    ) -> Generator[Any, Any, Any]:
        """Returns the given result of a step, else what its function returns."""
        whole = name if key is None else f"{name}/{key}"
        given = self.given_steps.get(whole, self.given_steps.get(name, fn))
        return super().step(name, lambda *_: _value_of(given, *args), key=key, was=was, once=once)


def _names(child: MadeChild) -> tuple[str, ...]:
    # The children of a map share the name before their numbers.
    return child.name, child.name.partition("[")[0], child.worker_id, child.worker_id.removeprefix("wkr_")


def _value_of(given: Given, *arguments: Any) -> Any:
    if isinstance(given, BaseException):
        raise given
    return given(*arguments) if callable(given) else given
