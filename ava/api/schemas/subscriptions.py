"""Subscriptions: schemas of requests and responses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, post_load

from ava.api.http import paging
from ava.api.http.fields import ClientId, JsonObject, filtered
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import RecordSchema, compile_schema, deleted_record
from ava.api.http.strict import Changes, Strict
from ava.api.schemas.events import PatternField, SubscribedTypeField, TemplateField
from ava.api.schemas.pause_fields import new_paused, paused_filter
from ava.domain.events.subscription import Rule, Subscription, SubscriptionSpec, Tried
from ava.domain.events.templates import FIELDS
from ava.store.events.subscriptions import SubscriptionFilter

# In -----------------------------------------------------------------------------------------------------------------

_OBJECT = {"type": "object"}


class SubscriptionBody(Strict, of=SubscriptionSpec):
    """A subscription to create."""

    names = "event_type worker_id name match input priority paused"
    event_type = SubscribedTypeField(required=True)
    match = PatternField(attribute="match_json", load_default=None, allow_none=True, metadata=_OBJECT)
    input = TemplateField(attribute="input_json", load_default=None, allow_none=True, metadata=_OBJECT)
    paused = new_paused()

    @post_load
    def _arguments(self, values: dict[str, Any], **_: Any) -> dict[str, Any]:
        paused = values.pop("paused")
        return {"spec": SubscriptionSpec(**values), "paused": paused}


class SubscriptionChangeBody(Changes, of=SubscriptionBody, without="paused"):
    """Changes to a subscription; at least one field."""


@dataclass(frozen=True, kw_only=True)
class SubscriptionListRequest(PageRequest):
    """A page and filters of subscriptions."""

    subscription_filter: SubscriptionFilter


class SubscriptionListQuery(PageQuery):
    """The parameters of the list of subscriptions."""

    event_type = SubscribedTypeField(**filtered("event_type", "Only subscriptions with exactly this `event_type`."))
    worker_id = ClientId("wkr", **filtered("worker_id", "Only subscriptions of this worker."))
    paused = paused_filter("subscriptions")
    cursor = cursor_field(paging.id_reader("sub"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> SubscriptionListRequest:
        page = take_page(values)
        return SubscriptionListRequest(**page, subscription_filter=SubscriptionFilter(**values))


@dataclass(frozen=True, kw_only=True)
class SubscriptionTestRequest:
    """A subscription to test with an event's record."""

    event: dict[str, Any]
    event_type: str | None
    rule: Rule


class SubscriptionTestBody(Strict, of=SubscriptionSpec):
    """A subscription to test with an event; nothing is stored."""

    names = "event event_type match input"
    event = JsonObject(
        required=True,
        metadata={"description": f"The event, with any of the fields {', '.join(FIELDS)}; the others are null."},
    )
    event_type = SubscribedTypeField(load_default=None, allow_none=True)
    match = PatternField(attribute="match_json", load_default=None, allow_none=True, metadata=_OBJECT)
    input = TemplateField(attribute="input_json", load_default=None, allow_none=True, metadata=_OBJECT)

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> SubscriptionTestRequest:
        event = json.loads(values["event"])
        if unknown := sorted(set(event) - set(FIELDS)):
            raise ValidationError(
                {"event": {unknown[0]: [f"An event does not have this field; its fields are {', '.join(FIELDS)}."]}}
            )
        if values["event_type"] is not None and not isinstance(event.get("type"), str):
            raise ValidationError({"event": {"type": ["It must be a string, because event_type is compared with it."]}})
        rule = Rule(match_json=values["match_json"], input_json=values["input_json"])
        record = dict.fromkeys(FIELDS) | event
        return SubscriptionTestRequest(event=record, event_type=values["event_type"], rule=rule)


# Out -----------------------------------------------------------------------------------------------------------------


class SubscriptionRecord(RecordSchema, of=Subscription):
    """A subscription: a rule that creates a worker's job for each matching event."""

    names = "id tenant_id event_type worker_id name match input priority paused created_by created_at updated_at"


SubscriptionDeletedRecord = deleted_record("SubscriptionDeletedRecord", "sub")


class SubscriptionTestRecord(RecordSchema, of=Tried):
    """The job that a subscription would create for an event."""


write_subscription = compile_schema(SubscriptionRecord())
write_tried = compile_schema(SubscriptionTestRecord())
