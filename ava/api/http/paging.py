"""Pages of a list: which page a client asks for, and the response that holds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from flask import Response
from marshmallow import ValidationError, validates_schema

from ava.api.http import cursors
from ava.api.http.fields import Cursor, WholeNumber
from ava.api.http.responses import as_json
from ava.api.http.strict import Strict
from ava.domain import ids
from ava.domain.limits.table import ANSWER_BYTES
from ava.domain.paging import DEEPEST_ROW
from ava.domain.record import format_time


class _Item(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=_Item)


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """Which page of a list is asked for: by its number or by a cursor; without either it is the first."""

    #: The page's number from 1.
    page: int | None = None
    per_page: int
    #: The id of the item after which the page begins.
    after_id: str | None = None

    @property
    def limit(self) -> int:
        """How many items to read: one more than the page shows, to know if there are more."""
        return self.per_page + 1

    @property
    def offset(self) -> int:
        """How many items come before the page, if it has a number."""
        return 0 if self.page is None else (self.page - 1) * self.per_page


def per_page_field() -> WholeNumber:
    """The parameter `per_page`."""
    return WholeNumber(
        minimum=1, maximum=100, is_text=True, load_default=20, metadata={"description": "How many items a page has."}
    )


def cursor_field(find_id: Callable[[str], str | None]) -> Cursor:
    """The parameter `cursor`, which `find_id` turns into an id; it returns None if the text is no cursor."""
    return Cursor(
        find_id,
        load_default=None,
        allow_none=False,
        metadata={"description": "The next_cursor of the previous page; the response is the page after it."},
    )


class PageQuery(Strict):
    """The parameters that lists with pages have in common; each list adds its own `cursor`."""

    page = WholeNumber(
        minimum=1,
        maximum=DEEPEST_ROW,
        is_text=True,
        load_default=None,
        allow_none=False,
        metadata={"description": "The page's number, from 1."},
    )
    per_page = per_page_field()

    @validates_schema
    def _check_depth(self, values: dict[str, Any], **_: Any) -> None:
        page, per_page = values.get("page"), values.get("per_page", 20)
        if page is not None and values.get("cursor") is not None:
            raise ValidationError("Send page or cursor, not both.", "cursor")
        if page is not None and (page - 1) * per_page >= DEEPEST_ROW:
            raise ValidationError(
                f"It lies deeper than {DEEPEST_ROW:,} entries; follow next_cursor with cursor instead.", "page"
            )


def take_page(values: dict[str, Any]) -> dict[str, Any]:
    """Move the parameters of the page out of loaded values. Returns them as `PageRequest` takes them."""
    return {
        "page": values.pop("page", None),
        "per_page": values.pop("per_page"),
        "after_id": values.pop("cursor"),
    }


def page_of(
    asked: PageRequest,
    found: Sequence[Item],
    total: int,
    write: Callable[[Item], str],
    *,
    has_more: bool | None = None,
    cursor_of: Callable[[str], str] = cursors.of_item,
    looked_at_until: str | None = None,
    has_cursor: bool = True,
) -> Response:
    """Returns `{"data": [ … ], "pagination": … }` of the items; `write` makes an item's JSON text.

    The page ends early if it has more bytes than an answer. `has_more` says if items follow these; without it `found`
    has one more item than the page if there are more. `looked_at_until` is the id of the job after which the next
    page begins if a search ended before the page was full; its time is `looked_until`. Without `has_cursor` the next
    page has a number alone.
    """
    texts = within_answer(map(write, found[: asked.per_page]))
    shown = found[: len(texts)]
    are_more = len(found) > len(shown) or bool(has_more)
    last_id = shown[-1].id if shown else ""
    if looked_at_until is not None and len(shown) == len(found):
        last_id = looked_at_until
    pagination = {
        "page": None if asked.after_id else asked.page or 1,
        "per_page": asked.per_page,
        "total": total,
        "has_more": are_more,
        "next_cursor": cursor_of(last_id) if are_more and has_cursor else None,
    }
    if looked_at_until is not None and last_id == looked_at_until:
        pagination["looked_until"] = format_time(ids.moment_of("job", last_id))
    place = json.dumps(pagination, separators=(",", ":"))
    return as_json(f'{{"data":[{",".join(texts)}],"pagination":{place}}}\n')


def within_answer(texts: Iterable[str]) -> list[str]:
    """Returns the first texts, as many as an answer has bytes for, and at least one."""
    kept: list[str] = []
    size = 0
    for text in texts:
        size += len(text) if text.isascii() else len(text.encode())
        if kept and size > ANSWER_BYTES.value:
            break
        kept.append(text)
    return kept
