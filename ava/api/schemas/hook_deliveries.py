"""Deliveries of hooks: schemas of requests and responses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load

from ava.api.http import paging, payloads
from ava.api.http.fields import Choice, Flag, Id, Instant, Plain, QueryInstant, Text, WholeNumber
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.domain.events.hook import HookDelivery, HookVerdict, body_text
from ava.services.events.hook_deliveries import TestMode
from ava.store.events.hook_deliveries import HookDeliveryFilter

_MAX_HEADERS, _MAX_HEADER_CHARS = 30, 2_000
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


# In ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class HookDeliveryListRequest(PageRequest):
    """A page and filters of deliveries."""

    delivery_filter: HookDeliveryFilter


class HookDeliveryListQuery(PageQuery):
    """The parameters of the list of deliveries."""

    verdict = Choice(
        HookVerdict,
        data_key="filter[verdict]",
        load_default=None,
        allow_none=False,
        metadata={"description": "Only deliveries with this verdict."},
    )
    created_after = QueryInstant(
        data_key="filter[created_after]",
        load_default=None,
        allow_none=False,
        metadata={"description": "ISO 8601 lower bound."},
    )
    created_before = QueryInstant(
        data_key="filter[created_before]",
        load_default=None,
        allow_none=False,
        metadata={"description": "ISO 8601 upper bound."},
    )
    cursor = cursor_field(paging.id_reader("del"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> HookDeliveryListRequest:
        page = take_page(values)
        return HookDeliveryListRequest(**page, delivery_filter=HookDeliveryFilter(**values))


class HookReplayBody(Strict):
    """Which deliveries to replay."""

    since = Instant(
        data_key="from", required=True, metadata={"description": "Deliveries that arrived at or after this time."}
    )
    until = Instant(
        data_key="to",
        load_default=None,
        allow_none=True,
        metadata={"description": "Only deliveries that arrived before this time."},
    )
    verdict = Choice(
        HookVerdict, load_default=None, allow_none=True, metadata={"description": "Only deliveries with this verdict."}
    )

    @post_load
    def _filter(self, values: dict[str, Any], **_: Any) -> HookDeliveryFilter:
        if values["until"] is not None and values["until"] <= values["since"]:
            raise ValidationError({"to": ["It must be later than `from`."]})
        return HookDeliveryFilter(
            created_after=values["since"], created_before=values["until"], verdict=values["verdict"]
        )


class _RawBody(Text):
    """A body as it is sent."""

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("It must be a string.")
        return value


class _Headers(Plain):
    """Headers of a request."""

    def read(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict) or len(value) > _MAX_HEADERS:
            raise ValidationError(f"It must be an object of at most {_MAX_HEADERS} headers.")
        for name, text in value.items():
            is_string = (
                isinstance(text, str) and len(text) <= _MAX_HEADER_CHARS and text.isascii() and text.isprintable()
            )
            if not is_string or not _HEADER.fullmatch(name):
                raise ValidationError({name[:100]: ["It must be a header with a value of printable ASCII characters."]})
        return {name.lower(): text for name, text in value.items()}


class HookTestBody(Strict):
    """A test request in the form of the hook's sender."""

    mode = Choice(TestMode, load_default=TestMode.SIGNED, metadata={"description": "How the request is signed."})
    body = _RawBody(load_default=None, allow_none=True, metadata={"type": "string", "description": "The raw body."})
    headers = _Headers(
        load_default=None,
        allow_none=True,
        metadata={"type": "object", "description": "Further headers, such as `x-github-event`."},
    )

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> dict[str, Any]:
        body, headers = values["body"], values["headers"] or {}
        return {
            "mode": values["mode"],
            "body": ('{"test": true}' if body is None else body).encode("utf-8", "surrogatepass"),
            "headers": {"content-type": "application/json"} | headers,
        }


# Out -----------------------------------------------------------------------------------------------------------------


class HookDeliveryRecord(RecordSchema, of=HookDelivery):
    """A request that a hook has received."""

    names = (
        "id hook_id verdict status reason created_at event_id event_type source_id job_ids duplicate_of replay_of "
        "address headers body body_bytes"
    )
    status = WholeNumber(minimum=200, maximum=599, metadata={"description": "The HTTP status of the response."})
    reason = Text(
        allow_none=True, metadata={"description": "Why the delivery was refused.", "payload": payloads.hide_reason}
    )
    body = Text(
        allow_none=True,
        attribute="body_text",
        metadata={
            "description": "The body: a string, or base64 if it is not UTF-8. In a list it is null above 16 KiB. For "
            "a delivery refused with an error, the first 16 KiB are stored.",
            "payload": payloads.hide_value,
        },
    )
    body_bytes = WholeNumber(minimum=0, maximum=2**40, metadata={"description": "Size of the whole body in bytes."})


class ReceiptRecord(Schema):
    """The outcome of a request to a hook."""

    delivery_id = Id("del")
    duplicate = Flag(
        attribute="is_duplicate",
        metadata={"description": "True for a duplicate. The response then describes the first delivery."},
    )
    job_ids = fields.List(Id("job"))


class HookReplayRecord(Schema):
    """The outcome of a replayed delivery."""

    delivery_id = Id("del", metadata={"description": "The new delivery."})
    job_ids = fields.List(Id("job"))


class HookReplayedRecord(Schema):
    """The number of replayed deliveries."""

    total = WholeNumber(minimum=0, maximum=2**31)


class HookTestRecord(Schema):
    """The response that the sender of a test would get."""

    status = WholeNumber(minimum=200, maximum=599)
    reason = Text(allow_none=True, metadata={"description": "Why the delivery was refused, or created no job."})
    delivery_id = Id("del", allow_none=True)
    duplicate = Flag(attribute="is_duplicate")
    job_ids = fields.List(Id("job"))


write_receipt = compile_schema(ReceiptRecord())
write_replay = compile_schema(HookReplayRecord())
write_test = compile_schema(HookTestRecord())
_write_delivery = compile_schema(HookDeliveryRecord())


class _DeliveryFields:
    """A delivery with its body as a string."""

    def __init__(self, delivery: HookDelivery) -> None:
        self._delivery = delivery
        self.body_text = None if delivery.body is None else body_text(delivery.body)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._delivery, name)


def write_hook_delivery(delivery: HookDelivery) -> str:
    """Return a delivery as JSON."""
    return _write_delivery(_DeliveryFields(delivery))
