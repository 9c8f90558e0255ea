"""A child's runs as the node's parent knows them: the runs given to it, and its current run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ava.domain.jobs.job import RunKey
from ava.domain.jobs.messages import task_id
from ava.node.machine_use import RunUse
from ava.node.outcome import MIB, Stop
from ava.node.parent.deadlines import RunState
from ava.node.run_board import CurrentRun, Phase
from ava.store.jobs.transitions.ended_runs import EndedRun


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenRuns:
    """The runs of a message that a child has accepted. At most one of them is running."""

    #: The child's pid; 0 if it died before it took the message.
    pid: int
    runs: tuple[RunKey, ...]


@dataclass(kw_only=True, eq=False)
class TrackedRun:
    """The current run of a child, as the child published it."""

    pid: int
    current: CurrentRun
    #: Its deadlines; replaced as a whole, only by the run monitor's thread.
    state: RunState
    is_killed: bool = False
    #: Other runs take no time from a process of its own.
    lost_seconds: ClassVar[float] = 0.0
    #: Peak memory in bytes and last processor time in microseconds; None before a measurement.
    peak_bytes: int | None = None
    cpu_us: int | None = None

    @classmethod
    def of(cls, pid: int, current: CurrentRun) -> TrackedRun:
        state = RunState(**_published(current))
        return cls(pid=pid, current=current, state=state)

    def follow(self, current: CurrentRun) -> None:
        """Update it with a newer publication of the same run."""
        self.current = current
        self.state = replace(self.state, **_published(current))

    def record_use(self, use: RunUse) -> None:
        self.peak_bytes = max(use.memory_bytes, self.peak_bytes or 0)
        self.cpu_us = max(0, use.cpu_us - self.current.cpu_us)
        self.state = replace(self.state, memory_mb=use.memory_bytes / MIB)

    @property
    def key(self) -> RunKey:
        return self.current.key

    @property
    def job_id(self) -> str:
        return self.current.job_id

    @property
    def is_entered(self) -> bool:
        return self.current.is_entered

    @property
    def task_id(self) -> str:
        """Return the run's id in a stop request."""
        return task_id(self.key)

    @property
    def stop(self) -> Stop | None:
        """Return why the child was asked to stop, if it was."""
        return self.state.stop


@dataclass(frozen=True, kw_only=True)
class DeadProcess:
    """The remaining runs and ends of a process that is dead or about to be."""

    pid: int
    #: Its last published run, and why that was stopped.
    current: CurrentRun | None
    stop: Stop | None = None
    #: Peak memory in bytes and processor time in microseconds of that run, if measured.
    peak_bytes: int | None = None
    cpu_us: int | None = None
    ends: Sequence[EndedRun] = ()

    @property
    def was_claiming(self) -> bool:
        """Return True if it is unknown whether the process got its run."""
        return self.current is not None and self.current.phase is Phase.CLAIMING

    def had(self, run: RunKey) -> bool:
        """Return True if the process had the run, or was about to claim it."""
        return self.current is not None and run in (self.current.key, self.current.next_run)


def _published(current: CurrentRun) -> dict[str, Any]:
    return {
        "timeout_seconds": current.timeout_seconds,
        "grace_seconds": current.grace_seconds,
        "max_memory_mb": current.max_memory_mb,
        "phase": current.phase,
        "since": current.since,
    }
