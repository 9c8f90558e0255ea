"""What a handler says about its input: the JSON Schema that the API checks, and the value that the handler gets.

It may be a JSON Schema, a schema of marshmallow, a dataclass (also a TypedDict or a Struct of msgspec), or a model of
pydantic. The libraries are imported when a handler uses one.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["InputType", "annotated_type", "input_type"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputType:
    """A description of an input."""

    #: The JSON Schema.
    schema: Mapping[str, Any]
    #: Makes the value that a handler gets from the payload; None if it gets the payload itself.
    parse: Callable[[dict[str, Any]], Any] | None = None


def annotated_type(function: Callable[..., Any]) -> InputType | None:
    """Returns the type of a handler's first parameter, if its annotation is one of those that describe an input.

    Raises ValueError if it is one of them and cannot be described.
    """
    try:
        first = next(iter(inspect.signature(function).parameters))
        annotation = typing.get_type_hints(function, include_extras=True).get(first)
    except Exception:
        # An annotation that only a type checker can resolve describes no input.
        return None
    return input_type(annotation) if isinstance(annotation, type) else None


def input_type(described: Any) -> InputType | None:
    """Returns the type that an object describes, None if it describes none.

    Raises ValueError if it describes one that JSON Schema cannot.
    """
    if isinstance(described, Mapping):
        return InputType(schema=described)
    for is_kind, make in _KINDS:
        if is_kind(described):
            return make(described)
    return None


def _is_pydantic(described: Any) -> bool:
    return isinstance(described, type) and hasattr(described, "model_json_schema")


def _of_pydantic(model: Any) -> InputType:
    return InputType(schema=model.model_json_schema(), parse=model.model_validate)


def _is_marshmallow(described: Any) -> bool:
    kind = described if isinstance(described, type) else type(described)
    return any(f"{base.__module__}.{base.__qualname__}" == "marshmallow.schema.Schema" for base in kind.__mro__)


def _of_marshmallow(described: Any) -> InputType:
    from apispec import APISpec
    from apispec.ext.marshmallow import MarshmallowPlugin

    given = described() if isinstance(described, type) else described
    # Without names every nested schema is written where it stands.
    plugin = MarshmallowPlugin(schema_name_resolver=lambda _schema: "")
    APISpec(title="", version="", openapi_version="3.1.0", plugins=[plugin])
    assert plugin.converter is not None
    schema = plugin.converter.schema2jsonschema(given)  # type: ignore[no-untyped-call]
    if given.unknown == "raise":
        schema["additionalProperties"] = False
    return InputType(schema=schema, parse=given.load)


def _is_structured(described: Any) -> bool:
    return isinstance(described, type) and (
        dataclasses.is_dataclass(described) or typing.is_typeddict(described) or hasattr(described, "__struct_fields__")
    )


def _of_structured(kind: Any) -> InputType:
    import msgspec

    try:
        schema = msgspec.json.schema(kind)
    except TypeError as error:
        raise ValueError(f"{kind.__name__} cannot be described: {' '.join(str(error).split())}") from None
    for part in schema.get("$defs", {}).values():
        if "properties" in part:
            # A misspelt name of a field that may be left out would go unnoticed.
            part.setdefault("additionalProperties", False)
    # The kind itself is the first part. Forms are made from what stands at the top.
    parts = schema["$defs"]
    top = parts.pop(schema["$ref"].rpartition("/")[2])
    if parts:
        top["$defs"] = parts
    return InputType(schema=top, parse=lambda payload: msgspec.convert(payload, kind))


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], InputType]], ...] = (
    (_is_pydantic, _of_pydantic),
    (_is_marshmallow, _of_marshmallow),
    (_is_structured, _of_structured),
)
