"""What `--set` may say by the schema of a worker's input, for the completion of the shell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ava.domain.schema_costs import referenced

_DEEPEST = 4
_MAX_VALUES = 50
#: What a shell neither executes nor splits.
_SAFE = re.compile(r"[\w.=+:/@-]+")


def places(schema: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Returns what may be typed, `channel=ops` or `account.id=`, each with what it means."""
    for text, meaning in _inner(schema or {}, schema or {}, "", 0):
        if _SAFE.fullmatch(text):
            yield text, meaning


def _inner(root: Mapping[str, Any], schema: Any, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    properties = _resolved(root, schema).get("properties")
    if not isinstance(properties, Mapping) or depth == _DEEPEST:
        return
    for name, part in properties.items():
        found, path = _resolved(root, part), f"{prefix}{name}"
        if isinstance(found.get("properties"), Mapping):
            yield from _inner(root, found, f"{path}.", depth + 1)
            continue
        meaning = _meaning(found)
        values = _values(found)
        yield from ((f"{path}={value}", meaning) for value in values)
        if not values:
            yield f"{path}=", meaning


def _resolved(root: Mapping[str, Any], schema: Any) -> Mapping[str, Any]:
    """Returns a part of a schema, or the definition in the same schema that it refers to."""
    if not isinstance(schema, Mapping):
        return {}
    try:
        definition = referenced(root, str(schema.get("$ref", "")))
    except KeyError:
        return schema
    return definition if isinstance(definition, Mapping) else schema


def _values(schema: Mapping[str, Any]) -> list[str]:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if schema.get("type") == "boolean":
        values = [True, False]
    if not isinstance(values, list):
        return []
    return [value if isinstance(value, str) else json.dumps(value) for value in values[:_MAX_VALUES]]


def _meaning(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description") or schema.get("title") or schema.get("type") or "")
