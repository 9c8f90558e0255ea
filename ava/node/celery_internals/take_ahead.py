"""The take-ahead protocol: how a child gets its next message before its job is over.

docs/explain/node.md draws its states. Celery's own pool (`AVA_POOL=celery`) has no such protocol: `NoTakeAhead`.
"""

from __future__ import annotations

from typing import Protocol

from ava.domain.jobs.messages import Message

# What a child sends to its parent, beside billiard's own states (`ACK`, `READY` …, all below 16).
#: (job, inqueue): the child is about to be free of this job. The parent fetches its next message.
SOON_FREE = 64


class TakeAhead(Protocol):
    """The side of a child that asks for messages ahead."""

    #: The descriptors of the pipes from and to the parent, as far as they are known.
    pipes: tuple[int, ...]

    def announce_soon_free(self) -> None:
        """Have the parent fetch the next message: only the end of this child's run is still to be written."""

    def take_next(self) -> Message | None:
        """Take the next message if it follows closely. Returns None if none came that can be claimed."""


class NoTakeAhead:
    """A child of Celery's own pool: the next message comes when the job is over."""

    pipes: tuple[int, ...] = ()

    def announce_soon_free(self) -> None:
        """Do nothing."""

    def take_next(self) -> Message | None:
        """Returns None."""
        return None
