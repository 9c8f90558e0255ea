"""Events: schemas of requests and responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from marshmallow import ValidationError, fields, post_load

from ava.api.http import paging
from ava.api.http.fields import (
    BoundedJson,
    BoundedString,
    CheckedString,
    Plain,
    filtered,
)
from ava.api.http.paging import PageQuery, PageRequest, TimeRangeQuery, cursor_field, take_page
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Entries, Strict
from ava.domain.events.event import (
    MAX_ID_CHARS,
    MAX_TEXT_CHARS,
    EventSpec,
    InboundEvent,
    compact_json,
    is_client_type,
)
from ava.domain.events.pattern_rules import PatternError
from ava.domain.events.patterns import compile_pattern
from ava.domain.events.subscription import is_event_type
from ava.domain.events.templates import TemplateError, compile_template
from ava.domain.limits.table import BULK_EVENTS, INPUT_BYTES
from ava.store.events.events import EventFilter

# In ------------------------------------------------------------------------------------------------------------------


#: The type of an event.
EventTypeField = partial(
    CheckedString, is_client_type, "It must be 1 to 200 visible ASCII characters, and not begin with `ava.`."
)
#: The type of the events of a subscription.
SubscribedTypeField = partial(
    CheckedString,
    is_event_type,
    "It must be an event type: 1 to 200 visible ASCII characters that do not begin with `ava.`. A final `.*` matches "
    "any further parts.",
)


class PatternField(Plain):
    """A pattern over events, stored as JSON."""

    def read(self, value: Any) -> str:
        try:
            compile_pattern(value)
            return compact_json(value)
        except PatternError as error:
            raise _at(error.path, error.reason) from None
        except ValueError:
            raise ValidationError("It has a number that is too large for a double.") from None


class TemplateField(Plain):
    """A template of an input, stored as JSON."""

    def read(self, value: Any) -> str:
        try:
            compile_template(value)
            return compact_json(value)
        except TemplateError as error:
            raise _at(error.path, error.reason) from None
        except ValueError:
            raise ValidationError("It has a number that is too large for a double.") from None


def _at(path: str, reason: str) -> ValidationError:
    return ValidationError({path: [reason]} if path else reason)


class EventBody(Strict, of=EventSpec):
    """An event to send."""

    names = "type data id source subject time"
    type = EventTypeField(required=True)
    data = BoundedJson(attribute="data_json", limit=INPUT_BYTES, what="data", required=True, allow_none=True)
    id = BoundedString(
        MAX_ID_CHARS,
        attribute="source_id",
        load_default=None,
        allow_none=True,
        metadata={
            "description": "Your own id of the event. A second event with the same source and id within 24 "
            "hours is a duplicate."
        },
    )

    @post_load
    def _spec(self, values: dict[str, Any], **_: Any) -> EventSpec:
        return EventSpec(**values | {"data_json": values["data_json"] or "null"})


class _BulkEventsBody(Strict):
    events = Entries(
        EventBody(),
        limit=BULK_EVENTS,
        required=True,
    )

    @post_load
    def _specs(self, values: dict[str, Any], **_: Any) -> SentEvents:
        return SentEvents(specs=values["events"], is_bulk=True)


@dataclass(frozen=True, kw_only=True)
class SentEvents:
    """The events of a request, and whether it is a list."""

    specs: Sequence[EventSpec]
    is_bulk: bool


class EventsBody(Strict, of=EventBody):
    """An event to send, with `type` and `data`, or up to 1,000 of them in `events`: all or none."""

    events = fields.List(
        fields.Nested(EventBody()),
        metadata={"minItems": 1, "maxItems": BULK_EVENTS.value, "description": "Several events, instead of one."},
    )

    def load(self, data: Any, **options: Any) -> SentEvents:
        """Return the events of a body: its list, or the single event that it is."""
        if isinstance(data, dict) and "events" in data:
            bulk: SentEvents = _BULK.load(data, **options)
            return bulk
        return SentEvents(specs=[_ONE.load(data, **options)], is_bulk=False)


_ONE, _BULK = EventBody(), _BulkEventsBody()


@dataclass(frozen=True, kw_only=True)
class EventListRequest(PageRequest):
    """A page and filters of events."""

    event_filter: EventFilter


class EventListQuery(PageQuery, TimeRangeQuery):
    """The parameters of the list of events."""

    type = EventTypeField(**filtered("type", "Only events of this type."))
    source = BoundedString(
        MAX_TEXT_CHARS,
        **filtered(
            "source",
            "Only events of this source. With `filter[type]`, the newest 10,000 events of that type are searched.",
        ),
    )
    cursor = cursor_field(paging.id_reader("evt"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> EventListRequest:
        page = take_page(values)
        return EventListRequest(**page, event_filter=EventFilter(**values))


# Out -----------------------------------------------------------------------------------------------------------------


class EventRecord(RecordSchema, of=InboundEvent):
    """An event, as patterns, templates and handlers see it, with the jobs that it created."""

    names = (
        "id source_id type source subject time data extensions headers created_at delivery_id job_ids refused "
        "more_count woken_job_ids"
    )


class SentEventRecord(RecordSchema, of=InboundEvent):
    """A sent event, with the jobs that it created."""

    names = "id job_ids refused more_count duplicate"


write_sent = compile_schema(SentEventRecord())
write_event = compile_schema(EventRecord())
