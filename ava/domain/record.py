"""The job record for clients, handlers and webhooks: plain values, in the contract's order."""

from __future__ import annotations

import json
from dataclasses import is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any

from ava.domain.access.actor import Actor
from ava.domain.jobs.job import RECORD, Job


def format_time(timestamp: datetime | None) -> str | None:
    """Return ISO 8601 in UTC with a `Z`; with milliseconds unless they are 0."""
    if timestamp is None:
        return None
    # Truncate instead of rounding, so that the result is never later than the time.
    iso_string = timestamp.astimezone(UTC).isoformat(timespec="milliseconds")[:23]
    return iso_string.removesuffix(".000") + "Z"


def about(description: str, **facts: Any) -> dict[str, Any]:
    """Return the metadata of a record's field: its description and its other facts, as `RecordSchema` lists them."""
    return {"description": description, **facts}


#: The types of values that are plain.
_PLAIN = frozenset({str, int, float, bool, dict, type(None)})
_JOB_NAMES = RECORD.split()
_values_of_job = attrgetter(*("began_at" if name == "started_at" else name for name in _JOB_NAMES))


def as_record(record: Any, names: str) -> dict[str, Any]:
    """Return fields of a dataclass as plain values; the field `input` is the JSON of `input_json`."""
    return {
        name: _plain(name, getattr(record, name))
        if hasattr(record, name)
        else json.loads(getattr(record, f"{name}_json") or "null")
        for name in names.split()
    }


def _plain(name: str, value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Actor):
        return value.id if name == "created_by" else as_record(value, "id kind via label")
    return (
        {each: _plain(each, getattr(value, each)) for each in value.__dataclass_fields__}
        if is_dataclass(value)
        else value
    )


def make_record(job: Job) -> dict[str, Any]:
    """Return the record of a job."""
    values = zip(_JOB_NAMES, _values_of_job(job), strict=True)
    return {name: value if type(value) in _PLAIN else _plain(name, value) for name, value in values}
