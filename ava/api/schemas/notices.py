"""Notices: schemas of requests and responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from ava.api.http.fields import DISPLAYED, BoundedString, Choice, ClientId, JsonString, WholeNumber
from ava.api.http.records import RecordSchema, compile_schema, deleted_record
from ava.api.http.strict import Changes, Strict
from ava.api.schemas.deliveries import STATUS_FILTER, TYPE_FILTER, DeliveryListQuery, RepeatedBody
from ava.api.schemas.pause_fields import new_paused
from ava.domain.delivery import REDELIVERABLE, SENT, DeliveryStatus
from ava.domain.limits.table import NOTICE_RULES
from ava.domain.notices.notice import (
    CONDITIONS,
    DEFAULT_SECONDS,
    MAX_MESSAGES,
    MAX_SECONDS,
    Channel,
    Notice,
    NoticeEvent,
    NoticeRule,
)
from ava.domain.outbound.outbound_url import MAX_URL_CHARS

_EVENTS = ", ".join(f"`{event}`" for event in NoticeEvent)


class _NoticeTag(Strict):
    """A tag of a job."""

    key = BoundedString(32, characters=DISPLAYED, required=True)
    value = BoundedString(64, characters=DISPLAYED, required=True)


class _AtMost(Strict):
    """The max number of messages in a time."""

    count = WholeNumber(minimum=1, maximum=MAX_MESSAGES, required=True)
    seconds = WholeNumber(minimum=1, maximum=MAX_SECONDS, required=True)


class NoticeRuleBody(Strict):
    """Which events a notice is about."""

    event = Choice(NoticeEvent, required=True, metadata={"description": "The event."})
    worker_id = ClientId("wkr", metadata={"description": "Only events of this worker."})
    tag = fields.Nested(_NoticeTag, metadata={"description": "`job.failed`: only jobs with this tag."})
    queue = BoundedString(
        100,
        characters=DISPLAYED,
        metadata={"description": "`backlog`: the queue. `job.failed`: only jobs of this queue."},
    )
    older_than_seconds = WholeNumber(
        minimum=1,
        maximum=MAX_SECONDS,
        metadata={"description": "`backlog`: the minimum waiting time of the tenant's oldest startable job."},
    )
    at_most = fields.Nested(
        _AtMost,
        metadata={
            "description": "The max messages in a time, for each error group. Default: one in "
            f"{DEFAULT_SECONDS} seconds. A message has the number of events since the last one."
        },
    )

    @validates_schema
    def _check_conditions(self, values: dict[str, Any], **_: Any) -> None:
        event: NoticeEvent = values["event"]
        allowed = CONDITIONS.get(event, ())
        for name in set(values) - {"event", "at_most", *allowed}:
            raise ValidationError(f"A rule about {event} does not have this field.", name)
        if event is NoticeEvent.BACKLOG:
            for name in allowed:
                if name not in values:
                    raise ValidationError(f"A rule about {event} needs this field.", name)

    @post_load
    def _rule(self, values: dict[str, Any], **_: Any) -> NoticeRule:
        tag: Mapping[str, str] | None = values.pop("tag", None)
        at_most: Mapping[str, int] = values.pop("at_most", {})
        return NoticeRule(
            **values,
            tag=None if tag is None else (tag["key"], tag["value"]),
            max_messages=at_most.get("count", 1),
            seconds=at_most.get("seconds", DEFAULT_SECONDS),
        )


class NoticeBody(Strict):
    """A notice to create."""

    name = BoundedString(
        200,
        characters=DISPLAYED,
        required=True,
        metadata={"description": "A display name, which each message contains."},
    )
    channel = Choice(Channel, required=True, metadata={"description": "`slack`, `teams`, `email` or `webhook`."})
    target = BoundedString(
        MAX_URL_CHARS,
        characters=DISPLAYED,
        required=True,
        metadata={
            "description": "`slack`, `teams`: the address of an incoming webhook. `email`: mail addresses, separated "
            "by commas. `webhook`: a URL. It is encrypted and never shown.",
            "example": "https://hooks.slack.com/services/T0/B0/x",
        },
    )
    rules = fields.List(
        fields.Nested(NoticeRuleBody),
        attribute="rules",
        data_key="on",
        required=True,
        validate=validate.Length(
            1, NOTICE_RULES.value, error=NOTICE_RULES.message(f"It must have 1 to {NOTICE_RULES.value} rules.")
        ),
        metadata={
            "description": f"The events that the notice is about. Events: {_EVENTS}.",
            "example": [{"event": "job.failed", "at_most": {"count": 1, "seconds": DEFAULT_SECONDS}}],
        },
    )
    paused = new_paused()


class NoticeChangeBody(Changes, of=NoticeBody, without="paused"):
    """Changes to a notice; at least one field. A new channel needs a target."""


class NoticeDeliveryListQuery(DeliveryListQuery):
    """The parameters of the list of a notice's deliveries."""

    status = Choice(SENT, **STATUS_FILTER)
    event_type = Choice(NoticeEvent, **TYPE_FILTER)


class NoticeRedeliverBody(RepeatedBody):
    """Which deliveries of a notice to send again."""

    status = Choice(REDELIVERABLE, load_default=DeliveryStatus.ABANDONED)
    event_type = Choice(NoticeEvent, load_default=None, allow_none=True)


# Out -------------------------------------------------------------------------------------------------------------

_NULLABLE = {"type": ["string", "null"]}
_TAG = {"type": ["object", "null"], "properties": {"key": {"type": "string"}, "value": {"type": "string"}}}
_COUNT = {"type": "object", "properties": {"count": {"type": "integer"}, "seconds": {"type": "integer"}}}


class NoticeRecord(RecordSchema, of=Notice):
    """A notice: messages about events to a channel."""

    on = JsonString(
        attribute="on_json",
        metadata={
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "event": {"type": "string"},
                    "worker_id": _NULLABLE,
                    "tag": _TAG,
                    "queue": _NULLABLE,
                    "older_than_seconds": {"type": ["integer", "null"]},
                    "at_most": _COUNT,
                },
            },
            "description": "The events that the notice is about.",
        },
    )


DeletedNoticeRecord = deleted_record("DeletedNoticeRecord", "ntc")
write_notice = compile_schema(NoticeRecord())
