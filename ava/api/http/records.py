"""Write records as JSON. A schema is compiled once into a function that writes objects with or without payloads.

Marshmallow's `dump` with `json.dumps` costs about 50 times as much, and would parse and rewrite the JSON (input,
output, progress) that the database already stores as strings.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from types import NoneType
from typing import Annotated, Any, NamedTuple, cast, get_args, get_origin, get_type_hints

from marshmallow import Schema, fields
from marshmallow.schema import SchemaMeta

from ava.api.http import payloads
from ava.api.http.fields import (
    BoundedString,
    Choice,
    ClientId,
    Flag,
    Id,
    Instant,
    JsonString,
    Number,
    PositiveNumber,
    String,
    WholeNumber,
)
from ava.domain.access.actor import Actor
from ava.domain.jobs import retry
from ava.domain.jobs.retry import Retry
from ava.domain.limits.rates import Rate
from ava.domain.record import format_time

_quote: Callable[[str], str] = json.encoder.encode_basestring_ascii

#: Prefixes of ids that are no UUIDs, by the names of their fields.
_PREFIXES = {"worker_id": ("wkr",), "tenant_id": ("ten",), "created_by": ("usr", "key"), "updated_by": ("usr", "key")}
#: Schema field constructors by the type of a dataclass's field. Each `RecordSchema` adds its dataclass.
KINDS: dict[Any, Callable[..., fields.Field[Any]]] = {
    Rate: lambda metadata, **about: String(metadata={"write": lambda rate: f'"{rate}"'} | metadata, **about),
    Retry: lambda metadata, **about: JsonString(metadata={"type": "object", "write": retry.write} | metadata, **about),
    str: String,
    bool: Flag,
    float: lambda **about: PositiveNumber(**about) if "maximum" in about else Number(**about),
    datetime: Instant,
    int: partial(WholeNumber, minimum=0, maximum=2**53),
}


class _RecordMeta(SchemaMeta):
    def __new__(mcs, name: str, bases: tuple[type, ...], attrs: dict[str, Any], of: Any = None) -> Any:
        created: Any = super().__new__(mcs, name, bases, attrs)
        if of is not None:
            created._declared_fields = fields_of(of, created.names, created._declared_fields, _derive)
            KINDS.setdefault(of, partial(fields.Nested, created))
        return created

    def __init__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any], **_: Any) -> None:
        super().__init__(name, bases, attrs)  # type: ignore[no-untyped-call]


class RecordSchema(Schema, metaclass=_RecordMeta):
    """The schema of a dataclass: `class JobRecord(RecordSchema, of=Job)`. It declares only the fields that differ.

    The dataclass declares the others, also as properties that are `Annotated` or in `names`. Facts about
    a field, which are its metadata or annotation: its `description`; its `name` in the JSON, unless it is the
    attribute's without `_json`; the `prefix` of an id, or its `prefixes` if it is no UUID; `minimum` and `maximum`; the
    `choices` of an enumeration that occur; an `example`; the `form` of JSON in OpenAPI; as `payload` the function of
    `ava.api.http.payloads` that hides it; `nullable`, true if it is null only where it is hidden, false if it is absent
    instead of null; `flat` if the JSON has the fields of its dataclass instead; `internal` if no client sees it. A
    field `…_json` is serialized already.
    """

    #: The fields in the order of the JSON, if it differs from the dataclass.
    names = ""


def deleted_record(name: str, prefix: str) -> type[Schema]:
    """Return the schema of the response to a deletion."""
    return Schema.from_dict({"id": Id(prefix), "deleted": Flag()}, name=name)


def write_deleted(record_id: str) -> str:
    """Return the response to a deletion."""
    return f'{{"id":"{record_id}","deleted":true}}'


class _Fact(NamedTuple):
    attribute: str
    type: Any
    about: Mapping[str, Any]
    default: Any = dataclasses.MISSING


def fields_of(
    kind: type[Any],
    names: str,
    declared: Mapping[str, fields.Field[Any]],
    derive: Callable[[str, _Fact], fields.Field[Any]],
) -> dict[str, fields.Field[Any]]:
    """Return the declared fields of a schema, and the others as `derive` makes them of a dataclass's facts."""
    known = _facts_of(kind)
    shown = names.split() or [*(name for name, fact in known.items() if not fact.about.get("internal")), *declared]
    return {
        name: _described(declared[name], known.get(name)) if name in declared else derive(name, known[name])
        for name in shown
    }


def _described(field: fields.Field[Any], fact: _Fact | None) -> fields.Field[Any]:
    if fact is not None and "description" in fact.about:
        field.metadata = {"description": fact.about["description"], **field.metadata}
    return field


def sent_field(name: str, fact: _Fact) -> fields.Field[Any]:
    """Return the field of a body that has a field of a dataclass: with a default it is optional.

    Further facts in a field's metadata are `longest`, the max number of printable characters of a string, and
    `takes_null`, false if it may be absent but not null.
    """
    attribute, type_, about, default = fact
    options: dict[str, Any] = {"metadata": {key: value for key, value in about.items() if key == "description"}}
    options |= {key: about[key] for key in ("minimum", "maximum") if key in about}
    options |= {"required": True} if default is dataclasses.MISSING else {"load_default": default}
    options["allow_none"] = about.get("takes_null", NoneType in get_args(type_))
    if attribute != name:
        options["attribute"] = attribute
    type_ = _without_none(type_)
    if prefixes := about.get("prefixes", _PREFIXES.get(name)):
        return ClientId(prefixes[0], **options)
    return BoundedString(about["longest"], **options) if type_ is str else _field_of(type_, options)


def _facts_of(kind: type[Any]) -> dict[str, _Fact]:
    types = get_type_hints(kind)
    facts = [_Fact(each.name, types[each.name], each.metadata, each.default) for each in dataclasses.fields(kind)]
    others = []
    for name, each in inspect.getmembers(kind, lambda value: isinstance(value, property)):
        type_ = get_type_hints(each.fget, include_extras=True)["return"]
        if get_origin(type_) is Annotated:
            facts.append(_Fact(name, *get_args(type_)))
        else:
            others.append(_Fact(name, type_, {"internal": True}))
    found = {fact.about.get("name") or fact.attribute.removesuffix("_json"): fact for fact in facts}
    for outer in [fact for fact in facts if fact.about.get("flat")]:
        inner = _facts_of(outer.type).items()
        found = {name: each._replace(attribute=f"{outer.attribute}.{each.attribute}") for name, each in inner} | found
    return found | {fact.attribute: fact for fact in others if fact.attribute not in found}


def _derive(name: str, fact: _Fact) -> fields.Field[Any]:
    attribute, type_, about, _ = fact
    options: dict[str, Any] = {} if attribute == name else {"attribute": attribute}
    metadata = {key: about[key] for key in ("description", "example") if key in about}
    if "payload" in about:
        metadata["payload"] = getattr(payloads, f"hide_{about['payload']}")
    if about.get("nullable", NoneType in get_args(type_) or about.get("payload") == "value"):
        options["allow_none"] = True
    type_ = _without_none(type_)
    if attribute.endswith("_json") or "form" in about:
        return JsonString(**options, metadata=about.get("form", {"type": "object"}) | metadata)
    prefixes = about.get("prefixes", _PREFIXES.get(name) or tuple(filter(None, [about.get("prefix")])))
    if get_origin(type_) in (list, Sequence):
        inner = get_args(type_)[0]
        return fields.List(Id(*prefixes) if prefixes else _field_of(inner, {}), **options, metadata=metadata)
    if prefixes:
        return Id(*prefixes, **options | ({"attribute": f"{name}.id"} if type_ is Actor else {}), metadata=metadata)
    if get_origin(type_) in (dict, Mapping):
        inner = get_args(type_)[1]
        if dataclasses.is_dataclass(inner):
            return fields.Dict(keys=fields.String(), values=_field_of(inner, {}), **options, metadata=metadata)
        return JsonString(**options, metadata={"type": "object", "write": write_json} | metadata)
    bounds = {key: about[key] for key in ("minimum", "maximum", "choices") if key in about}
    return _field_of(type_, {**options, **bounds, "metadata": metadata})


def _without_none(type_: Any) -> Any:
    args = get_args(type_)
    return next(one for one in args if one is not NoneType) if NoneType in args else type_


def _field_of(type_: Any, options: Mapping[str, Any]) -> fields.Field[Any]:
    if NoneType in get_args(type_):
        return _field_of(_without_none(type_), {**options, "allow_none": True})
    if dataclasses.is_dataclass(type_) and type_ not in KINDS:
        # It adds itself.
        _RecordMeta(f"{getattr(type_, '__name__', '')}Record", (RecordSchema,), {"__doc__": type_.__doc__}, of=type_)
    return KINDS[type_](**options) if type_ in KINDS else Choice(**{"choices": type_, **options})


class ActorRecord(RecordSchema, of=Actor):
    """Who did something."""


class RecordWriter:
    """Writes objects of one schema as JSON."""

    def __init__(self, whole: Callable[[Any], str], hidden: Callable[[Any], str]) -> None:
        #: Functions that write an object with and without its payloads; the same function if it has none.
        self.whole, self.hidden = whole, hidden

    def __call__(self, record: Any) -> str:
        """Write an object as the caller of this request sees it."""
        return self.for_caller()(record)

    def for_caller(self) -> Callable[[Any], str]:
        """Return the function that writes objects as the caller of this request sees them."""
        return self.shown(is_visible=self.whole is self.hidden or payloads.are_visible())

    def shown(self, *, is_visible: bool) -> Callable[[Any], str]:
        """Return the function that writes objects with payloads (`is_visible`) or without."""
        return self.whole if is_visible else self.hidden


def compile_schema(schema: Schema, **special: Callable[[Any], str]) -> RecordWriter:
    """Return a writer of a schema's objects as JSON; `special` maps field names to their own write functions.

    A value of None becomes null in every field.
    """
    whole = _object_writer(schema, special, is_visible=True)
    return RecordWriter(whole, _object_writer(schema, special, is_visible=False) if _has_payload(schema) else whole)


def _has_payload(schema: Schema) -> bool:
    return any(_is_payload(field) or _has_inner_payload(field) for field in schema.fields.values())


def _is_payload(field: fields.Field[Any]) -> bool:
    return "payload" in field.metadata


def _has_inner_payload(field: fields.Field[Any]) -> bool:
    if isinstance(field, fields.List):
        return _has_inner_payload(field.inner)
    return isinstance(field, fields.Nested) and _has_payload(field.schema)


def _object_writer(
    schema: Schema, special: Mapping[str, Callable[[Any], str]], *, is_visible: bool
) -> Callable[[Any], str]:
    parts = []
    for name, field in schema.fields.items():
        key = f"{_quote(field.data_key or name)}:"
        parts.append((key, f"{key}null", special.get(name) or _writer(field, is_visible=is_visible)))
    read = _values_of([field.attribute or name for name, field in schema.fields.items()])

    def write(record: Any) -> str:
        values = zip(parts, read(record), strict=True)
        written = [null if value is None else key + encode(value) for (key, null, encode), value in values]
        return "{" + ",".join(written) + "}"

    hidden = [] if is_visible else [field.metadata.get("payload") for field in schema.fields.values()]
    if not any(hidden):
        return write

    def write_hidden(record: Any) -> str:
        values = zip(parts, hidden, read(record), strict=True)
        written = [
            key + (hide(record, value) if hide else "null" if value is None else encode(value))
            for (key, _, encode), hide, value in values
        ]
        return "{" + ",".join([*written, payloads.HIDDEN_FLAG]) + "}"

    return write_hidden


def _values_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that reads the named attributes of an object as a tuple."""
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda record: (get(record),)


def _writer(field: fields.Field[Any], *, is_visible: bool) -> Callable[[Any], str]:
    if isinstance(field, fields.List):
        return _list_writer(_writer(field.inner, is_visible=is_visible))
    if isinstance(field, fields.Dict):
        return _map_writer(_writer(cast("fields.Field[Any]", field.value_field), is_visible=is_visible))
    # A field that depends on the caller names the function that writes it.
    if (write := field.metadata.get("write")) is not None:
        return cast("Callable[[Any], str]", write)
    if isinstance(field, fields.Nested):
        return _object_writer(field.schema, {}, is_visible=is_visible)
    return next(write for kind, write in _WRITERS if isinstance(field, kind))


def _list_writer(write: Callable[[Any], str]) -> Callable[[Iterable[Any]], str]:
    return lambda values: "[" + ",".join(["null" if value is None else write(value) for value in values]) + "]"


def _map_writer(write: Callable[[Any], str]) -> Callable[[Mapping[str, Any]], str]:
    return lambda values: "{" + ",".join([f"{_quote(key)}:{write(value)}" for key, value in values.items()]) + "}"


def write_json(value: Any) -> str:
    """Return a value as compact JSON."""
    return json.dumps(value, separators=(",", ":"))


def _instant(timestamp: datetime) -> str:
    return f'"{format_time(timestamp)}"'


def _number(value: float) -> str:
    return json.dumps(int(value) if value == int(value) else value)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


_WRITERS: tuple[tuple[type[fields.Field[Any]], Callable[[Any], str]], ...] = (
    (Instant, _instant),
    (JsonString, str),
    (String, _quote),
    (Id, _quote),
    (Choice, _quote),
    (WholeNumber, str),
    (Number, _number),
    (Flag, _boolean),
)
