"""Read CloudEvents 1.0 over HTTP: structured, batched and binary (cloudevents.io, HTTP protocol binding 1.0.2)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from ava.domain import client_json
from ava.domain.events.event import MAX_ID_CHARS, MAX_TEXT_CHARS, EventSpec, compact_json, is_client_type
from ava.domain.strings import parse_time
from ava.errors import InvalidFields

#: Media types of one event in JSON, and of a list of events.
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
_VERSION_HEADER = "ce-specversion"
_VERSION = "1.0"
_ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time", "data", "data_base64")
#: The name of an extension, or of `datacontenttype` and `dataschema`, which are stored like extensions.
_EXTENSION = re.compile(r"[a-z0-9]{1,40}")
_JSON = re.compile(r"[\w.+-]+/(?:[\w.-]+\+)?json", re.ASCII)


def is_cloud_event(media_type: str, headers: Mapping[str, str]) -> bool:
    """Return True if the request carries one or more CloudEvents; header names are in lower case."""
    return media_type.startswith("application/cloudevents") or _VERSION_HEADER in headers


def read_structured(body: Any, *, is_batch: bool) -> list[EventSpec]:
    """Return the events of a parsed body. Raise `InvalidFields`."""
    if not is_batch:
        return [_event("", body)]
    if not isinstance(body, list):
        _refuse("", "A batch must be a list of events.")
    return [_event(f"events[{index}]", each) for index, each in enumerate(body)]


def read_binary(headers: Mapping[str, str], media_type: str, body: bytes) -> EventSpec:
    """Return the event of a request with attributes in headers. Raise `InvalidFields` or `BadRequest`."""
    given: dict[str, Any] = {
        name.removeprefix("ce-"): _unescaped(value) for name, value in headers.items() if name.startswith("ce-")
    }
    if media_type:
        given["datacontenttype"] = media_type
    for name in ("data", "data_base64"):
        if name in given:
            _refuse(f"ce-{name}", "It is not an attribute in binary mode; the body is the data.")
    if body:
        given["data"] = _data(media_type, body)
    return _event("", given)


def _unescaped(value: str) -> str:
    return unquote_to_bytes(value.encode("latin-1", "replace")).decode("utf-8", "replace")


def _data(media_type: str, body: bytes) -> Any:
    kind = media_type.partition(";")[0].strip().lower()
    if not kind or _JSON.fullmatch(kind):
        return client_json.parse(body)
    try:
        # Decode only textual types: an image may be valid UTF-8 by accident.
        if kind.startswith("text/") or kind.endswith(("xml", "yaml", "x-www-form-urlencoded", "javascript")):
            return body.decode()
    except UnicodeDecodeError:
        pass
    return {"base64": base64.b64encode(body).decode()}


def _event(path: str, given: Any) -> EventSpec:
    if not isinstance(given, dict):
        _refuse(path, "It must be an object, a CloudEvents 1.0 event.")
    if given.get("specversion") != _VERSION:
        _refuse(_path(path, "specversion"), f"It must be {_VERSION}.")
    data = given.get("data")
    if (encoded := given.get("data_base64")) is not None:
        if data is not None:
            _refuse(_path(path, "data_base64"), "Send either data or data_base64.")
        data = _binary(path, encoded)
    time = given.get("time")
    timestamp = parse_time(time) if isinstance(time, str) else None
    if time is not None and timestamp is None:
        _refuse(_path(path, "time"), "It must be a time such as 2025-06-01T10:00:00Z.")
    type_ = _string(path, given, "type", MAX_ID_CHARS)
    if not is_client_type(type_):
        _refuse(_path(path, "type"), "It must be 1 to 200 visible ASCII characters, and not begin with `ava.`.")
    try:
        data_json = compact_json(data)
    except ValueError:
        _refuse(_path(path, "data"), "It has a number that is too large for a double.")
    return EventSpec(
        type=type_,
        source=_string(path, given, "source", MAX_TEXT_CHARS),
        source_id=_string(path, given, "id", MAX_ID_CHARS),
        subject=None if given.get("subject") is None else _string(path, given, "subject", MAX_TEXT_CHARS),
        time=timestamp,
        data_json=data_json,
        extensions_json=compact_json(_extensions(path, given)),
    )


def _extensions(path: str, given: Mapping[str, Any]) -> dict[str, Any]:
    extensions: dict[str, Any] = {}
    for name, value in given.items():
        if name in _ATTRIBUTES or value is None:
            continue
        if not _EXTENSION.fullmatch(name):
            _refuse(_path(path, name[:100]), "The name of an extension must be 1 to 40 characters of a-z and 0-9.")
        if not isinstance(value, str | bool | int) or (isinstance(value, str) and len(value) > MAX_TEXT_CHARS):
            _refuse(
                _path(path, name),
                f"It must be a string of at most {MAX_TEXT_CHARS:,} characters, a boolean or an integer.",
            )
        extensions[name] = value
    return extensions


def _binary(path: str, encoded: Any) -> dict[str, str]:
    try:
        base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError, TypeError):
        _refuse(_path(path, "data_base64"), "It must be base64.")
    return {"base64": encoded}


def _string(path: str, given: Mapping[str, Any], name: str, max_chars: int) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= max_chars or not _is_storable(value):
        _refuse(_path(path, name), f"It must be a string of 1 to {max_chars:,} characters, without control characters.")
    string: str = value
    return string


def _is_storable(string: str) -> bool:
    return not any(ord(char) < 32 or 0xD800 <= ord(char) < 0xE000 for char in string)


def _path(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _refuse(path: str, reason: str) -> NoReturn:
    name = path or "event"
    raise InvalidFields(f"{name}: {reason}", {name: [reason]})
