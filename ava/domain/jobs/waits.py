"""What a handler waits for, and its journal: what it has done, by names, so that it can be entered again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ava.domain.jobs.job import Status
from ava.domain.jobs.wait_reasons import WaitsFor

#: Bytes of an input and of an output of a job, as compact JSON (the contract's 1 MiB).
MAX_INPUT_BYTES = 1024 * 1024
MAX_OUTPUT_BYTES = 1024 * 1024
#: The most steps of a job, the bytes of the result of each as JSON, and those of all.
MAX_STEPS = 10_000
MAX_STEP_BYTES = 256 * 1024
MAX_ALL_STEPS_BYTES = 64 * 1024 * 1024


class JournalKind(StrEnum):
    """What an entry of a journal is of. A name is unique among the entries of one kind."""

    STEP = "step"
    CHILD = "child"
    SLEEP = "sleep"
    #: A wait with a time-out, and one for any of several children.
    WAIT = "wait"
    EVENT = "event"


class EntryState(StrEnum):
    """How far an entry has come."""

    #: A step that runs at most once has begun.
    BEGAN = "began"
    #: It is over: a step has returned, a child is made, `wait_any` has chosen, an event was returned.
    DONE = "done"
    #: A sleep, a wait with a time-out, or a wait for an event has begun.
    WAITS = "waits"
    #: The time of a wait was over first.
    TIMED_OUT = "timed_out"


class WaitCondition(StrEnum):
    """When a wait is over."""

    #: Every job has completed; of an entry of a bulk. Otherwise the entry is cancelled.
    COMPLETED = "completed"
    #: Every job has ended, whatever its end.
    ENDED = "ended"
    #: At least one job did not complete; of an entry of a bulk. Otherwise the entry is cancelled.
    FAILED = "failed"
    #: One of the jobs has ended.
    ANY = "any"
    EVENT = "event"
    #: The time is over.
    TIME = "time"


_REASONS = {WaitCondition.EVENT: WaitsFor.EVENT, WaitCondition.TIME: WaitsFor.SLEEP}


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEntry:
    """An entry that is to be written, in place of one of the same kind and name."""

    kind: JournalKind
    name: str
    state: EntryState
    #: As JSON text: what a step has returned, the event that a wait has returned, or the one that it is for.
    value_json: str | None = None
    #: The child, or the one that `wait_any` has chosen, as its id.
    child_id: str | None = None
    #: The event that a wait has returned, as its id. Without it the entry is matched with each new event.
    event_id: str | None = None
    #: Seconds from the writing until a sleep or a wait is over.
    until_in_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalEntry:
    """An entry that an earlier run has written."""

    kind: JournalKind
    name: str
    state: EntryState
    value_json: str | None
    child_id: str | None
    #: Seconds from the loading until a sleep or a wait is over, less than 0 if it is; None if it has no time.
    until_in_seconds: float | None
    #: Its place in the order of the writing.
    n: int
    #: The event that was found for a wait.
    event_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildState:
    """What is known of a child, without its output."""

    id: str
    worker_id: str
    status: Status
    error: str | None = None
    #: The number of its end, in about the order in which jobs end; None until then.
    end_no: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedJournal:
    """The journal of a job, as a run has found it when it was entered."""

    #: In the order in which they were written.
    entries: Sequence[JournalEntry] = ()
    #: The children of the entries, by their ids.
    children: Mapping[str, ChildState] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewChild:
    """A child that a handler asks for."""

    #: Its name in the journal.
    name: str
    worker_id: str
    input_json: str
    #: None: that of its parent.
    priority: int | None = None
    is_detached: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """What a run waits for when it ends without the end of its job."""

    condition: WaitCondition
    #: The jobs whose ends it is for, as their ids, each once.
    job_ids: Sequence[str] = ()
    #: Seconds after which the handler continues in any case; None if it may wait without end.
    timeout_seconds: float | None = None
    #: The event that it is for, as JSON has it; of several the first.
    event: Mapping[str, Any] | None = None
    #: The names of the entries of all events that it is for.
    event_names: Sequence[str] = ()
    #: What is written into the journal with the end of the run.
    entries: Sequence[NewEntry] = ()

    @property
    def waits_for(self) -> WaitsFor:
        """Return the reason of the job while it waits."""
        return _REASONS.get(self.condition, WaitsFor.CHILDREN)

    @property
    def text(self) -> str:
        """Returns what it is for, as the log says it: `3 jobs, at most 60 s`."""
        parts = []
        if self.job_ids:
            count = len(self.job_ids)
            jobs = "1 job" if count == 1 else f"{count} jobs"
            parts.append(f"one of {jobs}" if self.condition is WaitCondition.ANY and count > 1 else jobs)
        if self.event_names:
            count = len(self.event_names)
            parts.append("an event" if count == 1 else f"one of {count} events")
        if self.timeout_seconds is not None:
            parts.append(f"at most {self.timeout_seconds:g} s" if parts else f"{self.timeout_seconds:g} s")
        return ", ".join(parts)
