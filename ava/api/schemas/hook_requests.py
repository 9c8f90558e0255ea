"""Requests to hooks, real and test ones: schemas of requests and responses."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load

from ava.api.http.fields import Choice, Flag, Id, Plain, String, WholeNumber
from ava.api.http.records import compile_schema
from ava.api.http.strict import Strict
from ava.services.events.hook_deliveries import TestMode

_MAX_HEADERS, _MAX_HEADER_CHARS = 30, 2_000
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


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


class ReceiptRecord(Schema):
    """The outcome of a request to a hook."""

    delivery_id = Id("del")
    duplicate = Flag(
        attribute="is_duplicate",
        metadata={"description": "True for a duplicate. The response then describes the first delivery."},
    )
    job_ids = fields.List(Id("job"))


class HookTestRecord(Schema):
    """The response that the sender of a test would get."""

    status = WholeNumber(minimum=200, maximum=599)
    reason = String(
        allow_none=True, metadata={"description": "Why the delivery was refused or skipped, or created no job."}
    )
    delivery_id = Id("del", allow_none=True)
    duplicate = Flag(attribute="is_duplicate")
    job_ids = fields.List(Id("job"))


write_receipt = compile_schema(ReceiptRecord())
write_test = compile_schema(HookTestRecord())
