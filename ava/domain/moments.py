"""Moments as clients write them: ISO 8601, with an offset, or without one in UTC or in the local zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime

# ISO 8601 also has week dates, ordinal dates and forms without separators, which many programs misread.
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)


def parse(text: str, *, is_local: bool = False) -> datetime | None:
    """Returns the moment in UTC of a date (its midnight) or a date and time; None if the text is neither.

    Without an offset it is UTC, and with `is_local` the time of this process's zone.
    """
    if not _DATE_TIME.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is None and not is_local:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        # There is no such day or hour, or in UTC it is before the year 1 or after the year 9999.
        return None
