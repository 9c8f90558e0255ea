"""Inputs that pydantic describes: its models, its dataclasses, and unions of them.

Imported when a handler uses one, because pydantic is optional.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import AliasChoices, AliasPath, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

__all__ = ["describe"]

#: A decimal number as a text. The pattern that pydantic 2.12 and 2.13 write looks ahead, and an input's check cannot.
_DECIMAL = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def describe(kind: Any) -> tuple[Mapping[str, Any], Callable[[dict[str, Any]], Any]]:
    """Returns the JSON Schema of a type, and what makes a value of the type from a payload.

    Raises ValueError for a type that JSON Schema cannot describe; it names the field.
    """
    try:
        adapter = TypeAdapter(kind)
        schema = adapter.json_schema(schema_generator=_Schema)
    except (PydanticUserError, NameError) as error:
        raise ValueError(f"{_fault(kind)} cannot be described: {str(error).splitlines()[0]}") from None

    def parse(payload: dict[str, Any]) -> Any:
        # As JSON, because a strict model takes a UUID or a date as a text from JSON alone.
        return adapter.validate_json(json.dumps(payload))

    return schema, parse


def _fault(kind: Any) -> str:
    """Returns the name of the first field that cannot be described, with its type; else the type's name."""
    for each in (kind, *get_args(kind)):
        for name, field in getattr(each, "model_fields", getattr(each, "__pydantic_fields__", {})).items():
            try:
                TypeAdapter(field.annotation).json_schema(schema_generator=_Schema)
            except (PydanticUserError, NameError):
                return f"{each.__name__}.{name}"
    return str(getattr(kind, "__name__", kind))


class _Schema(GenerateJsonSchema):
    """Writes schemas that refuse the fields that a model does not name, and patterns that match in linear time."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        kind = schema["cls"]
        return _closed(super().model_schema(schema), kind.model_config, kind.model_fields)

    def dataclass_schema(self, schema: Any) -> JsonSchemaValue:
        kind = schema["cls"]
        config = getattr(kind, "__pydantic_config__", {})
        return _closed(super().dataclass_schema(schema), config, getattr(kind, "__pydantic_fields__", {}))

    def typed_dict_schema(self, schema: Any) -> JsonSchemaValue:
        return _closed(super().typed_dict_schema(schema), schema.get("config", {}), {})

    def decimal_schema(self, schema: Any) -> JsonSchemaValue:
        found = super().decimal_schema(schema)
        for part in (found, *found.get("anyOf", ())):
            if part.get("type") == "string":
                part["pattern"] = _DECIMAL
        return found


def _closed(found: JsonSchemaValue, config: Mapping[str, Any], fields: Mapping[str, Any]) -> JsonSchemaValue:
    """Close an object, unless its model says what happens to other fields, or takes other names of its own."""
    is_object = found.get("type") == "object" and "properties" in found
    if is_object and config.get("extra") is None and not _has_other_names(config, fields):
        found.setdefault("additionalProperties", False)
    return found


def _has_other_names(config: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return any(
        isinstance(field.validation_alias, AliasChoices | AliasPath) or (by_name and field.validation_alias)
        for field in fields.values()
    )
