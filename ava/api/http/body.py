"""The body of a request: one JSON object in UTF-8, of bounded size and depth, and unambiguous."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from flask import request

from ava.errors import BadRequest, MediaTypeRefused, PayloadTooLarge

__all__ = ["DEEPEST", "MOST_BYTES", "is_empty", "parse", "read"]

#: The largest body in bytes, unless a route sets its own: an input of 1 MiB and what surrounds it.
MOST_BYTES = 2**20 + 2**16
#: How deep arrays and objects may nest.
DEEPEST = 500

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def is_empty() -> bool:
    """Returns True if the request has no body."""
    return not request.content_length and "chunked" not in request.headers.get("transfer-encoding", "").lower()


def read(*, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Returns the parsed body. Raises `BadRequest`, `PayloadTooLarge` or `MediaTypeRefused`."""
    if is_empty():
        raise BadRequest("The body is empty; send a JSON object.")
    _check_media_type()
    return parse(_read(most_bytes))


def _check_media_type() -> None:
    if request.mimetype != "application/json":
        raise MediaTypeRefused("The body must be sent with Content-Type: application/json.")
    if request.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise MediaTypeRefused("The body must be UTF-8; leave the charset out, or send charset=utf-8.")
    if request.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise MediaTypeRefused("The body must be sent as it is, without Content-Encoding.")


def _read(most_bytes: int) -> bytes:
    if (request.content_length or 0) > most_bytes:
        raise _too_large(most_bytes)
    try:
        raw: bytes = request.stream.read(most_bytes + 1)
    except Exception as error:
        # Every error of the server's reader (a broken chunk, a closed connection) is a fault of the body.
        raise BadRequest("The body ended early, or its framing is not valid HTTP.") from error
    if len(raw) > most_bytes:
        raise _too_large(most_bytes)
    return raw


def _too_large(most_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is too large; at most {most_bytes:,} bytes are accepted here.")


def parse(raw: bytes) -> dict[str, Any]:
    """Parse a body. Raises `BadRequest`, which says what is wrong and where."""
    _refuse_depth(raw)
    try:
        parsed = _decoder.decode(raw.decode())
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start} does not belong there.") from error
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except ValueError as error:
        # Python refuses integers of more than 4,300 digits, because their cost grows with the square of the length.
        raise BadRequest("The body holds an integer of too many digits.") from error
    if not isinstance(parsed, dict):
        raise BadRequest("The body must be a JSON object.")
    return parsed


def _refuse_depth(raw: bytes) -> None:
    if raw.count(b"[") + raw.count(b"{") <= DEEPEST:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(raw):
        first = match[0][:1]
        if first in b"[{":
            depth += 1
            if depth > DEEPEST:
                raise BadRequest(f"The body nests too deep; at most {DEEPEST} levels are accepted.")
        elif first in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadRequest(f"The body has {json.dumps(name)} twice in one object; send it once.")
            seen.add(name)
    return made


def _constant(name: str) -> NoReturn:
    raise BadRequest(f"The body is not JSON: {name} is no JSON value.")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
