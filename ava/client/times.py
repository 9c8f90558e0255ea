"""Times as the client sends them."""

from __future__ import annotations

from datetime import datetime
from typing import Any


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
