"""Groups of failed jobs with the same error fingerprint, the fingerprint, and updates when jobs fail.

The fingerprint is a hash of the error's kind and place: the handler's innermost module, function and line. An error
without a place has its message, without numbers, ids and addresses, instead.
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

from ava.domain.limits.table import ERROR_VARIANTS
from ava.domain.record import about, as_record

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


def kind_of(error: str) -> str:
    """Return the kind of an error, `Kind: reason`."""
    return error[:_MAX_CHARACTERS].partition(": ")[0]


def kind_and_template(error: str) -> tuple[str, str]:
    """Return the kind of an error (`Kind: reason`), and its reason without numbers, ids and addresses."""
    kind, _, reason = error[:_MAX_CHARACTERS].partition(": ")
    template = reason
    for pattern in _LEFT_OUT:
        template = pattern.sub(_ANY, template)
    return kind, _SPACES.sub(" ", _REPEATED.sub(_ANY, template)).strip()


def error_id(*, tenant_id: str, worker_id: str, error: str, place: str = "") -> UUID:
    """Return the id of the failed job's error group: a hash of the fingerprint.

    `place`: the handler's module, function and line that raised; empty if unknown.
    """
    kind = kind_of(error)
    # Where a timeout, a memory limit or a process's death strikes is arbitrary.
    if place and kind not in ("Timeout", "MemoryExceeded", "WorkerLost"):
        return _hashed(tenant_id, worker_id, kind, "at", place)
    return _hashed(tenant_id, worker_id, *kind_and_template(error))


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
        metadata=about("The first message, with `*` in place of numbers, ids and addresses.", payload="string")
    )
    variants: Sequence[str] = field(
        default=(),
        metadata=about(
            f"The first {ERROR_VARIANTS.value} different messages, in the form of `message`.", payload="value"
        ),
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
    #: Different messages without numbers, ids and addresses.
    variants: list[str]
    first_seen_at: datetime
    last_seen_at: datetime
    sample_job_id: str
    days: Counter[datetime] = field(default_factory=Counter)


def gather(jobs: Sequence[FailedJob], ungrouped: Mapping[str, str]) -> list[ErrorGroupUpdate]:
    """Return the groups' updates; `ungrouped` maps the error ids of tenants with too many groups to a shared one."""
    found: dict[str, ErrorGroupUpdate] = {}
    read: dict[str, set[str]] = {}
    for job in jobs:
        error_id = ungrouped.get(job.error_id, job.error_id)
        update = found.get(error_id)
        if update is None:
            kind, variants = (
                (UNGROUPED, ["errors beyond the tenant's max number of error groups"])
                if job.error_id in ungrouped
                else (kind_of(job.error), [])
            )
            update = found[error_id] = ErrorGroupUpdate(
                id=error_id,
                tenant_id=job.tenant_id,
                worker_id=job.worker_id,
                kind=kind,
                variants=variants,
                first_seen_at=job.completed_at,
                last_seen_at=job.completed_at,
                sample_job_id=job.id,
            )
        errors = read.setdefault(error_id, set())
        # Later batches add further variants: the template of a hostile message takes milliseconds.
        if job.error_id not in ungrouped and job.error not in errors and len(errors) < ERROR_VARIANTS.value:
            errors.add(job.error)
            template = kind_and_template(job.error)[1]
            if template not in update.variants:
                update.variants.append(template)
        update.first_seen_at = min(update.first_seen_at, job.completed_at)
        if job.completed_at >= update.last_seen_at:
            update.last_seen_at, update.sample_job_id = job.completed_at, job.id
        update.days[job.completed_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)] += 1
    return list(found.values())


def comes_back(update: ErrorGroupUpdate, status: ErrorStatus, resolved_at: datetime | None) -> bool:
    """Return True if a job failed with a resolved group's error after its resolution."""
    return status is ErrorStatus.RESOLVED and resolved_at is not None and update.last_seen_at > resolved_at
