"""Time ranges: the parameters or fields `since` (inclusive) and `until` (exclusive)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from marshmallow import ValidationError, validates_schema

from ava.api.http.fields import Instant, QueryInstant
from ava.api.http.strict import Strict

_SINCE = {"description": "Only records of this time or later, in ISO 8601."}
_UNTIL = {"description": "Only records before this time, in ISO 8601."}


class _TimeRange(Strict):
    @validates_schema
    def _check_range(self, values: dict[str, Any], **_: Any) -> None:
        since: datetime | None = values.get("since")
        until: datetime | None = values.get("until")
        if since is not None and until is not None and until <= since:
            raise ValidationError("It must be later than `since`.", "until")


class TimeRangeQuery(_TimeRange):
    """Query parameters of a list: an optional time range."""

    since = QueryInstant(load_default=None, allow_none=False, metadata=_SINCE)
    until = QueryInstant(load_default=None, allow_none=False, metadata=_UNTIL)


class TimeRangeBody(_TimeRange):
    """Fields of a body: a time range that ends now unless it has an end."""

    since = Instant(required=True, metadata=_SINCE)
    until = Instant(load_default=None, allow_none=True, metadata=_UNTIL)
