"""An operation on many jobs: all that a filter finds are retried or cancelled, in batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ava.domain.access.caller import Caller, Role
from ava.domain.jobs.job import FINAL, Status
from ava.domain.jobs.job_filter import JobFilter


class BulkKind(StrEnum):
    """What an operation does with each job."""

    RETRY = "retry"
    CANCEL = "cancel"

    @property
    def statuses(self) -> frozenset[Status]:
        """Returns the statuses of the jobs that it takes."""
        return FINAL if self is BulkKind.RETRY else frozenset(Status) - FINAL


class BulkState(StrEnum):
    """How far an operation is."""

    RUNNING = "running"
    DONE = "done"
    ABORTED = "aborted"


@dataclass(frozen=True, kw_only=True)
class BulkOperation:
    """An operation on many jobs, as it stands in the database.

    It takes the jobs that were there before it, from the newest to the oldest. Its place moves in the transaction that
    changes the jobs of a batch, so it takes no job twice, and none of those that it makes itself.
    """

    id: str
    tenant_id: str
    kind: BulkKind
    job_filter: JobFilter
    state: BulkState
    #: How many jobs the filter found when the operation was made, as far as they are counted.
    total: int
    #: Jobs that were retried, cancelled or asked to stop.
    done: int
    #: Jobs that could not be retried.
    failed: int
    #: Of `done`, the running jobs that were asked to stop.
    signalled: int
    #: Why jobs failed, or why the operation waits; None if neither is so.
    reason: str | None
    created_by: str
    role: Role
    #: The id of the request that made it.
    request_id: str
    created_at: datetime
    completed_at: datetime | None
    #: The place: the jobs with smaller ids are still to come.
    before_id: str

    @property
    def caller(self) -> Caller:
        """Returns the caller who made the operation, on whose behalf it acts."""
        return Caller(tenant_id=self.tenant_id, user_id=self.created_by, role=self.role)

    @property
    def filter(self) -> Mapping[str, object]:
        """Returns the filter as JSON has it."""
        return self.job_filter.as_record()

    @property
    def result(self) -> Mapping[str, int] | None:
        """Returns how many queued jobs were cancelled and how many running ones were asked to stop; None of a retry."""
        if self.kind is BulkKind.RETRY:
            return None
        return {"cancelled": self.done - self.signalled, "signalled": self.signalled}
