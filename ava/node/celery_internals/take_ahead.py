"""The take-ahead protocol: how a child gets its next message before its job is over.

docs/node.md draws its states. Celery's own pool (`AVA_POOL=celery`) has no such protocol: `NoTakeAhead`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ava.domain.messages import Message

__all__ = ["BATCH", "PASSED", "RETURNED", "SOON_FREE", "STILL_BUSY", "NoTakeAhead", "TakeAhead"]

# What a child sends to its parent, beside billiard's own states (`ACK`, `READY` …, all below 16).
#: (job, inqueue): the child is about to be free of this job. The parent fetches its next message.
SOON_FREE = 64
#: (job, inqueue): the child sent `SOON_FREE` early, and the job takes longer. The parent writes nothing more to it.
STILL_BUSY = 65
#: (job, busy job, inqueue): a message that came for a busy child. Its job goes back to the backlog.
RETURNED = 66
#: (state, …): several of all these in their order, in one write, because each write wakes the parent.
BATCH = 67
#: (job, job id, run number): the child has ended the run of this job, and runs another one with its place of a limit.
PASSED = 68


class TakeAhead(Protocol):
    """The side of a child that asks for messages ahead."""

    #: The descriptors of the pipes from and to the parent, as far as they are known.
    pipes: tuple[int, ...]

    def announce_soon_free(self) -> None:
        """Have the parent fetch the next message: only the end of this child's run is still to be written."""

    def take_next(self, is_brief: Callable[[str], bool]) -> Message | None:
        """Take the next message if it follows closely. Returns None if none came that can be claimed.

        `is_brief` returns True if the handler of a worker (its id) takes less time than the next message does.
        """

    def withdraw(self) -> None:
        """Withdraw an early announcement, if there is one, and return what came for it."""

    def check_announcement(self) -> None:
        """Withdraw an early announcement that turned out wrong; called ten times a second."""

    def may_pass_place(self) -> bool:
        """Returns True if no message was asked for or has come, so that the child may go on without one."""

    def report_passed(self, job_id: str, run_no: int) -> None:
        """Have the parent know the run that this child has started without a message."""


class NoTakeAhead:
    """A child of Celery's own pool: the next message comes when the job is over."""

    pipes: tuple[int, ...] = ()

    def announce_soon_free(self) -> None:
        """Do nothing."""

    def take_next(self, is_brief: Callable[[str], bool]) -> Message | None:  # noqa: ARG002
        """Returns None."""
        return None

    def withdraw(self) -> None:
        """Do nothing."""

    def check_announcement(self) -> None:
        """Do nothing."""

    def may_pass_place(self) -> bool:
        """Returns False, because the parent would not know the run."""
        return False

    def report_passed(self, job_id: str, run_no: int) -> None:
        """Do nothing."""
