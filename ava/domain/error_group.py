"""Groups of failed jobs with the same error fingerprint, the fingerprint, and updates when jobs fail.

The fingerprint is a hash of the error's kind, its message without numbers, ids and addresses, and the handler's frames.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from ava.domain.record import about, as_record

#: Innermost frames that count; more are mostly a recursion.
MAX_FRAMES = 20
#: The kind of the group for failures without their own, because the tenant has too many groups.
UNGROUPED = "Other"
#: Max characters of a message that count, so that the patterns below, which are linear, stay cheap.
_MAX_CHARACTERS = 1_000
_ANY = "*"

# The order matters: each pattern sees the result of the previous patterns.
_LEFT_OUT = tuple(
    re.compile(pattern)
    for pattern in (
        # E-mail addresses: bob@example.com.
        r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,5}",
        # IPv6, MAC addresses and times of the day: fe80::1, 00:1b:44:11:3a:b7, 10:20:30.
        r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?:%\w{1,16})?(?![\w:])",
        # Ids of this service, which may have no digit: usr_alice.
        r"\b(?:job|wkr|ten|usr|wh|evt|req|key|sch|op|err|sub|hk|del|dlv)_[0-9a-z_]{1,60}\b",
        # UUIDs, and parts of hexadecimal digits only: 3f2504e0-4f89-…, deadbeef.
        r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b",
        r"(?:(?<!\w)[+-])?\b[0-9A-Fa-f]{8,}\b",
        # Any word with a digit: 42, 0x7f3a, row12, 01h455vb. With signs and fractions.
        r"(?:(?<!\w)[+-])?\b\w*\d\w*(?:[.,]\d+)*(?:[eE][+-]?\d+)?%?",
    )
)
# Neighbouring placeholders count as one: 192.168.0.1:80, 2025-06-01T10:00:00Z, [1, 2, 3].
_REPEATED = re.compile(r"\*(?:[-+.,:;/T ]{0,2}\*)+Z?")
_SPACES = re.compile(r"\s+")


def kind_and_template(error: str) -> tuple[str, str]:
    """Return the kind of an error (`Kind: reason`), and its reason without numbers, ids and addresses."""
    kind, _, reason = error[:_MAX_CHARACTERS].partition(": ")
    template = reason
    for pattern in _LEFT_OUT:
        template = pattern.sub(_ANY, template)
    return kind, _SPACES.sub(" ", _REPEATED.sub(_ANY, template)).strip()


def own_frames_matter(kind: str) -> bool:
    """Return True if the handler's frames distinguish failures of this kind.

    Where a timeout, a memory limit or a process's death strikes is arbitrary.
    """
    return kind not in ("Timeout", "MemoryExceeded", "WorkerLost")


def error_id(*, tenant_id: str, worker_id: str, error: str, frames: Sequence[str] = ()) -> UUID:
    """Return the id of the failed job's error group: a hash of the fingerprint.

    `frames` are the handler's, innermost last.
    """
    kind, template = kind_and_template(error)
    counted_frames = list(frames)[-MAX_FRAMES:] if own_frames_matter(kind) else []
    return _hashed(tenant_id, worker_id, kind, template, *counted_frames)


def ungrouped_id(*, tenant_id: str, worker_id: str) -> UUID:
    """Return the id of the shared group for a worker's failures without their own group."""
    return _hashed(tenant_id, worker_id, UNGROUPED)


def _hashed(*parts: str) -> UUID:
    # PostgreSQL stores no NUL, so the separator occurs in no part.
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
    # RFC 9562 reserves version 8 for custom UUIDs.
    number = int.from_bytes(digest[:16], "big")
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62)


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

    day: datetime = field(metadata=about("Midnight UTC."))
    jobs: int = field(metadata={"minimum": 1})


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorGroup:
    """A group, with its jobs of a time range."""

    id: str = field(metadata={"prefix": "err"})
    worker_id: str
    kind: str = field(metadata=about("The type of the exception, such as ValueError; also Timeout and WorkerLost."))
    message: str = field(
        metadata={"description": "The message, with `*` in place of numbers, ids and addresses.", "payload": "string"}
    )
    count: int = field(metadata=about("The number of jobs that failed in the time range."))
    first_seen_at: datetime
    last_seen_at: datetime
    status: ErrorStatus
    sample_job_id: str = field(metadata={"prefix": "job", "description": "The most recent job of the group."})
    #: Oldest first.
    daily: Sequence[ErrorDay] = field(default=(), metadata=about("The days of the time range on which jobs failed."))


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
    #: The events that rules of notices may name.
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
