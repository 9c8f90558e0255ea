"""Options of a trigger: deduplication, debounce and expiry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

#: Max characters of a key. In UTF-8 it fits into an index row of at most 2,704 bytes.
LONGEST_KEY = 200
#: Max delay in seconds by one debounced trigger, and by all together.
LONGEST_DEBOUNCE_SECONDS = 86_400
LONGEST_WAIT_SECONDS = 604_800


class DedupeMode(StrEnum):
    """What happens to a trigger while an earlier job with its key is not final."""

    #: Return the earlier job.
    RETURN = "return"
    #: Cancel the earlier job if it is queued; if it is running, refuse the trigger (conflict).
    REPLACE = "replace"
    #: Refuse the trigger (conflict).
    REFUSE = "refuse"


class Keep(StrEnum):
    """The trigger that determines a debounced job's input, priority, tags, kind and user."""

    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True, kw_only=True)
class Dedupe:
    """Allow a tenant at most one unfinished job per worker and key."""

    key: str
    mode: DedupeMode = DedupeMode.RETURN


@dataclass(frozen=True, kw_only=True)
class Debounce:
    """Create one job for a burst of triggers with one key."""

    key: str
    #: Seconds from the last trigger to the start …
    seconds: int
    #: … and max seconds from the first trigger, which sets them; None: no limit.
    max_seconds: int | None = None
    keep: Keep = Keep.LAST


#: Max seconds until an unstarted job is cancelled: 366 days.
MAX_EXPIRY_SECONDS = 31_622_400


def renewed_expiry_seconds(
    *, created_at: datetime, scheduled_at: datetime | None, expires_at: datetime, is_firing: bool
) -> int:
    """Return the `expires_in_seconds` for a job that repeats another one.

    It counts from the earlier job's `scheduled_at` if that was in the future, or from its creation; for a schedule's
    job always from its firing time.
    """
    base = created_at
    if scheduled_at is not None and (is_firing or scheduled_at > created_at):
        base = scheduled_at
    return min(MAX_EXPIRY_SECONDS, max(1, round((expires_at - base).total_seconds())))
