"""Pages of a list: the requested page or time range, the response, and cursors: opaque positions in a list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

from flask import Response
from marshmallow import Schema, ValidationError, post_load, validates_schema

from ava.api.http.fields import INVALID_CURSOR, Cursor, Instant, QueryInstant, WholeNumber
from ava.api.http.responses import as_json
from ava.api.http.strict import Strict
from ava.domain import ids
from ava.domain.counts import DEEPEST_ROW, PageBounds
from ava.domain.limits.table import RESPONSE_BYTES
from ava.domain.record import format_time
from ava.errors import InvalidParameters

_CURSOR_PREFIX = "cur"
_LOG_PREFIX = "log"
_LOW = 2**64 - 1


def cursor_of_item(item_id: str) -> str:
    """Return the cursor after the item with this id."""
    return f"{_CURSOR_PREFIX}_{item_id.partition('_')[2]}"


def id_reader(prefix: str) -> Callable[[str], str | None]:
    """Return a function that decodes a cursor into the id, with this prefix, of the last item before the page.

    It returns None if the string is no cursor.
    """

    def read(cursor: str) -> str | None:
        value = ids.decode(_CURSOR_PREFIX, cursor)
        return None if value is None else ids.encode(prefix, value)

    return read


def client_id_reader(prefix: str) -> Callable[[str], str | None]:
    """Return a function as `id_reader` does, for ids that clients choose: workers and tenants."""

    def read(cursor: str) -> str | None:
        return f"{prefix}_{cursor.removeprefix('cur_')}" if ids.is_client_id(_CURSOR_PREFIX, cursor) else None

    return read


def cursor_of_name(name: str | int) -> str:
    """Return the cursor after an item that has a unique name or number instead of an id."""
    return f"{_CURSOR_PREFIX}_{name}"


def name_reader(is_name: Callable[[str], bool]) -> Callable[[str], str | None]:
    """Return a function that decodes a cursor into the name of the last item before the page; None if it is none."""

    def read(cursor: str) -> str | None:
        prefix, _, name = cursor.partition("_")
        return name if prefix == _CURSOR_PREFIX and is_name(name) else None

    return read


def cursor_of_line(job_id: str, seq: int) -> str:
    """Return the cursor after a line of a job's log. It contains the random half of the job's id and fits no other."""
    return ids.encode(_LOG_PREFIX, UUID(int=_half(job_id) << 64 | seq + 1))


def line_of_cursor(job_id: str, cursor: str) -> int | None:
    """Return the `seq` of the last line before the page; None if the string is no cursor of this job's log."""
    value = ids.decode(_LOG_PREFIX, cursor)
    if value is None or value.int >> 64 != _half(job_id):
        return None
    seq = (value.int & _LOW) - 1
    return seq if -1 <= seq < 2**63 - 1 else None


# A stream has a cursor for each line of one job.
@lru_cache(maxsize=256)
def _half(job_id: str) -> int:
    value = ids.decode("job", job_id)
    return 0 if value is None else value.int & _LOW


Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """The requested page of a list, by number or by cursor; by default the first."""

    #: The page's number, from 1.
    page: int | None = None
    per_page: int
    #: The id or name of the last item before the page, or its position in a job.
    after_id: str | None = None

    @property
    def limit(self) -> int:
        """Max items to read: one more than the page shows, to detect a next page."""
        return self.per_page + 1

    @property
    def offset(self) -> int:
        """Number of items before a page that is requested by number."""
        return 0 if self.page is None else (self.page - 1) * self.per_page

    @property
    def bounds(self) -> PageBounds:
        return PageBounds(limit=self.limit, offset=self.offset, after_id=self.after_id)

    def after_line(self, job_id: str) -> int | None:
        """Return the position in a job after which the page begins; None for the first page.

        Raises `InvalidParameters` if the cursor is not of this job.
        """
        if self.after_id is None:
            return None
        if (seq := line_of_cursor(job_id, self.after_id)) is None:
            raise InvalidParameters(f"cursor: {INVALID_CURSOR}", {"cursor": [INVALID_CURSOR]})
        return seq


def per_page_field(*, maximum: int = 100, default: int = 20) -> WholeNumber:
    """The parameter `per_page`."""
    return WholeNumber(
        minimum=1,
        maximum=maximum,
        is_string=True,
        load_default=default,
        metadata={"description": "The number of items per page."},
    )


def cursor_field(find_id: Callable[[str], str | None]) -> Cursor:
    """The parameter `cursor`. `find_id` returns its id, or None if the string is no cursor."""
    return Cursor(
        find_id,
        load_default=None,
        metadata={"description": "The next_cursor of the previous page; the response is the page after it."},
    )


class PageQuery(Strict):
    """The parameters of all paged lists; each list adds its own `cursor`."""

    page = WholeNumber(
        minimum=1,
        maximum=DEEPEST_ROW,
        is_string=True,
        load_default=None,
        metadata={"description": "The number of the page, from 1."},
    )
    per_page = per_page_field()

    @validates_schema
    def _check_depth(self, values: dict[str, Any], **_: Any) -> None:
        page, per_page = values.get("page"), values.get("per_page", 20)
        if page is not None and values.get("cursor") is not None:
            raise ValidationError("Send either page or cursor.", "cursor")
        if page is not None and (page - 1) * per_page >= DEEPEST_ROW:
            raise ValidationError(
                f"It lies beyond the first {DEEPEST_ROW:,} entries; use cursor with the next_cursor of a page instead.",
                "page",
            )


class PlainPageQuery(PageQuery):
    """The parameters of a paged list without filters."""

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> PageRequest:
        return PageRequest(**take_page(values))


def page_query(find_id: Callable[[str], str | None]) -> Schema:
    """Return the parameters of a paged list without filters. `find_id` is as in `cursor_field`."""
    return PlainPageQuery.from_dict({"cursor": cursor_field(find_id)})()


def job_page_query(**per_page: int) -> Schema:
    """Return the parameters of a paged list that belongs to a job; `PageRequest.after_line` decodes its cursor.

    `per_page`: arguments of `per_page_field`.
    """
    cursor = cursor_field(lambda cursor: cursor if ids.decode(_LOG_PREFIX, cursor) is not None else None)
    return PlainPageQuery.from_dict({"cursor": cursor, "per_page": per_page_field(**per_page)})()


def take_page(values: dict[str, Any]) -> dict[str, Any]:
    """Remove the page's parameters from loaded values and return them as the arguments of `PageRequest`."""
    return {
        "page": values.pop("page", None),
        "per_page": values.pop("per_page"),
        "after_id": values.pop("cursor"),
    }


def _cursor_of(item: Any) -> str:
    return cursor_of_item(item.id)


def page_of(
    asked: PageRequest,
    found: Sequence[Item],
    total: int,
    write: Callable[[Item], str],
    *,
    has_more: bool | None = None,
    cursor_of: Callable[[Item], str] = _cursor_of,
    scanned_until: str | None = None,
    has_cursor: bool = True,
) -> Response:
    """Return `{"data": [ … ], "pagination": … }` of the items; `write` returns an item's JSON.

    The page ends early at the max size of a response. `has_more`: whether more items follow; if None, `found` has one
    item more than the page if there are more. `scanned_until`: where a search ended before the page was full, the id of
    the last item it read; the next page begins after it. Without `has_cursor` the next page has only a number.
    """
    records = within_response(map(write, found[: asked.per_page]))
    shown = found[: len(records)]
    are_more = len(found) > len(shown) or bool(has_more)
    is_scanned = scanned_until is not None and len(shown) == len(found)
    cursor = cursor_of_item(scanned_until) if scanned_until and is_scanned else cursor_of(shown[-1]) if shown else None
    pagination = {
        "page": None if asked.after_id else asked.page or 1,
        "per_page": asked.per_page,
        "total": total,
        "has_more": are_more,
        "next_cursor": cursor if are_more and has_cursor else None,
    }
    if scanned_until and is_scanned and ids.decode("job", scanned_until) is not None:
        pagination["scanned_until"] = format_time(ids.timestamp_of("job", scanned_until))
    encoded_pagination = json.dumps(pagination, separators=(",", ":"))
    return as_json(f'{{"data":[{",".join(records)}],"pagination":{encoded_pagination}}}\n')


def within_response(records: Iterable[str]) -> list[str]:
    """Return the first strings that fit into a response, and at least one."""
    fitting: list[str] = []
    size = 0
    for record in records:
        size += len(record) if record.isascii() else len(record.encode())
        if fitting and size > RESPONSE_BYTES.value:
            break
        fitting.append(record)
    return fitting


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

    since = QueryInstant(load_default=None, metadata=_SINCE)
    until = QueryInstant(load_default=None, metadata=_UNTIL)


class TimeRangeBody(_TimeRange):
    """Fields of a body: a time range that ends now unless it has an end."""

    since = Instant(required=True, metadata=_SINCE)
    until = Instant(load_default=None, allow_none=True, metadata=_UNTIL)
