"""Call a URL and return the response."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ava import Env, worker
from ava.domain.outbound.outbound_url import MAX_URL_CHARS, parse
from ava.outbound.http import HttpResponse, send
from workers import charsets, outbound
from workers.inputs import Input, number, optional_string, refuse_unknown, string, whole_number

# A job's output may be 1 MiB of JSON; a character can take 12 bytes of it.
_MAX_JSON_BYTES = 1_000_000
_MAX_HEADER_JSON_BYTES = 200_000
_MAX_ANSWER_BYTES = 900_000


@worker(
    "http_request",
    name="HTTP request",
    description=(
        "Calls input.url with input.method (GET), headers, body (a string, or another value as JSON), "
        "timeout_seconds (30) and max_bytes (262144); returns status, headers, text, elapsed_ms, truncated. Follows "
        "no redirects."
    ),
    timeout_seconds=330,
    input_schema={
        "type": "object",
        "properties": {
            "url": {"type": "string", "minLength": 1, "maxLength": MAX_URL_CHARS, "description": "The URL to call."},
            "method": {"type": ["string", "null"], "maxLength": 40, "default": "GET"},
            "headers": {
                "type": ["object", "null"],
                "additionalProperties": {"type": ["string", "number"]},
                "description": "Headers by name.",
            },
            "body": {"description": "A string, or another value, which is sent as JSON."},
            "timeout_seconds": {"type": "number", "minimum": 0.1, "maximum": 300, "default": 30},
            "max_bytes": {"type": "integer", "minimum": 1, "maximum": _MAX_ANSWER_BYTES, "default": 262_144},
        },
        "required": ["url"],
        "additionalProperties": False,
    },
)
def http_request(input: Input, env: Env) -> dict[str, Any]:
    """Call a URL. Any status is a result; the job fails only if there is no response or the URL is refused."""
    refuse_unknown(input, "url", "method", "headers", "body", "timeout_seconds", "max_bytes")
    url = string(input, "url", example="https://example.com/", longest=MAX_URL_CHARS)
    method = optional_string(input, "method", default="GET", longest=40)
    body, content_type = _body(input.get("body"))
    headers = content_type | _headers(input.get("headers"))
    limits = outbound.limits(
        timeout_seconds=number(input, "timeout_seconds", least=0.1, most=300, default=30),
        max_bytes=whole_number(input, "max_bytes", least=1, most=_MAX_ANSWER_BYTES, default=262_144),
    )
    # The path and query may contain secrets, and many people read logs.
    env.log.info("Calling %s %s", method.upper(), parse(url, rules=limits.rules).origin)
    response = send(method, url, headers=headers, body=body, limits=limits)
    env.log.info("Answered %d with %d bytes after %d ms", response.status, len(response.body), response.elapsed_ms)
    return _output(response)


def _body(given: Any) -> tuple[bytes | None, dict[str, str]]:
    """Return the bytes to send and their Content-Type, which input.headers may override."""
    if given is None:
        return None, {}
    if isinstance(given, str):
        try:
            return given.encode(), {"Content-Type": "text/plain; charset=utf-8"}
        except UnicodeEncodeError:
            raise ValueError("input.body contains half a character (a lone surrogate), which cannot be sent") from None
    try:
        return json.dumps(given, allow_nan=False).encode(), {"Content-Type": "application/json"}
    except (TypeError, ValueError, RecursionError):
        raise ValueError(
            "input.body cannot be sent as JSON; it may hold NaN or infinity, or be nested too deep"
        ) from None


def _headers(given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError('input.headers must be an object such as {"Accept": "text/plain"}')
    return {name.title(): _header_value(name, value) for name, value in given.items()}


def _header_value(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"input.headers: the value of {name[:60]!a} must be a string or a number")


def _output(response: HttpResponse) -> dict[str, Any]:
    headers = _fitting_headers(response.headers)
    charset = charsets.declared_in(response.headers.get("content-type", "")) or "utf-8"
    whole = response.body.decode(charset, errors="replace")
    fitting = _fitting_string(whole, _MAX_JSON_BYTES - len(json.dumps(headers)))
    return {
        "status": response.status,
        "headers": headers,
        "text": fitting,
        "elapsed_ms": response.elapsed_ms,
        "truncated": response.truncated or len(fitting) < len(whole),
    }


def _fitting_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that fit into their part of the output."""
    fitting: dict[str, str] = {}
    capacity = _MAX_HEADER_JSON_BYTES
    for name, value in headers.items():
        capacity -= len(json.dumps({name: value}))
        if capacity >= 0:
            fitting[name] = value
    return fitting


def _fitting_string(whole: str, capacity: int) -> str:
    """Return the beginning of a string that takes at most `capacity` bytes as JSON."""
    while (size := len(json.dumps(whole))) > capacity:
        whole = whole[: len(whole) * capacity // size - 1]
    return whole
