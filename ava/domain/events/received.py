"""A request to a hook as received, and its body as a value: JSON or a string."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ava.domain import client_json
from ava.domain.events.event import compact_json
from ava.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class Received:
    #: A repeated header's values are joined by commas. Each character is one byte (latin-1).
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    #: The full URL that the sender called, under `AVA_PUBLIC_URL`.
    url: str = ""
    data: Any = None


class BodyTooLarge(Exception):
    """A compressed body exceeds the limit once it is unpacked."""


def unpacked(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """Undo the `Content-Encoding` gzip. Return other bodies, and bodies that are not valid gzip, unchanged.

    Raise `BodyTooLarge` instead of unpacking more than `max_bytes`.
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
    """Return the beginning of a body, without a truncated UTF-8 character at its end."""
    end = min(max_bytes, len(body))
    while max_bytes - 3 <= end < len(body) and body[end] & 0xC0 == 0x80:
        end -= 1
    return body[:end]


def read_body(body: bytes) -> tuple[Any, str]:
    """Return a body as a value and as JSON.

    A body that is not JSON, or exceeds the limits of JSON, becomes `{"body": "…"}`, or `{"base64": "…"}` if it is not
    UTF-8.
    """
    with suppress(RequestError, ValueError):
        value = client_json.parse(body)
        return value, compact_json(value)
    try:
        value = {"body": body.decode()}
    except UnicodeDecodeError:
        value = {"base64": base64.b64encode(body).decode()}
    return value, compact_json(value)
