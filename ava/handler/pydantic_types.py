"""Inputs of pydantic types: models, dataclasses, and unions of them.

Imported only when a handler uses one, because pydantic is optional.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import AliasChoices, AliasPath, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

#: A decimal number as a string. Pydantic 2.12 and 2.13 write a pattern with a lookahead, which the validator rejects.
_DECIMAL = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def describe(kind: Any) -> tuple[Mapping[str, Any], Callable[[dict[str, Any]], Any]]:
    """Return the JSON Schema of a type, and a function that converts a payload to the type.

    Raise ValueError, with the field, for a type that JSON Schema cannot describe.
    """
    try:
        adapter = TypeAdapter(kind)
        schema = adapter.json_schema(schema_generator=_Schema)
    except (PydanticUserError, NameError) as error:
        raise ValueError(f"{_fault(kind)} cannot be described: {str(error).splitlines()[0]}") from None

    def parse(payload: dict[str, Any]) -> Any:
        # Through JSON, because a strict model accepts strings as UUIDs or dates only from JSON.
        return adapter.validate_json(json.dumps(payload))

    return schema, parse


def _fault(kind: Any) -> str:
    """Return the name of the first field that cannot be described; if all can, the type's name."""
    for each in (kind, *get_args(kind)):
        for name, field in getattr(each, "model_fields", getattr(each, "__pydantic_fields__", {})).items():
            try:
                TypeAdapter(field.annotation).json_schema(schema_generator=_Schema)
            except (PydanticUserError, NameError):
                return f"{each.__name__}.{name}"
    return str(getattr(kind, "__name__", kind))


class _Schema(GenerateJsonSchema):
    """Generate schemas that refuse unknown fields, and patterns that match in linear time."""

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
    """Close an object, unless its model configures extra fields, and add the aliases of its fields."""
    if found.get("type") != "object" or "properties" not in found or config.get("extra") is not None:
        return found
    for name, field in fields.items():
        names = _names(name, field, config)
        known = next((each for each in names if each in found["properties"]), None)
        if known is None:
            # A setting that pydantic adds later determines the names: leave the object open, to refuse no valid input.
            return found
        others = [each for each in names if each != known]
        for other in others:
            # Forms do not show it next to the first name.
            alias = {"description": f"Another name of {known}.", "deprecated": True}
            whole = found["properties"][known] if names[other] else {}
            found["properties"].setdefault(other, whole | alias)
        if others and known in found.get("required", ()):
            found["required"].remove(known)
            found.setdefault("allOf", []).append({"anyOf": [{"required": [each]} for each in names]})
    found.setdefault("additionalProperties", False)
    return found


def _names(name: str, field: Any, config: Mapping[str, Any]) -> dict[str, bool]:
    """Return the names of a field in a payload; False if the name's value only contains the field."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [] if alias is None else [alias]
    names = {str(each.path[0]): False for each in choices if isinstance(each, AliasPath)}
    names |= {each: True for each in choices if isinstance(each, str)}
    if not names or config.get("populate_by_name") or config.get("validate_by_name"):
        names[name] = True
    return names
