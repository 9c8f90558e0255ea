"""Groups of failed jobs with the same error fingerprint, and their updates when jobs fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ava.domain.fingerprint import UNGROUPED, kind_and_template
from ava.domain.record import as_record

#: Max jobs of a group that one call retries, newest first.
MAX_RETRIED = 10_000


class ErrorStatus(StrEnum):
    OPEN = "open"
    #: Counted, but without events.
    IGNORED = "ignored"
    #: Reopened when another job fails with this error.
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorDay:
    """The number of a group's jobs that failed on one day (UTC)."""

    day: datetime
    jobs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorGroup:
    """A group, with its jobs of a time range."""

    id: str = field(metadata={"prefix": "err"})
    worker_id: str
    kind: str = field(
        metadata={"description": "The type of the exception, such as ValueError; also Timeout and WorkerLost."}
    )
    message: str = field(
        metadata={"description": "The message, with `*` in place of numbers, ids and addresses.", "is_payload": True}
    )
    count: int = field(metadata={"description": "The number of jobs that failed in the time range."})
    first_seen_at: datetime
    last_seen_at: datetime
    status: ErrorStatus
    sample_job_id: str = field(metadata={"prefix": "job", "description": "The most recent job of the group."})
    #: The days of the time range with failures, oldest first.
    daily: Sequence[ErrorDay] = ()


def make_error_record(group: ErrorGroup) -> dict[str, Any]:
    """Return a group as events contain it, and the API without its days."""
    return as_record(group, "id worker_id kind message count first_seen_at last_seen_at status sample_job_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedJob:
    """A failed job that its group does not count yet."""

    #: UUIDs.
    id: str
    error_id: str
    tenant_id: str
    worker_id: str
    #: The first characters of its error.
    error: str
    completed_at: datetime
    #: What the rules of notices may name.
    queue: str
    tags: Mapping[str, str]


@dataclass(kw_only=True, slots=True)
class ErrorGroupUpdate:
    """The changes to one group by a batch of failed jobs."""

    id: str
    tenant_id: str
    worker_id: str
    kind: str
    message: str
    first_seen_at: datetime
    last_seen_at: datetime
    sample_job_id: str
    days: Counter[datetime] = field(default_factory=Counter)


def gather(jobs: Sequence[FailedJob], ungrouped: Mapping[str, str]) -> list[ErrorGroupUpdate]:
    """Return the groups' updates; `ungrouped` maps the error ids of tenants with too many groups to a shared one."""
    found: dict[str, ErrorGroupUpdate] = {}
    for job in jobs:
        error_id = ungrouped.get(job.error_id, job.error_id)
        update = found.get(error_id)
        if update is None:
            kind, message = (
                (UNGROUPED, "errors beyond the tenant's max number of error groups")
                if job.error_id in ungrouped
                else kind_and_template(job.error)
            )
            update = found[error_id] = ErrorGroupUpdate(
                id=error_id,
                tenant_id=job.tenant_id,
                worker_id=job.worker_id,
                kind=kind,
                message=message,
                first_seen_at=job.completed_at,
                last_seen_at=job.completed_at,
                sample_job_id=job.id,
            )
        update.first_seen_at = min(update.first_seen_at, job.completed_at)
        if job.completed_at >= update.last_seen_at:
            update.last_seen_at, update.sample_job_id = job.completed_at, job.id
        update.days[job.completed_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)] += 1
    return list(found.values())


def comes_back(update: ErrorGroupUpdate, status: ErrorStatus, resolved_at: datetime | None) -> bool:
    """Return True if a job failed with a resolved group's error after its resolution."""
    return status is ErrorStatus.RESOLVED and resolved_at is not None and update.last_seen_at > resolved_at
