"""Pauses: schemas of requests and responses, and the filter of lists."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from marshmallow import Schema, fields, post_load

from ava.api.http.context import caller
from ava.api.http.fields import STORABLE, BoundedString, Flag, QueryFlag, filtered
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, id_reader, take_page
from ava.api.http.records import KINDS, RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.domain.limits.table import PAUSE_REASON
from ava.domain.pause import Pause

#: The reason of a pause or a containment.
ReasonString = partial(BoundedString, PAUSE_REASON, characters=STORABLE)


class PauseBody(Strict):
    """Why something is paused."""

    reason = ReasonString(
        load_default=None,
        allow_none=True,
        metadata={"description": "Why it is paused."},
    )


def new_paused() -> Flag:
    """Return the field `paused` of a record to create."""
    return Flag(load_default=False, metadata={"description": "True: create it paused. Default: false."})


def paused_filter(of: str) -> QueryFlag:
    """Return the parameter `filter[paused]` of a list of `of`."""
    return QueryFlag(**filtered("paused", f"Only paused {of} (true), or only {of} that are not paused (false)."))


@dataclass(frozen=True, kw_only=True)
class PausedListRequest(PageRequest):
    """A page of records, and whether to list paused ones or the others; None: both."""

    paused: bool | None


class _PausedListQuery(PageQuery):
    """The parameters of a list with the filter of pauses only."""

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> PausedListRequest:
        return PausedListRequest(**take_page(values), **values)


def paused_list_query(of: str, prefix: str) -> Schema:
    """Return the parameters of a list of `of`; their ids have the prefix."""
    return _PausedListQuery.from_dict({"paused": paused_filter(of), "cursor": cursor_field(id_reader(prefix))})()


class PauseRecord(RecordSchema, of=Pause):
    """Who paused something, when and why."""


_write_pause = compile_schema(PauseRecord())


def _paused_field(*, metadata: dict[str, Any], **options: Any) -> fields.Nested:
    """Return the field `paused` of a record: its pause as the caller sees it, or null."""

    def write(pause: Pause) -> str:
        return _write_pause(pause if caller().is_operator else pause.for_tenants)

    about = {"description": "Its pause; null: it is not paused.", "write": write}
    return fields.Nested(PauseRecord, metadata=about | metadata, **options)


KINDS[Pause] = _paused_field
