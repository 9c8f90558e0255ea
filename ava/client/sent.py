"""What calls send: options and changes, times, and ids in paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from ava.client.errors import ApiNotFound


def sent_time(value: Any) -> Any:
    """Return a datetime in ISO 8601 with its offset, and any other value unchanged.

    Raises `ValueError` for a datetime without a time zone: the API would read a local time as UTC, and start a job
    immediately that is due in an hour.
    """
    if not isinstance(value, datetime):
        return value
    if value.utcoffset() is None:
        raise ValueError(
            f"{value!r} has no time zone; use datetime.now(UTC), or value.astimezone() if it is a local time"
        )
    return value.isoformat()


def sent_value(value: Any) -> Any:
    """Return a value as JSON has it: a time as a string; a mapping, a sequence and its mappings as plain ones.

    What is in a payload stays as it is, because it may be large or nested deep.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [dict(each) if isinstance(each, Mapping) else each for each in value]
    return sent_time(value)


def sent_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as JSON has them, without those that are None."""
    return {name: sent_value(value) for name, value in fields.items() if value is not None}


def segment(id: str) -> str:
    """Return an id as one path segment. Raises `ApiNotFound` for a string that could call another route.

    Quoting is not enough: a server decodes `%2F` before it selects the route, and a client removes `..`.
    """
    string = str(id)
    if "/" in string or not string.strip("."):
        raise ApiNotFound(f"{string!r} is not an id.", status=404, code="resource_not_found")
    return quote(string, safe="", errors="replace")
