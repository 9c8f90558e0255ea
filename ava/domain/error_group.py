"""Groups of failed jobs whose errors have one fingerprint, and what happens to them when jobs fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ava.domain.fingerprint import UNGROUPED, kind_and_template
from ava.domain.record import format_time

#: The most jobs of a group that one call retries, the newest.
MAX_RETRIED = 10_000


class ErrorStatus(StrEnum):
    """What people have decided about a group."""

    OPEN = "open"
    #: It is counted, and no event says so.
    IGNORED = "ignored"
    #: It is open again when a job fails in this way again.
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorDay:
    """How many jobs of a group failed on one day (UTC)."""

    day: datetime
    jobs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorGroup:
    """A group, with the jobs of a period."""

    id: str
    worker_id: str
    kind: str
    #: The message without numbers, ids and addresses.
    message: str
    count: int
    first_seen_at: datetime
    last_seen_at: datetime
    status: ErrorStatus
    #: The last job of the group.
    sample_job_id: str
    #: The days of the period on which jobs failed, oldest first.
    daily: Sequence[ErrorDay] = ()


def make_error_record(group: ErrorGroup) -> dict[str, Any]:
    """Returns a group as events hold it, and the API without its days."""
    return {
        "id": group.id,
        "worker_id": group.worker_id,
        "kind": group.kind,
        "message": group.message,
        "count": group.count,
        "first_seen_at": format_time(group.first_seen_at),
        "last_seen_at": format_time(group.last_seen_at),
        "status": group.status.value,
        "sample_job_id": group.sample_job_id,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedJob:
    """A failed job that is not in its group's counts yet."""

    #: UUIDs.
    id: str
    error_id: str
    tenant_id: str
    worker_id: str
    #: The first characters of its error.
    error: str
    completed_at: datetime


@dataclass(kw_only=True, slots=True)
class ErrorGroupUpdate:
    """What a batch of failed jobs adds to one group."""

    id: str
    tenant_id: str
    worker_id: str
    kind: str
    message: str
    first_seen_at: datetime
    last_seen_at: datetime
    sample_job_id: str
    #: The jobs of each day.
    days: Counter[datetime] = field(default_factory=Counter)


def gather(jobs: Sequence[FailedJob], ungrouped: Mapping[str, str]) -> list[ErrorGroupUpdate]:
    """Returns what jobs add to their groups; `ungrouped` has the groups of those whose tenant has too many."""
    found: dict[str, ErrorGroupUpdate] = {}
    for job in jobs:
        error_id = ungrouped.get(job.error_id, job.error_id)
        update = found.get(error_id)
        if update is None:
            kind, message = (
                (UNGROUPED, "errors of other kinds than the tenant's groups have")
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
    """Returns True if a job failed in the way of a resolved group after it was resolved."""
    return status is ErrorStatus.RESOLVED and resolved_at is not None and update.last_seen_at > resolved_at
