"""Deliveries of hooks and webhooks: schemas of requests and responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import post_load

from ava.api.http import paging
from ava.api.http.fields import Choice, filtered
from ava.api.http.paging import PageQuery, PageRequest, TimeRangeBody, TimeRangeQuery, cursor_field, take_page
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.schemas.events import EventTypeField
from ava.domain.delivery import RECEIVED, REDELIVERABLE, REPLAYABLE, SENT, Delivery, DeliveryStatus, DeliveryTotal
from ava.domain.webhooks.webhook_events import EventType
from ava.store.delivery_table import DeliveryFilter

# In ------------------------------------------------------------------------------------------------------------------

_STATUS = {"description": "Only deliveries with this status."}
_EVENT_TYPE = {"description": "Only deliveries of events of this type."}
STATUS_FILTER = filtered("status", _STATUS["description"])
TYPE_FILTER = filtered("event_type", _EVENT_TYPE["description"])


@dataclass(frozen=True, kw_only=True)
class DeliveryListRequest(PageRequest):
    """A page and filters of deliveries."""

    delivery_filter: DeliveryFilter


class DeliveryListQuery(PageQuery, TimeRangeQuery):
    """The parameters of every list of deliveries."""

    cursor = cursor_field(paging.id_reader("del"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> DeliveryListRequest:
        page = take_page(values)
        return DeliveryListRequest(**page, delivery_filter=DeliveryFilter(**values))


class SentDeliveryListQuery(DeliveryListQuery):
    """The parameters of the list of a webhook's deliveries."""

    status = Choice(SENT, **STATUS_FILTER)
    event_type = Choice(EventType, **TYPE_FILTER)


class ReceivedDeliveryListQuery(DeliveryListQuery):
    """The parameters of the list of a hook's deliveries."""

    status = Choice(RECEIVED, **STATUS_FILTER)
    event_type = EventTypeField(**TYPE_FILTER)


class RepeatedBody(TimeRangeBody):
    """The fields that every body about many deliveries has."""

    @post_load
    def _filter(self, values: dict[str, Any], **_: Any) -> DeliveryFilter:
        return DeliveryFilter(**values)


class RedeliverBody(RepeatedBody):
    """Which deliveries to send again."""

    status = Choice(REDELIVERABLE, load_default=DeliveryStatus.ABANDONED, metadata=_STATUS)
    event_type = Choice(EventType, load_default=None, allow_none=True, metadata=_EVENT_TYPE)


class ReplayBody(RepeatedBody):
    """Which deliveries to process again."""

    status = Choice(REPLAYABLE, load_default=None, allow_none=True, metadata=_STATUS)
    event_type = EventTypeField(load_default=None, allow_none=True, metadata=_EVENT_TYPE)


# Out -----------------------------------------------------------------------------------------------------------------


class DeliveryRecord(RecordSchema, of=Delivery):
    """A delivery: a request that a hook received (`in`), or an event that a webhook sends (`out`).

    A field that does not apply to the direction is null.
    """


class DeliveryTotalRecord(RecordSchema, of=DeliveryTotal):
    """The number of deliveries that are sent or processed again."""


write_delivery = compile_schema(DeliveryRecord())
write_total = compile_schema(DeliveryTotalRecord())
