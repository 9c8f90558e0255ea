"""What the API shows of jobs that belong together, and of what their handlers have done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ava.client.records import Job, read


@dataclass(frozen=True, kw_only=True)
class TreeJob(Job):
    """A job of a tree; its input and output are left out."""

    input: dict[str, Any] | None = None
    #: Its name in its bulk, or among the children of its parent.
    name: str | None = None
    #: Whether a cancel of its parent leaves it alone.
    is_detached: bool = False
    #: When the first run of its attempt began, also while it waits.
    first_run_at: datetime | None = None
    #: `began_at` and `ended_at` of its latest waits.
    waits: list[dict[str, str | None]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TreeEdge:
    """A job comes after another one of its bulk, or another one has made it."""

    from_id: str
    to_id: str
    #: `completed`, `ended` or `failed` as `when` says, or `child`.
    kind: str


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The jobs that belong together, with their edges."""

    tree_id: str
    jobs: list[TreeJob]
    edges: list[TreeEdge]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Tree:
        """Returns the tree that a response's JSON holds."""
        return cls(
            tree_id=data["tree_id"],
            jobs=[read(TreeJob, job) for job in data["jobs"]],
            edges=[TreeEdge(from_id=edge["from"], to_id=edge["to"], kind=edge["kind"]) for edge in data["edges"]],
        )

    @property
    def is_final(self) -> bool:
        """Returns True if each of its jobs is final."""
        return all(job.is_final for job in self.jobs)


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """What a handler has done, by its name."""

    #: `step`, `child`, `sleep`, `wait` or `event`.
    kind: str
    name: str
    #: `began`, `done`, `waits` or `timed_out`.
    state: str
    attempt: int
    #: What a step has returned; None if it is large (`value_bytes`).
    value: Any = None
    value_bytes: int | None = None
    child_id: str | None = None
    #: When a sleep or the time of a wait is over.
    until: datetime | None = None
    written_at: datetime


@dataclass(frozen=True, kw_only=True)
class JobWait:
    """A wait of a job."""

    #: `completed`, `ended`, `failed`, `any`, `event` or `time`.
    condition: str
    #: The first 100 jobs that it is for.
    jobs: list[str]
    began_at: datetime
    #: When its handler was entered after it; None before.
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class JobJournal:
    """What a job's handler has done, in order, and the job's latest 100 waits."""

    entries: list[JournalEntry]
    waits: list[JobWait]
