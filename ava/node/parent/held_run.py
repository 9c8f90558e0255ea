"""A run that a child of this node has been given, as the node's parent knows it."""

from __future__ import annotations

import time
from dataclasses import InitVar, dataclass, field

from ava.domain.messages import task_id
from ava.node.outcome import Stop
from ava.node.parent.deadlines import RunState

__all__ = ["HeldRun"]


@dataclass(kw_only=True, eq=False)
class HeldRun:
    """A run that a child of this node has been given."""

    job_id: str
    run_no: int
    #: The child's process, 0 if it died before it reported that it took the message.
    pid: int
    timeout_seconds: InitVar[float]
    grace_seconds: InitVar[float]
    #: Its deadlines; replaced as a whole, by the run monitor's thread alone.
    state: RunState = field(init=False)
    is_killed: bool = False
    #: The runs of the same message, this one included: the child has one of them at a time, in their order.
    group: tuple[HeldRun, ...] = ()
    #: Whether the process may end it and begin another one with its place of a limit.
    may_pass_place: bool = False
    #: When the child took its message, in Unix nanoseconds and in seconds of the monotonic clock.
    began_ns: int = field(default_factory=time.time_ns)
    began_at: float = field(default_factory=time.monotonic)

    def __post_init__(self, timeout_seconds: float, grace_seconds: float) -> None:
        self.state = RunState(timeout_seconds=timeout_seconds, grace_seconds=grace_seconds)

    def next_with_place(self, job_id: str, run_no: int) -> HeldRun:
        """Returns the run that its process has begun with this one's place of a limit: of the same worker."""
        return HeldRun(
            job_id=job_id,
            run_no=run_no,
            pid=self.pid,
            timeout_seconds=self.state.timeout_seconds,
            grace_seconds=self.state.grace_seconds,
            may_pass_place=True,
        )

    @property
    def task_id(self) -> str:
        """Returns the name of the run in a stop."""
        return task_id(self.job_id, self.run_no)

    @property
    def key(self) -> tuple[str, int]:
        """The run as the store knows it: the job's id and the run's number."""
        return self.job_id, self.run_no

    @property
    def stop(self) -> Stop | None:
        """Why the child was asked to stop; None if it was not."""
        return self.state.stop
