"""The type of a handler's input: the JSON Schema that the API validates, and the conversion for the handler.

It may be a JSON Schema, a marshmallow schema, a dataclass (also a TypedDict or a msgspec Struct), a pydantic model, or
a union of such types. The libraries are imported when a handler uses one.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ava.errors import HandlerError
from ava.handler.annotations import bare_types, first_annotation, is_plain, is_pydantic, plain_type
from ava.handler.option_checks import refuse


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputType:
    schema: Mapping[str, Any]
    #: Converts the payload for the handler; None: the handler gets the payload.
    parse: Callable[[dict[str, Any]], Any] | None = None


def declared_types(slug: str, function: Callable[..., Any], given: Any) -> tuple[InputType | None, InputType | None]:
    """Return the types of a worker's option `input_schema` and of its first parameter's annotation."""
    try:
        described = None if given is None else input_type(given)
    except ValueError as error:
        raise HandlerError(f"Worker {slug!r}: input_schema: {error}.") from error
    if given is not None and described is None:
        refuse(slug, ["input_schema must be a JSON Schema, a schema of marshmallow, a dataclass or a pydantic model"])
    try:
        return described, annotated_type(function)
    except ValueError as error:
        if described is not None:
            # The annotation is for a type checker only.
            return described, None
        raise HandlerError(f"Worker {slug!r}: {error}.") from error


def schema_json(slug: str, given: InputType | None, annotated: InputType | None) -> str | None:
    """Return the validated JSON Schema of a worker's input, serialized."""
    found = given or annotated
    if found is None:
        return None
    # Imported lazily: handler modules without schemas need no validator.
    from ava.domain.input_schema import check_schema

    try:
        return check_schema(found.schema)
    except ValueError as error:
        raise HandlerError(f"Worker {slug!r}: input_schema: {error}.") from None


def annotated_type(function: Callable[..., Any]) -> InputType | None:
    """Return the type of a handler's first parameter; None if its annotation is a plain mapping or missing.

    Raise ValueError for any other annotation that cannot be resolved or described, because inputs would not be
    validated.
    """
    name, annotation = first_annotation(function)
    annotation = plain_type(annotation)
    if is_plain(annotation):
        return None
    try:
        found = input_type(annotation)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if found is None:
        raise ValueError(
            f"{name}: {getattr(annotation, '__name__', annotation)} describes no object; annotate a dict, a dataclass, "
            "a TypedDict, a Struct of msgspec or a model of pydantic"
        )
    return found


def input_type(described: Any) -> InputType | None:
    """Return the type that an object describes; None if it describes none.

    Raise ValueError if JSON Schema cannot describe it.
    """
    if isinstance(described, Mapping):
        return InputType(schema=described)
    kind = plain_type(described)
    for is_kind, make in _KINDS:
        if is_kind(kind):
            return make(kind)
    return None


def _of_pydantic(kind: Any) -> InputType:
    from ava.handler.pydantic_types import describe

    schema, parse = describe(kind)
    return InputType(schema=schema, parse=parse)


def _is_marshmallow(described: Any) -> bool:
    kind = described if isinstance(described, type) else type(described)
    return any(f"{base.__module__}.{base.__qualname__}" == "marshmallow.schema.Schema" for base in kind.__mro__)


def _of_marshmallow(described: Any) -> InputType:
    from apispec import APISpec
    from apispec.ext.marshmallow import MarshmallowPlugin

    given = described() if isinstance(described, type) else described
    # Without names, nested schemas are inlined.
    plugin = MarshmallowPlugin(schema_name_resolver=lambda _schema: "")
    APISpec(title="", version="", openapi_version="3.1.0", plugins=[plugin])
    assert plugin.converter is not None
    schema = plugin.converter.schema2jsonschema(given)  # type: ignore[no-untyped-call]
    if given.unknown == "raise":
        schema["additionalProperties"] = False
    return InputType(schema=schema, parse=given.load)


def _is_structured(described: Any) -> bool:
    return all(
        isinstance(each, type)
        and (dataclasses.is_dataclass(each) or typing.is_typeddict(each) or hasattr(each, "__struct_fields__"))
        for each in bare_types(described)
    )


def _of_structured(kind: Any) -> InputType:
    import msgspec

    try:
        schema = msgspec.json.schema(kind)
    except (TypeError, NameError) as error:
        raise ValueError(f"{_fault(kind)} cannot be described: {' '.join(str(error).split())}") from None
    for part in schema.get("$defs", {}).values():
        if "properties" in part:
            # Otherwise a misspelt optional field would go unnoticed.
            part.setdefault("additionalProperties", False)
    # The type itself is the first part. Forms are built from the top level.
    if "$ref" in schema:
        parts = schema["$defs"]
        top = parts.pop(schema["$ref"].rpartition("/")[2])
        schema = top | ({"$defs": parts} if parts else {})
    return InputType(schema=schema, parse=lambda payload: msgspec.convert(payload, kind))


def _fault(kind: Any) -> str:
    """Return the name of the first field that cannot be described; if all can, the type's name."""
    import msgspec

    for each in bare_types(kind):
        try:
            hints = typing.get_type_hints(each, include_extras=True)
        except Exception:
            hints = {}
        for name, annotation in hints.items():
            try:
                msgspec.json.schema(annotation)
            except (TypeError, NameError):
                return f"{each.__name__}.{name}"
    return str(getattr(kind, "__name__", kind))


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], InputType]], ...] = (
    (is_pydantic, _of_pydantic),
    (_is_marshmallow, _of_marshmallow),
    (_is_structured, _of_structured),
)
