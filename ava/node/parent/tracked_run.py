"""The runs of a child as the node's parent knows them: those that it was given, and the one that it has now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ava.domain.jobs.job import RunKey
from ava.domain.jobs.messages import task_id
from ava.node.outcome import MIB, Stop
from ava.node.parent.deadlines import RunState
from ava.node.run_board import CurrentRun, Phase
from ava.node.run_use import RunUse
from ava.store.jobs.moves.ended_runs import EndedRun


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenRuns:
    """The runs of a message that a child has accepted: it has one of them at a time, or none any more."""

    #: The child's process; 0 if it died before it reported that it took the message.
    pid: int
    runs: tuple[RunKey, ...]


@dataclass(kw_only=True, eq=False)
class TrackedRun:
    """The run that a child has now, by its own word."""

    #: The child's process.
    pid: int
    #: What the child last published of it.
    current: CurrentRun
    #: Its deadlines; replaced as a whole, by the run monitor's thread alone.
    state: RunState
    is_killed: bool = False
    #: The most memory that it had at a look, and the processor time that it had used at the last one; None before one.
    peak_bytes: int | None = None
    cpu_us: int | None = None

    @classmethod
    def of(cls, pid: int, current: CurrentRun) -> TrackedRun:
        """Returns a run that a child has just published."""
        state = RunState(**_published(current))
        return cls(pid=pid, current=current, state=state)

    def follow(self, current: CurrentRun) -> None:
        """The child has published more of the same run."""
        self.current = current
        self.state = replace(self.state, **_published(current))

    def note_use(self, use: RunUse) -> None:
        """A look has shown what its process uses."""
        self.peak_bytes = max(use.memory_bytes, self.peak_bytes or 0)
        self.cpu_us = max(0, use.cpu_us - self.current.cpu_us)
        self.state = replace(self.state, memory_mb=use.memory_bytes / MIB)

    @property
    def key(self) -> RunKey:
        """Returns the run as the store knows it."""
        return self.current.key

    @property
    def job_id(self) -> str:
        """Returns the id of its job."""
        return self.current.job_id

    @property
    def task_id(self) -> str:
        """Returns the name of the run in a stop."""
        return task_id(self.key)

    @property
    def stop(self) -> Stop | None:
        """Returns why the child was asked to stop; None if it was not."""
        return self.state.stop


@dataclass(frozen=True, kw_only=True)
class DeadProcess:
    """What a process has left that is dead, or about to be."""

    pid: int
    #: The run that it had, by its last word, and why that was stopped.
    current: CurrentRun | None
    stop: Stop | None = None
    #: What that run used: the most memory, and processor time; None if it was not looked at.
    peak_bytes: int | None = None
    cpu_us: int | None = None
    #: The ends that it had not written.
    ends: Sequence[EndedRun] = ()

    @property
    def was_claiming(self) -> bool:
        """Returns True if it is not known whether it got its run."""
        return self.current is not None and self.current.phase is Phase.CLAIMING

    def had(self, run: RunKey) -> bool:
        """Returns True if it had the run, or was about to have it."""
        return self.current is not None and run in (self.current.key, self.current.next_run)


def _published(current: CurrentRun) -> dict[str, Any]:
    """Returns what the state of a run has from its child."""
    return {
        "timeout_seconds": current.timeout_seconds,
        "grace_seconds": current.grace_seconds,
        "max_memory_mb": current.max_memory_mb,
        "phase": current.phase,
        "since": current.since,
    }
