"""Errors of jobs that the system cancels: their kinds and messages."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from ava.domain.jobs.job import Status
from ava.domain.record import format_time


class SystemCancel(StrEnum):
    """The error kind of a job that the system, not a caller, cancelled."""

    EXPIRED = "Expired"
    REPLACED = "Replaced"
    #: Its schedule fired again (`cancel_running`).
    OVERLAP_CANCELLED = "OverlapCancelled"
    #: Its parent was cancelled or exceeded its deadline.
    PARENT_CANCELLED = "ParentCancelled"
    #: Its predecessors in the bulk did not end as its `when` demands.
    CONDITION_UNMET = "ConditionUnmet"


def expired(timestamp: datetime) -> str:
    return f"{SystemCancel.EXPIRED}: not started by {format_time(timestamp)}"


def replaced(job_id: str) -> str:
    return f"{SystemCancel.REPLACED}: {job_id} has the same deduplication key"


def overlapped(schedule_id: str) -> str:
    return f"{SystemCancel.OVERLAP_CANCELLED}: the next job of {schedule_id} was created"


def parent_cancelled(job_id: str, *, is_overdue: bool = False) -> str:
    why = "exceeded its deadline" if is_overdue else "was cancelled"
    return f"{SystemCancel.PARENT_CANCELLED}: {job_id} {why}"


def condition_unmet(name: str, status: Status | None) -> str:
    """Return the error of a bulk entry; `name` is its first predecessor with the wrong outcome.

    `status`: the predecessor's; None if it is deleted.
    """
    said = {Status.CANCELLED: "was cancelled", None: "is deleted"}.get(status) or str(status)
    return f"{SystemCancel.CONDITION_UNMET}: {name} {said}"


def overdue(seconds: float) -> str:
    """Return the error of a job that fails because its deadline, `seconds` after its creation or date, passed."""
    return f"Timeout: exceeded its deadline of {seconds:g} s"
