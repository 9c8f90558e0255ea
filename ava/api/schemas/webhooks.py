"""Webhooks: schemas of requests and responses."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validate

from ava.api.http.fields import Choice, Flag, String
from ava.api.http.records import RecordSchema, compile_schema, deleted_record
from ava.api.http.strict import Changes, Strict
from ava.api.schemas.pause_fields import new_paused
from ava.domain.webhooks.webhook import Endpoint
from ava.domain.webhooks.webhook_events import EventType, signing_key

#: Min characters of a secret, min bytes of the key that follows `whsec_`, and max characters.
_MIN_SECRET_CHARS = 16
_MAX_SECRET_CHARS = 256
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class _Url(String):
    """A URL; `ava.services.webhooks` checks whether it may be called."""

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("It must be a URL such as https://example.com/hooks.")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValidationError("It contains half of a surrogate pair, which is not a valid character.") from None
        return value


class _Secret(String):
    """A secret to sign with. Error messages never repeat it."""

    def read(self, value: Any) -> str:
        if (
            not isinstance(value, str)
            or not _MIN_SECRET_CHARS <= len(value) <= _MAX_SECRET_CHARS
            or _UNPRINTABLE.search(value)
        ):
            raise ValidationError(
                f"It must be a string of {_MIN_SECRET_CHARS} to {_MAX_SECRET_CHARS} printable characters."
            )
        try:
            if len(signing_key(value)) < _MIN_SECRET_CHARS:
                raise ValueError(f"its key has fewer than {_MIN_SECRET_CHARS} bytes")
        except ValueError as error:
            raise ValidationError(
                f"It begins with whsec_, as the secrets of Standard Webhooks do, but {error}."
            ) from None
        return value


@post_load
def _once(_schema: Strict, values: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Return loaded values with each event once."""
    if "events" in values:
        values["events"] = list(dict.fromkeys(event.value for event in values["events"]))
    return values


class WebhookBody(Strict):
    """A webhook to create."""

    url = _Url(required=True, metadata={"description": "The target URL: a public http(s) address."})
    events = fields.List(
        Choice(EventType),
        required=True,
        validate=validate.Length(1, 20, error="It must have at least one entry."),
        metadata={"description": "The types of events to send."},
    )
    secret = _Secret(
        required=True,
        metadata={
            "description": "The secret that signs the requests; it is never shown again. For Standard Webhooks "
            "libraries: whsec_ and the base64 of the key."
        },
    )

    roots_only = Flag(
        load_default=False, metadata={"description": "True: send no events of jobs that a handler created."}
    )
    paused = new_paused()

    once = _once


class WebhookChangeBody(Changes, of=WebhookBody, without="paused"):
    """Changes to a webhook; at least one field."""

    descriptions: ClassVar = {
        "secret": "A new secret. For 24 hours, requests are signed with both the new and the previous secret."
    }
    once = _once


# Out -------------------------------------------------------------------------------------------------------------


class WebhookRecord(RecordSchema, of=Endpoint):
    """A webhook: a URL that receives events."""

    events = fields.List(Choice(EventType))


DeletedRecord = deleted_record("DeletedRecord", "wh")
write_webhook = compile_schema(WebhookRecord())
