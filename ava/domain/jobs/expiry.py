"""Expiry: the time by which a job must have started, else it is cancelled."""

from __future__ import annotations

from datetime import datetime

#: The longest time, 366 days.
MAX_SECONDS = 31_622_400


def renewed_seconds(
    *, created_at: datetime, scheduled_at: datetime | None, expires_at: datetime, is_firing: bool
) -> int:
    """Returns the seconds after which a job expires that repeats another one.

    They count from the date of the earlier job, else from its creation; those of a firing always from its slot.
    """
    base = created_at
    if scheduled_at is not None and (is_firing or scheduled_at > created_at):
        base = scheduled_at
    return min(MAX_SECONDS, max(1, round((expires_at - base).total_seconds())))
