"""Hooks and requests to them: schemas of requests and responses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from marshmallow import ValidationError, post_load

from ava.api.http.fields import (
    BoundedString,
    Characters,
    CheckedString,
    Choice,
    Plain,
    String,
    WholeNumber,
)
from ava.api.http.records import RecordSchema, compile_schema, deleted_record
from ava.api.http.strict import Changes, Strict
from ava.api.schemas.events import EventTypeField, PatternField, TemplateField
from ava.api.schemas.pause_fields import new_paused
from ava.domain.events.hook import (
    Hook,
    HookSpec,
    Receipt,
    TestResult,
    is_name,
)
from ava.domain.events.verifiers import PROVIDERS, DedupeBy, RowError, Verifier, read_row
from ava.services.events.hook_deliveries import TestMode

_MAX_KEPT_SECONDS = 7 * 24 * 3600
_DAY_SECONDS = 24 * 3600
_MAX_HEADERS, _MAX_HEADER_CHARS = 30, 2_000
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


# In ------------------------------------------------------------------------------------------------------------------


_HookName = partial(
    CheckedString, is_name, "It must be 1 to 60 of a-z, 0-9, _, . and -, and begin with a letter or a digit."
)
_HookSecret = partial(
    BoundedString,
    2_048,
    shortest=8,
    characters=Characters(
        "characters, without control characters", re.compile(r"[^\x00-\x09\x0b-\x1f\ud800-\udfff]*").fullmatch
    ),
)


class _Row(Plain):
    """The verifier of a custom hook."""

    def read(self, value: Any) -> Verifier:
        try:
            return read_row(value)
        except RowError as error:
            raise ValidationError({error.field: [error.reason]} if error.field else error.reason) from None


_ROW = {
    "type": "object",
    "description": "How requests of a `custom` provider are authenticated: `scheme` (hmac, shared_secret, "
    "url_secret, asymmetric, none), `header`, `prefix`, `separator`, `algorithm`, `encoding`, `key`, `signed`, "
    "`time_header`, `time_prefix`, `time_unit`, `parameter`, `id`, `type`, `handshake`, `challenge`, "
    "`answer_status`, `answer_text`.",
}
_SECRET = {
    "description": "The signing secret of the provider. Default: a generated secret, shown once. The providers "
    "stripe, slack and shopify generate it themselves; set it by PATCH."
}
_OBJECT = {"type": "object"}


def _seconds_valid(default: int, description: str) -> WholeNumber:
    return WholeNumber(
        minimum=0, maximum=_MAX_KEPT_SECONDS, load_default=default, metadata={"description": description}
    )


@dataclass(frozen=True, kw_only=True)
class NewHookRequest:
    """A hook to create."""

    spec: HookSpec
    secret: str | None
    paused: bool


class HookBody(Strict, of=HookSpec):
    """A hook to create."""

    names = "name provider secret verifier worker_id event_type match input priority dedupe tolerance_seconds paused"
    name = _HookName(required=True)
    secret = _HookSecret(load_default=None, allow_none=True, metadata=_SECRET)
    verifier = _Row(attribute="custom", load_default=None, allow_none=True, metadata=_ROW)
    event_type = EventTypeField(load_default=None, allow_none=True)
    match = PatternField(attribute="match_json", load_default=None, allow_none=True, metadata=_OBJECT)
    input = TemplateField(attribute="input_json", load_default=None, allow_none=True, metadata=_OBJECT)
    dedupe = Choice(DedupeBy, load_default=None, allow_none=True)
    paused = new_paused()

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> NewHookRequest:
        secret, paused, provider = values.pop("secret"), values.pop("paused"), values["provider"]
        row = values["custom"] or PROVIDERS.get(provider)
        if row is None:
            raise ValidationError({"verifier": ["It is missing; a hook with provider `custom` needs it."]})
        values["dedupe"] = values["dedupe"] or row.default_dedupe(provider)
        return NewHookRequest(spec=HookSpec(**values), secret=secret, paused=paused)


@dataclass(frozen=True, kw_only=True)
class HookChangeRequest:
    """Changes to a hook."""

    changes: dict[str, Any]
    secret: str | None
    keep_secret_seconds: int


class HookChangeBody(Changes, of=HookBody, without="provider paused"):
    """Changes to a hook; at least one field."""

    secret = _HookSecret(
        metadata={"description": "A new secret. Earlier secrets stay valid for `keep_secret_seconds`."}
    )
    keep_secret_seconds = _seconds_valid(_DAY_SECONDS, "How long the earlier secrets stay valid, in seconds.")
    verifier = _Row(attribute="custom")
    dedupe = Choice(DedupeBy)

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> HookChangeRequest:
        secret, keep_seconds = values.pop("secret", None), values.pop("keep_secret_seconds")
        return HookChangeRequest(changes=values, secret=secret, keep_secret_seconds=keep_seconds)


class HookRotateBody(Strict):
    """Options for a hook's new URL."""

    keep_seconds = _seconds_valid(0, "How long the previous address stays valid, in seconds.")

    @post_load
    def _seconds(self, values: dict[str, Any], **_: Any) -> int:
        seconds: int = values["keep_seconds"]
        return seconds


# Out -----------------------------------------------------------------------------------------------------------------


class HookRecord(RecordSchema, of=Hook):
    """A hook: a URL that receives a provider's webhooks."""

    names = (
        "id tenant_id name provider verifier secrets worker_id event_type match input priority dedupe "
        "tolerance_seconds paused prefix previous_token_until created_by created_at updated_at url secret"
    )


HookDeletedRecord = deleted_record("HookDeletedRecord", "hk")
write_hook = compile_schema(HookRecord())


# In ------------------------------------------------------------------------------------------------------------------


class _RawBody(String):
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
        for name, string in value.items():
            is_string = (
                isinstance(string, str)
                and len(string) <= _MAX_HEADER_CHARS
                and string.isascii()
                and string.isprintable()
            )
            if not is_string or not _HEADER.fullmatch(name):
                raise ValidationError({name[:100]: ["It must be a header with a value of printable ASCII characters."]})
        return {name.lower(): string for name, string in value.items()}


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


class ReceiptRecord(RecordSchema, of=Receipt):
    """The outcome of a request to a hook."""

    names = "delivery_id duplicate job_ids"


class HookTestRecord(RecordSchema, of=TestResult):
    """The response that the sender of a test would get."""


write_receipt = compile_schema(ReceiptRecord())
write_test = compile_schema(HookTestRecord())
