"""Records as JSON text: a schema is compiled once into a function that writes objects.

Marshmallow's own `dump` with `json.dumps` costs about fifty times as much, and would parse and write again the JSON
texts (input, output, progress) that the database already holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from operator import attrgetter
from typing import Any

from marshmallow import Schema, fields

from ava.api.http.fields import Choice, Flag, Id, Instant, JsonText, Number, Text, WholeNumber
from ava.domain.record import format_time

__all__ = ["compile_schema"]

_quote: Callable[[str], str] = json.encoder.encode_basestring_ascii


def compile_schema(schema: Schema, **special: Callable[[Any], str]) -> Callable[[Any], str]:
    """Returns a function that writes an object as JSON; `special` has functions for fields that differ."""
    parts = [
        (
            f"{_quote(field.data_key or name)}:",
            attrgetter(field.attribute or name),
            special.get(name) or _writer(field),
        )
        for name, field in schema.fields.items()
    ]

    def write(record: Any) -> str:
        return "{" + ",".join([name + text(get(record)) for name, get, text in parts]) + "}"

    return write


def _writer(field: fields.Field[Any]) -> Callable[[Any], str]:
    if isinstance(field, fields.List):
        return _list_writer(_writer(field.inner))
    if isinstance(field, fields.Nested):
        return compile_schema(field.schema)
    write = next(write for kind, write in _WRITERS if isinstance(field, kind))
    return _or_null(write) if field.allow_none else write


def _or_null(write: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: "null" if value is None else write(value)


def _list_writer(write: Callable[[Any], str]) -> Callable[[Iterable[Any]], str]:
    return lambda values: "[" + ",".join([write(value) for value in values]) + "]"


def _instant(moment: datetime) -> str:
    return f'"{format_time(moment)}"'


def _number(value: float) -> str:
    return json.dumps(int(value) if value == int(value) else value)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


_WRITERS: tuple[tuple[type[fields.Field[Any]], Callable[[Any], str]], ...] = (
    (Instant, _instant),
    (JsonText, str),
    (Text, _quote),
    (Id, _quote),
    (Choice, _quote),
    (WholeNumber, str),
    (Number, _number),
    (Flag, _boolean),
)
