"""Options of a trigger: the keys by which several triggers create one job, and the expiry of a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

#: Characters of a key. In UTF-8 it fits into an index, whose rows have at most 2,704 bytes.
LONGEST_KEY = 200
#: The most seconds that one trigger puts a job off, and that all of them together do.
LONGEST_DEBOUNCE_SECONDS = 86_400
LONGEST_WAIT_SECONDS = 604_800


class DedupeMode(StrEnum):
    """What becomes of a trigger if an earlier job with its key is not final."""

    #: The earlier job is returned.
    RETURN = "return"
    #: The earlier job is cancelled while it is queued; one that runs is a conflict.
    REPLACE = "replace"
    #: It is a conflict.
    REFUSE = "refuse"


class Keep(StrEnum):
    """Whose input, priority, tags, kind and user the job of several triggers has."""

    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True, kw_only=True)
class Dedupe:
    """At most one unfinished job of a tenant has a worker and a key."""

    key: str
    mode: DedupeMode = DedupeMode.RETURN


@dataclass(frozen=True, kw_only=True)
class Debounce:
    """One job for all triggers with a key that follow each other within some seconds."""

    key: str
    #: It starts so long after the last trigger …
    seconds: int
    #: … and at most so long after the first one, if the first one says so.
    max_seconds: int | None = None
    keep: Keep = Keep.LAST


#: The longest time by which a job must have started, else it is cancelled: 366 days.
MAX_EXPIRY_SECONDS = 31_622_400


def renewed_expiry_seconds(
    *, created_at: datetime, scheduled_at: datetime | None, expires_at: datetime, is_firing: bool
) -> int:
    """Returns the seconds after which a job expires that repeats another one.

    They count from the date of the earlier job, else from its creation; those of a firing always from its slot.
    """
    base = created_at
    if scheduled_at is not None and (is_firing or scheduled_at > created_at):
        base = scheduled_at
    return min(MAX_EXPIRY_SECONDS, max(1, round((expires_at - base).total_seconds())))
