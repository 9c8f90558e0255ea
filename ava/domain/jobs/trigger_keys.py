"""Keys of triggers: several triggers with one key make one job, by one of two rules."""

from __future__ import annotations

from dataclasses import dataclass
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
