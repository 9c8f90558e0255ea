"""Why the system cancels jobs: the kinds of the errors of such jobs, and their texts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from ava.domain.jobs.job import Status
from ava.domain.record import format_time


class SystemCancel(StrEnum):
    """The kind of the error of a job that the system has cancelled, and no caller."""

    #: Its handler was not entered in time.
    EXPIRED = "Expired"
    #: A trigger with its key for `dedupe` has replaced it.
    REPLACED = "Replaced"
    #: The next firing of its schedule has come (`cancel_running`).
    OVERLAP_CANCELLED = "OverlapCancelled"
    #: The job whose handler made it was cancelled, or its deadline is over.
    PARENT_CANCELLED = "ParentCancelled"
    #: Those that it comes after in its bulk have not ended as it says.
    CONDITION_UNMET = "ConditionUnmet"


def expired(moment: datetime) -> str:
    """Returns the error of a job that has expired at a moment."""
    return f"{SystemCancel.EXPIRED}: not started by {format_time(moment)}"


def replaced(job_id: str) -> str:
    """Returns the error of a job that another one replaces."""
    return f"{SystemCancel.REPLACED}: {job_id} has its key"


def overlapped(schedule_id: str) -> str:
    """Returns the error of a job that the next firing of its schedule cancels."""
    return f"{SystemCancel.OVERLAP_CANCELLED}: the next job of {schedule_id} came"


def parent_cancelled(job_id: str, *, is_overdue: bool = False) -> str:
    """Returns the error of a job whose parent is cancelled, or fails because its deadline is over."""
    why = "exceeded its deadline" if is_overdue else "was cancelled"
    return f"{SystemCancel.PARENT_CANCELLED}: {job_id} {why}"


def condition_unmet(name: str, status: Status | None) -> str:
    """Returns the error of an entry of a bulk; `name` is the first entry that has not ended as it says.

    `status`: None of an entry that is deleted.
    """
    said = {Status.CANCELLED: "was cancelled", None: "is deleted"}.get(status) or str(status)
    return f"{SystemCancel.CONDITION_UNMET}: {name} {said}"


def overdue(seconds: float) -> str:
    """Returns the error of a job whose deadline, so many seconds after its beginning, is over. It fails."""
    return f"Timeout: exceeded its deadline of {seconds:g} s"
