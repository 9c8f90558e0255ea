"""Error groups: schemas of requests and responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from marshmallow import post_load

from ava.api.http import paging
from ava.api.http.fields import Choice, ClientId, QueryInstant, filtered
from ava.api.http.paging import PageQuery, PageRequest, TimeRangeQuery, cursor_field, take_page
from ava.api.http.records import RecordSchema, compile_schema
from ava.domain.error_group import ErrorDay, ErrorGroup, ErrorStatus
from ava.domain.record import format_time

_MAX_COUNT = 2**53


@dataclass(frozen=True, kw_only=True)
class ErrorListRequest(PageRequest):
    """A page and filters of error groups."""

    since: datetime | None
    until: datetime | None
    worker_id: str | None
    status: ErrorStatus | None


_SINCE = {
    "description": "Count only failures of this time or later, in ISO 8601. Failures are counted by day (UTC): a day "
    "that the range touches counts as a whole. Default: midnight UTC 30 days ago."
}


class ErrorQuery(TimeRangeQuery):
    """The parameters of one group."""

    since = QueryInstant(load_default=None, metadata=_SINCE)


class ErrorListQuery(PageQuery, ErrorQuery):
    """The parameters of the list of groups."""

    worker_id = ClientId("wkr", **filtered("worker_id", "Only errors of this worker."))
    status = Choice(ErrorStatus, **filtered("status", "Only errors with this status."))
    cursor = cursor_field(paging.id_reader("err"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> ErrorListRequest:
        return ErrorListRequest(**take_page(values), **values)


# Out -------------------------------------------------------------------------------------------------------------


class ErrorGroupRecord(RecordSchema, of=ErrorGroup):
    """Failed jobs of one worker with errors of one kind that the same line of the handler raised."""


@lru_cache(maxsize=512)
def _day_json(day: datetime) -> str:
    return f'{{"day":"{format_time(day)}","jobs":'


def _write_days(days: Sequence[ErrorDay]) -> str:
    # A page has thousands of days, but few distinct ones.
    return "[" + ",".join([f"{_day_json(each.day)}{each.jobs}}}" for each in days]) + "]"


write_error_group = compile_schema(ErrorGroupRecord(), daily=_write_days)
