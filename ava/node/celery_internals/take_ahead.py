"""The take-ahead protocol: a child gets its next message before its job has ended.

It keeps the promised drain rate (`python -m bench drain`): one statement ends a run and claims the next.

docs/explain/node.md draws its states. Celery's own pool (`AVA_POOL=celery`) has no such protocol: `NoTakeAhead`.
"""

from __future__ import annotations

from typing import Protocol

from ava.domain.jobs.messages import Message

# Messages from a child to its parent, in addition to billiard's states (`ACK`, `READY` …, all below 16).
#: (job, inqueue): the child will soon be free of this job. The parent fetches its next message.
SOON_FREE = 64


class TakeAhead(Protocol):
    """A child's interface for requesting messages ahead."""

    #: The descriptors of the pipes from and to the parent, as far as they are known.
    pipes: tuple[int, ...]

    def announce_soon_free(self) -> None:
        """Make the parent fetch the next message, because this child only has to write the end of its run."""

    def take_next(self) -> Message | None:
        """Take the next message if it arrives in close succession. Returns None if no claimable message arrived."""


class NoTakeAhead:
    """A child of Celery's own pool: the next message arrives after the job has ended."""

    pipes: tuple[int, ...] = ()

    def announce_soon_free(self) -> None:
        """Do nothing."""

    def take_next(self) -> Message | None:
        """Return None."""
        return None
