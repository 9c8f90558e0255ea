"""Bulk operations: retry or cancel, in batches, all jobs that a filter finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from ava.domain.access.actor import Actor
from ava.domain.access.caller import Caller, Role
from ava.domain.jobs.job import FINAL, Status
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.record import about


class BulkKind(StrEnum):
    RETRY = "retry"
    CANCEL = "cancel"
    #: Releases or cancels the held jobs of a lifted containment.
    LIFT = "lift"

    @property
    def statuses(self) -> frozenset[Status]:
        return FINAL if self is BulkKind.RETRY else frozenset(Status) - FINAL


class BulkState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    ABORTED = "aborted"


_FILTER = {"description": "The filter, as it was sent.", "payload": "filter"}
_RESULT = {
    "description": "For a cancel: `cancelled` counts the queued jobs, `signalled` the running jobs that were requested "
    "to stop. Null for a retry."
}


@dataclass(frozen=True, kw_only=True)
class BulkOperation:
    """A bulk operation as stored.

    It processes the jobs that existed before it, newest first. The transaction that changes a batch also advances
    `before_id`, so that no job is processed twice and no job that the operation creates is processed.
    """

    id: str = field(metadata={"prefix": "op"})
    tenant_id: str
    kind: BulkKind
    job_filter: JobFilter
    state: BulkState = field(
        metadata=about("`aborted`: it handles no further jobs; jobs that it has handled stay changed.")
    )
    total: int = field(
        metadata=about(
            "The number of matching jobs at the start of the operation, as far as they are counted. A "
            "job that no longer matches when it is handled counts as neither done nor failed."
        )
    )
    done: int = field(metadata=about("Retried, cancelled or released jobs."))
    failed: int = field(metadata=about("Jobs that could not be retried; `reason` explains why."))
    #: The part of `done` that were running and were asked to stop.
    signalled: int
    reason: str | None = field(metadata=about("Why jobs failed, or why the operation is waiting; otherwise null."))
    created_by: Actor = field(metadata=about("The user or API key that created it."))
    role: Role
    request_id: str
    created_at: datetime
    completed_at: datetime | None
    #: Cursor: jobs with smaller ids are not processed yet.
    before_id: str = field(metadata={"prefix": "job"})
    #: Of a lift: the containment, and whether it cancels the held jobs.
    containment_id: str | None = field(default=None, metadata={"prefix": "con"})
    cancels_held: bool | None = None

    @property
    def caller(self) -> Caller:
        """Return the creator: the operation acts on its behalf."""
        return Caller(tenant_id=self.tenant_id, user_id=self.created_by.name, role=self.role)

    @property
    def filter(self) -> Annotated[Mapping[str, object], _FILTER]:
        return self.job_filter.as_record()

    @property
    def result(self) -> Annotated[Mapping[str, int] | None, _RESULT]:
        """Return the numbers of cancelled queued jobs and of running jobs asked to stop; None for other kinds."""
        if self.kind is not BulkKind.CANCEL:
            return None
        return {"cancelled": self.done - self.signalled, "signalled": self.signalled}


@dataclass(frozen=True, kw_only=True)
class JobCount:
    """The number of jobs for an operation."""

    total: int = field(metadata=about("The number of jobs that match now."))
    is_exact: bool = field(
        metadata=about(
            "False: more jobs may match. The count ends at 1,000,000 jobs, and without an index for the "
            "filter after scanning 200,000."
        )
    )
