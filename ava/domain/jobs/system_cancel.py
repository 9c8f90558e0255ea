"""Why the system cancels jobs: the kinds of the errors of such jobs, and their texts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from ava.domain.record import format_time

__all__ = ["SystemCancel", "expired", "overlapped", "replaced"]


class SystemCancel(StrEnum):
    """The kind of the error of a job that the system has cancelled, and no caller."""

    #: Its handler was not entered in time.
    EXPIRED = "Expired"
    #: A trigger with its key for `dedupe` has replaced it.
    REPLACED = "Replaced"
    #: The next firing of its schedule has come (`cancel_running`).
    OVERLAP_CANCELLED = "OverlapCancelled"


def expired(moment: datetime) -> str:
    """Returns the error of a job that has expired at a moment."""
    return f"{SystemCancel.EXPIRED}: not started by {format_time(moment)}"


def replaced(job_id: str) -> str:
    """Returns the error of a job that another one replaces."""
    return f"{SystemCancel.REPLACED}: {job_id} has its key"


def overlapped(schedule_id: str) -> str:
    """Returns the error of a job that the next firing of its schedule cancels."""
    return f"{SystemCancel.OVERLAP_CANCELLED}: the next job of {schedule_id} came"
