"""The in-memory journal of a test's run. The test provides its children's outcomes, and its time is simulated."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ava.domain import ids
from ava.domain.approval import ApprovalRequest, Decision
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.events.event import DEFAULT_SOURCE, compact_json
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
from ava.domain.record import format_time
from ava.errors import HandlerError
from ava.handler.journal_calls import Calls
from ava.node import outcome

#: A child's output or a step's result: a value, an exception, or a function that returns or raises it.
Given = Any


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedChild:
    """A child that the handler created."""

    name: str
    worker_id: str
    input: dict[str, Any]
    is_detached: bool = False


class Journal:
    """The journal and children of one job: the `JournalStore` of its runs."""

    def __init__(
        self,
        children: Mapping[str, Given],
        events: Sequence[Mapping[str, Any]] = (),
        approvals: Mapping[str, bool | Decision | None] | None = None,
    ) -> None:
        """`children`: each child's outcome by name or worker. `events`: each arrives when it is awaited.

        `approvals`: the decisions by name; None: nobody decides in time.

        Raise `ValueError` for an event without a type.
        """
        self._given = children
        self._decisions = approvals or {}
        #: The seconds in which each approval must be decided.
        self._approval_seconds: dict[str, float] = {}
        self._events = [_event_record(event) for event in events]
        #: The ids of the events that have arrived.
        self._come: set[str] = set()
        self._entries: dict[tuple[JournalKind, str], JournalEntry] = {}
        self._states: dict[str, ChildState] = {}
        self._outputs: dict[str, str | None] = {}
        #: The children by id, in creation order.
        self.made: dict[str, CreatedChild] = {}
        self._skipped_seconds = 0.0
        self._n = self._end_no = 0

    # Time ----------------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the seconds of a clock that skips each wait."""
        return time.monotonic() + self._skipped_seconds

    def pause(self, seconds: float) -> None:
        self._skipped_seconds += seconds

    # The store -----------------------------------------------------------------------------------------------------

    def load(self) -> LoadedJournal:
        now = self.now()
        for key, each in self._entries.items():
            if each.kind is JournalKind.SLEEP and (each.until_in_seconds or 0.0) <= now:
                self._entries[key] = replace(each, state=EntryState.DONE)
        entries = [
            replace(each, until_in_seconds=None if each.until_in_seconds is None else each.until_in_seconds - now)
            for each in sorted(self._entries.values(), key=lambda each: each.n)
        ]
        return LoadedJournal(entries=entries, children=dict(self._states))

    def write(self, entries: Sequence[NewEntry]) -> None:
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
                event_id=entry.event_id,
            )

    def make_children(self, new: Sequence[NewChild]) -> Sequence[ChildState]:
        """Create children, which end when a run waits for them."""
        states = []
        for child in new:
            state = ChildState(id=ids.encode("job", ids.new_uuid()), worker_id=child.worker_id, status=Status.QUEUED)
            self._states[state.id] = state
            self.made[state.id] = CreatedChild(
                name=child.name,
                worker_id=child.worker_id,
                input=json.loads(child.input_json),
                is_detached=child.is_detached,
            )
            done = NewEntry(kind=JournalKind.CHILD, name=child.name, state=EntryState.DONE, child_id=state.id)
            self.write([done])
            states.append(state)
        return states

    def admit_wait(self) -> None:
        """Allow every wait: tests have no limits."""

    def outputs(self, job_ids: Sequence[str]) -> Mapping[str, str | None]:
        """Return the outputs of children as serialized JSON, by id."""
        return {job_id: self._outputs[job_id] for job_id in job_ids if job_id in self._outputs}

    def find_event(
        self, wanted: AwaitedEvent, *, event_id: str | None, taken: Collection[str]
    ) -> Mapping[str, Any] | None:
        """Return the record of the event with the id, or of the first event that has arrived and matches."""
        for event in self._events:
            is_one = event["id"] == event_id if event_id is not None else event["id"] in self._come
            if is_one and event["id"] not in taken and wanted.matches(event):
                return event
        return None

    def request_approval(self, name: str, wanted: ApprovalRequest) -> NewEntry:
        """Request a decision, which comes once a run waits for it."""
        self._approval_seconds[name] = wanted.timeout_seconds
        value = {"id": ids.encode("apr", ids.new_uuid()), "payload_hash": wanted.payload_hash, "status": "pending"}
        empty: dict[str, Any] = {"data": None, "comment": None, "by": [], "at": None}
        entry = NewEntry(
            kind=JournalKind.APPROVAL, name=name, state=EntryState.WAITS, value_json=json.dumps(value | empty)
        )
        self.write([entry])
        return entry

    @property
    def steps(self) -> dict[str, Any]:
        """Return the results of the steps by name."""
        return {
            name: json.loads(entry.value_json or "null")
            for (kind, name), entry in self._entries.items()
            if kind is JournalKind.STEP and entry.state is EntryState.DONE
        }

    # Waits ---------------------------------------------------------------------------------------------------------

    def end_wait(self, wait: Wait) -> None:
        """End a wait: its children end, an event arrives, or it times out. Raise `HandlerError` if nothing ends it."""
        self.write(wait.entries)
        ends = [job_id for job_id in wait.job_ids if self._has_end(self.made[job_id])]
        is_any = wait.condition is WaitCondition.ANY
        has_ended = bool(ends) and (is_any or len(ends) == len(wait.job_ids))
        for job_id in ends[:1] if is_any else ends:
            self._end(job_id)
        if has_ended or self._let_events_come(wait) or self._decide(wait):
            return
        if wait.timeout_seconds is None and wait.event_names:
            names = ", ".join(map(repr, wait.event_names))
            raise HandlerError(
                f"No event arrives for {names}: give run() events=[{{...}}], or set a timeout for the wait."
            )
        if wait.timeout_seconds is None:
            (child, *_) = [self.made[job_id] for job_id in wait.job_ids if job_id not in ends]
            raise HandlerError(
                f"Nothing ends the child {child.name!r}: give run() children={{{child.name!r}: its output}}, "
                "or the wait a timeout."
            )
        self._skipped_seconds += wait.timeout_seconds

    def _decide(self, wait: Wait) -> bool:
        """Decide the first approval that has a decision. Return False if none has. Raise `HandlerError`."""
        for name in wait.approval_names:
            if (given := self._decisions.get(name)) is not None:
                decision = Decision(approved=given) if isinstance(given, bool) else given
                self._set_decision(name, "approved" if decision.approved else "denied", decision)
                return True
        if wait.timeout_seconds is not None or wait.event_names:
            return False
        for name in wait.approval_names:
            if name not in self._decisions:
                raise HandlerError(
                    f"Nobody decides {name!r}: give run() approvals={{{name!r}: True}}, False, an ava.Decision, or "
                    "None for a timeout."
                )
            self._skipped_seconds += self._approval_seconds[name]
            self._set_decision(name, "expired", Decision(approved=False))
            return True
        return False

    def _set_decision(self, name: str, status: str, decision: Decision) -> None:
        entry = self._entries[JournalKind.APPROVAL, name]
        value = json.loads(entry.value_json or "{}") | {
            "status": status,
            "data": decision.data,
            "comment": decision.comment,
            "by": list(decision.by),
            "at": (decision.at or datetime.now(UTC)).isoformat(),
        }
        self._entries[JournalKind.APPROVAL, name] = replace(entry, value_json=json.dumps(value))

    def _let_events_come(self, wait: Wait) -> bool:
        """Deliver events up to the first that satisfies a wait. Return False if none does."""
        wanted = [
            AwaitedEvent.read(entry.value_json or "")
            for name in wait.event_names
            if (entry := self._entries[JournalKind.EVENT, name]).state is EntryState.WAITS
        ]
        taken = {entry.event_id for entry in self._entries.values() if entry.state is EntryState.DONE}
        for event in self._events:
            if not wanted or event["id"] in self._come:
                continue
            self._come.add(event["id"])
            if event["id"] not in taken and any(each.matches(event) for each in wanted):
                return self._mark(wait, event)
        return False

    def _mark(self, wait: Wait, event: Mapping[str, Any]) -> bool:
        for name in wait.event_names:
            entry = self._entries[JournalKind.EVENT, name]
            if AwaitedEvent.read(entry.value_json or "").matches(dict(event)):
                self._entries[JournalKind.EVENT, name] = replace(entry, event_id=event["id"])
        return True

    def _has_end(self, child: CreatedChild) -> bool:
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
    """Calls with given results for some steps."""

    given_steps: Mapping[str, Given] = field(default_factory=dict)

    def step(
        self, name: str, fn: Callable[..., Any], *args: Any, key: str | None, was: Sequence[str], once: str
    ) -> Generator[Any, Any, Any]:
        """Return a step's given result, or its function's."""
        whole = name if key is None else f"{name}/{key}"
        given = self.given_steps.get(whole, self.given_steps.get(name, fn))
        return super().step(name, lambda *_: _value_of(given, *args), key=key, was=was, once=once)


def _event_record(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of an event; only its type is required."""
    if not isinstance(given, Mapping) or not isinstance(given.get("type"), str):
        raise ValueError(f'an event is a mapping with a "type", not {given!r:.80}')
    now = format_time(datetime.now(UTC))
    record: dict[str, Any] = {
        "id": ids.encode("evt", ids.new_uuid()),
        "source_id": None,
        "type": None,
        "source": DEFAULT_SOURCE,
        "subject": None,
        "time": None,
        "data": None,
        "extensions": {},
        "headers": None,
        "created_at": now,
    }
    if unknown := sorted(given.keys() - record.keys()):
        raise ValueError(f"an event has no field {', '.join(unknown)}; it has {', '.join(record)}")
    found: dict[str, Any] = json.loads(compact_json({**record, **given}))
    return found


def _names(child: CreatedChild) -> tuple[str, ...]:
    # The children of `map` and `trigger_many` share the name before the number.
    return child.name, re.sub(r"\[\d+\]$|\.\d+$", "", child.name), child.worker_id, child.worker_id.removeprefix("wkr_")


def _value_of(given: Given, *arguments: Any) -> Any:
    if isinstance(given, BaseException):
        raise given
    return given(*arguments) if callable(given) else given
