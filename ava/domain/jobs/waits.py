"""A handler's waits, and its journal: the results, by name, that a re-entered handler reuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ava.domain.jobs.job import Status
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.domain.record import about

#: Max bytes of a job's input and output, as compact JSON (the contract's 1 MiB).
MAX_INPUT_BYTES = 1024 * 1024
MAX_OUTPUT_BYTES = 1024 * 1024
#: Steps of a job, bytes of one step's result as JSON, and bytes of all results.
MAX_STEPS = 10_000
MAX_STEP_BYTES = 256 * 1024
MAX_ALL_STEPS_BYTES = 64 * 1024 * 1024


class JournalKind(StrEnum):
    """The kind of a journal entry. Names are unique within a kind."""

    STEP = "step"
    CHILD = "child"
    SLEEP = "sleep"
    #: A wait with a timeout, or for any of several children.
    WAIT = "wait"
    EVENT = "event"
    APPROVAL = "approval"


#: The kinds of entries with values; their number and bytes are limited.
VALUED = (JournalKind.STEP, JournalKind.EVENT, JournalKind.APPROVAL)


class EntryState(StrEnum):
    #: A step that runs at most once has started.
    BEGAN = "began"
    #: Finished: the step or event returned, the child was created, or `wait_any` has chosen.
    DONE = "done"
    #: A sleep, a wait with a timeout, or a wait for an event or a decision has started.
    WAITS = "waits"
    TIMED_OUT = "timed_out"


class WaitCondition(StrEnum):
    #: Of a bulk entry: every job has completed. Otherwise the entry is cancelled.
    COMPLETED = "completed"
    #: Every job has ended, with any outcome.
    ENDED = "ended"
    #: Of a bulk entry: at least one job did not complete. Otherwise the entry is cancelled.
    FAILED = "failed"
    ANY = "any"
    EVENT = "event"
    APPROVAL = "approval"
    TIME = "time"


_REASONS = {
    WaitCondition.EVENT: WaitsFor.EVENT,
    WaitCondition.APPROVAL: WaitsFor.APPROVAL,
    WaitCondition.TIME: WaitsFor.SLEEP,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEntry:
    """A journal entry to write; it replaces the entry with its kind and name."""

    kind: JournalKind
    name: str
    state: EntryState
    #: Serialized: the step's result, the event that the wait returned, or the event to wait for.
    value_json: str | None = None
    #: The child; for `wait_any` the chosen child.
    child_id: str | None = None
    #: The id of the event that the wait returned. Without it, each new event is matched with the entry.
    event_id: str | None = None
    #: Seconds from the write to the end of the sleep or wait.
    until_in_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalEntry:
    kind: JournalKind
    name: str
    state: EntryState
    value_json: str | None
    child_id: str | None = field(metadata={"prefix": "job"})
    #: Seconds from the load to the end of the sleep or wait, negative if it has passed; None without a time.
    until_in_seconds: float | None
    #: Position in write order.
    n: int
    event_id: str | None = field(default=None, metadata={"prefix": "evt"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildState:
    id: str = field(metadata={"prefix": "job"})
    worker_id: str = field(metadata={"prefixes": ()})
    status: Status
    error: str | None = field(default=None, metadata={"payload": "error"})
    #: Sequence number of its end, roughly in order; None before.
    end_no: int | None = field(default=None, metadata={"internal": True})

    @property
    def is_unfinished(self) -> bool:
        return self.status in (Status.QUEUED, Status.RUNNING)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedJournal:
    """The journal of a job as a run loaded it at its start."""

    #: In write order.
    entries: Sequence[JournalEntry] = ()
    #: The entries' children, by id.
    children: Mapping[str, ChildState] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewChild:
    name: str
    worker_id: str
    input_json: str
    priority: int | None = None
    is_detached: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    condition: WaitCondition
    #: Without duplicates.
    job_ids: Sequence[str] = ()
    #: Seconds until the handler continues in any case; None: no timeout.
    timeout_seconds: float | None = None
    #: The awaited event as a JSON object; the first of several.
    event: Mapping[str, Any] | None = None
    #: The journal names of all awaited events.
    event_names: Sequence[str] = ()
    #: The id of the awaited approval, the first of several, and the journal names of all.
    approval_id: str | None = None
    approval_names: Sequence[str] = ()
    #: Written by the end of the run.
    entries: Sequence[NewEntry] = ()

    @property
    def waits_for(self) -> WaitsFor:
        return _REASONS.get(self.condition, WaitsFor.CHILDREN)

    @property
    def description(self) -> str:
        """Return the wait as the log shows it: `3 jobs, at most 60 s`."""
        parts = []
        if self.job_ids:
            count = len(self.job_ids)
            jobs = "1 job" if count == 1 else f"{count} jobs"
            parts.append(f"one of {jobs}" if self.condition is WaitCondition.ANY and count > 1 else jobs)
        if self.event_names:
            count = len(self.event_names)
            parts.append("an event" if count == 1 else f"one of {count} events")
        if self.approval_names:
            count = len(self.approval_names)
            parts.append("a decision" if count == 1 else f"one of {count} decisions")
        if self.timeout_seconds is not None:
            parts.append(f"at most {self.timeout_seconds:g} s" if parts else f"{self.timeout_seconds:g} s")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownEntry:
    """An entry of a journal."""

    kind: JournalKind
    name: str = field(metadata={"payload": "string"})
    state: EntryState = field(
        metadata=about(
            "`began`: a step that runs at most once; `done`; `waits`: a sleep, or a wait with a timeout; `timed_out`."
        )
    )
    attempt: int = field(metadata={"description": "The last attempt that used it.", "minimum": 1})
    value_json: str | None = field(
        metadata={
            "description": "The return value of a step, or the state of an approval; null if it is large. For a "
            "`gather` that suspended: the numbers of its waiting branches, each with the number of its pending wait "
            "in this attempt.",
            "form": {},
            "payload": "value",
        }
    )
    value_bytes: int | None = field(metadata=about("Size in bytes of a value over 16 KiB."))
    child: ChildState | None = field(
        metadata=about("The child; for `wait_any` the child that it returned. Null once it was deleted.")
    )
    until: datetime | None = field(metadata=about("The end of a sleep, or the timeout of a wait."))
    written_at: datetime
    #: Its position in the order of writing.
    n: int = field(metadata={"internal": True})


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownWait:
    """A wait of a job."""

    #: The run that began it; 0 for a job that waits from the beginning.
    run_no: int = field(metadata={"internal": True})
    condition: WaitCondition
    job_ids: Sequence[str] = field(
        metadata={"description": "The jobs that it waits for, at most 100.", "name": "jobs", "prefix": "job"}
    )
    began_at: datetime
    ended_at: datetime | None = field(metadata=about("When the handler was entered again after the wait; null before."))


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildOutput(ChildState):
    #: None also beyond the size of the response.
    output_json: str | None = field(metadata={"description": "The output of a completed child.", "form": {}})
    #: Whether it is within the size of the response.
    fits: bool = field(metadata={"internal": True})
