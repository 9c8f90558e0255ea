"""A request to a hook as it arrived, and what its body says: JSON as it is, anything else as a string."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ava.domain import json_text
from ava.domain.events.event import compact_json
from ava.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request to a hook."""

    #: The values of a repeated header are joined by commas. Each character is one byte (latin-1).
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    #: The whole address that the sender has called, under `AVA_PUBLIC_URL`.
    url: str = ""
    #: What the body says, once it was parsed; None before.
    data: Any = None


class BodyTooLarge(Exception):
    """A compressed body is too large once it is unpacked."""


def unpacked(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """Returns a body without its `Content-Encoding`: gzip, or none. One that is no gzip is returned as it is.

    Raises `BodyTooLarge` before more than `max_bytes` are unpacked.
    """
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        return body
    try:
        unpacking = zlib.decompressobj(16 + zlib.MAX_WBITS)
        found = unpacking.decompress(body, max_bytes + 1)
    except zlib.error:
        return body
    if len(found) > max_bytes:
        raise BodyTooLarge
    return found if unpacking.eof else body


def begin_of(body: bytes, max_bytes: int) -> bytes:
    """Return the beginning of a body, without a part of a character of UTF-8 at its end."""
    end = min(max_bytes, len(body))
    while max_bytes - 3 <= end < len(body) and body[end] & 0xC0 == 0x80:
        end -= 1
    return body[:end]


def read_body(body: bytes) -> tuple[Any, str]:
    """Returns what a body says, as a value and as JSON text.

    A body that is no JSON, or goes beyond the limits of JSON, is `{"body": "…"}`; bytes that are no UTF-8 are
    `{"base64": "…"}`.
    """
    with suppress(RequestError, ValueError):
        value = json_text.parse(body)
        return value, compact_json(value)
    try:
        value = {"body": body.decode()}
    except UnicodeDecodeError:
        value = {"base64": base64.b64encode(body).decode()}
    return value, compact_json(value)
