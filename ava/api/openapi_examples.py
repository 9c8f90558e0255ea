"""Examples of the OpenAPI description: written by hand or generated from the field types."""

from __future__ import annotations

import re
from typing import Any

from ava.api import openapi_parts as parts
from ava.api.http.operations import NDJSON

_SUFFIX = "01jwnqrgt0e3rt0q9vz5k8x2mc"
_MOMENT = "2025-06-01T10:00:00Z"
#: Examples by field name, for types without a helpful example.
_BY_NAME: dict[str, Any] = {
    "url": "https://example.com/hooks",
    "secret": "a-secret-of-16-characters",
    "events": ["ava.job.completed", "ava.job.failed"],
    "event_type": "ava.job.failed",
    "queue": "default",
    "queues": ["default"],
    "workers": ["wkr_incident_notify"],
    "worker_id": "wkr_incident_notify",
    "tenant_id": "ten_01hxyz",
    "user_id": "usr_01hxyz",
    "created_by": "usr_01hxyz",
    "role": "tenant-system-admin",
    "runtime": "python",
    "timezone": "Europe/Berlin",
    "cron": "30 2 * * *",
    "name": "Incident notify",
    "payload_hash": f"sha256:{0:064}",
    "next_cursor": None,
    "has_more": False,
}
_MAX_DEEP = 8


def add_examples(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    for methods in description["paths"].values():
        for operation in methods.values():
            _add(operation.get("requestBody", {}), schemas)
            for status, response in operation["responses"].items():
                if status.startswith("2"):
                    _add(response, schemas)


def _add(part: dict[str, Any], schemas: dict[str, Any]) -> None:
    content = part.get("content", {})
    for media in ("application/json", NDJSON):
        if media in content:
            content[media]["example"] = _example(content[media]["schema"], schemas, "", 0)
    if "text/event-stream" in content:
        content["text/event-stream"]["example"] = parts.STREAM_EXAMPLE


def _example(schema: dict[str, Any], schemas: dict[str, Any], name: str, depth: int) -> Any:
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rpartition("/")[2]], schemas, name, depth)
    for given in ("example", "const"):
        if schema.get(given) is not None:
            return schema[given]
    if depth > _MAX_DEEP:
        return None
    for choice in ("allOf", "anyOf", "oneOf"):
        if choice in schema:
            return _example(schema[choice][0], schemas, name, depth)
    for values in ("enum", parts.KNOWN_VALUES):
        if values in schema:
            return schema[values][0]
    return _by_type(schema, schemas, name, depth)


def _by_type(schema: dict[str, Any], schemas: dict[str, Any], name: str, depth: int) -> Any:
    kinds = schema.get("type", "object")
    kind = next((one for one in kinds if one != "null"), "null") if isinstance(kinds, list) else kinds
    if kind == "object":
        fields = schema.get("properties", {})
        return {field: _example(inner, schemas, field, depth + 1) for field, inner in fields.items()}
    if name in _BY_NAME and "$ref" not in schema.get("items", {}):
        return _BY_NAME[name]
    if kind == "array":
        return [_example(schema["items"], schemas, "", depth + 1)] if "items" in schema else []
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 1), min(1, schema.get("maximum", 1)))
    return {"boolean": True, "null": None}.get(kind, _string(schema, name))


def _string(schema: dict[str, Any], name: str) -> str:
    if schema.get("format") == "date-time":
        return _MOMENT
    # The prefix of an id; the first if there are several.
    if prefix := re.match(r"\^\(?([a-z]+)(\|[a-z|]*)?\)?_", schema.get("pattern", "")):
        return f"{prefix[1]}_{_SUFFIX}"
    return name.replace("_", " ") or "text"
