"""The job record for clients, handlers and webhooks: plain values, in the contract's order."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ava.domain.access.actor import Actor
from ava.domain.jobs.job import Job


def format_time(timestamp: datetime | None) -> str | None:
    """Return ISO 8601 in UTC with a `Z`; with milliseconds unless they are 0."""
    if timestamp is None:
        return None
    # Truncate instead of rounding, so that the result is never later than the time.
    iso_string = timestamp.astimezone(UTC).isoformat(timespec="milliseconds")[:23]
    return iso_string.removesuffix(".000") + "Z"


def as_record(record: Any, names: str) -> dict[str, Any]:
    """Return fields of a dataclass as plain values; the field `input` is the JSON of `input_json`."""
    return {name: _plain(record, name) for name in names.split()}


def _plain(record: Any, name: str) -> Any:
    value = getattr(record, name) if hasattr(record, name) else json.loads(getattr(record, f"{name}_json") or "null")
    if isinstance(value, datetime):
        return format_time(value)
    if name == "paused":
        return None if value is None else value.record
    if isinstance(value, Actor):
        return value.id
    return value.value if isinstance(value, StrEnum) else value


def make_record(job: Job) -> dict[str, Any]:
    """Return the record of a job: the contract's fields, then the others."""
    return {
        "id": job.id,
        "worker_id": job.worker_id,
        "tenant_id": job.tenant_id,
        "status": job.status.value,
        "trigger": job.trigger.value,
        "priority": job.priority,
        "input": job.input,
        "triggered_by": job.triggered_by,
        "created_at": format_time(job.created_at),
        "started_at": format_time(job.began_at),
        "completed_at": format_time(job.completed_at),
        "duration_ms": job.duration_ms,
        "output": job.output,
        "error": job.error,
        "scheduled_at": format_time(job.scheduled_at),
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "cancel_requested_at": format_time(job.cancel_requested_at),
        "cancelled_by": job.cancelled_by,
        "progress": job.progress,
        "retry_of": job.retry_of,
        "tags": job.tags,
        "expires_at": format_time(job.expires_at),
        "parent_id": job.parent_id,
        "tree_id": job.tree_id,
        "waiting_for": job.waiting_for,
        "deadline_at": format_time(job.deadline_at),
        "usage": job.usage,
        "waits_for": None if job.waits_for is None else job.waits_for.value,
        "origin": as_record(job.origin, "id kind via label"),
    }
