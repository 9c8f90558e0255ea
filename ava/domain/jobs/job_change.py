"""A client's change of a queued job, and its validation."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime

from ava.domain.jobs.job import Job, Status
from ava.domain.jobs.wait_reasons import PARKED, WaitsFor
from ava.errors import InvalidFields, JobStateConflict

#: Wait reasons that allow a new date. The others end with other jobs or a decision, which no date replaces.
_DATABLE = (None, WaitsFor.SCHEDULE, WaitsFor.DEFERRED, WaitsFor.DEBOUNCE, WaitsFor.PERMIT, WaitsFor.CONTAINED, *PARKED)


@dataclass(frozen=True, kw_only=True)
class JobChange:
    names: Set[str]
    priority: int | None = None
    #: With a time zone; None or a past time means now.
    scheduled_at: datetime | None = None
    #: Seconds from the change, or from a later date; None: it does not expire.
    expires_in_seconds: int | None = None
    tags_json: str = "{}"


def check(job: Job, change: JobChange) -> None:
    """Raise `JobStateConflict` if the job's state forbids the change, `InvalidFields` if the job would expire first."""
    if job.status is not Status.QUEUED:
        raise JobStateConflict(f"The job is {job.status}; only a queued job can be changed.")
    if job.first_run_no is not None and (fixed := change.names - {"priority", "tags"}):
        raise JobStateConflict(f"The job has started; its {' and '.join(sorted(fixed))} can no longer be changed.")
    if "tags" in change.names and job.waits_for is WaitsFor.CONTAINED:
        raise JobStateConflict("A containment holds the job; its tags cannot be changed until it is lifted.")
    if "scheduled_at" not in change.names:
        return
    if job.waits_for not in _DATABLE:
        raise JobStateConflict("The job waits for another job or a decision; its scheduled_at cannot be changed.")
    is_too_late = (
        "expires_in_seconds" not in change.names
        and job.expires_at is not None
        and change.scheduled_at is not None
        and change.scheduled_at >= job.expires_at
    )
    if is_too_late:
        reason = "It must be earlier than expires_at; send expires_in_seconds to extend it."
        raise InvalidFields(f"scheduled_at: {reason}", {"scheduled_at": [reason]})
