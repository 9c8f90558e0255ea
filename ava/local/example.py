"""The example job that `ava up` prints and `ava demo` runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ava.domain.schema_costs import referenced

#: Values by type, and by string format.
_VALUES: dict[str, Any] = {"string": "text", "integer": 0, "number": 0, "boolean": False}
_STRINGS = {
    "date": "2026-12-01",
    "date-time": "2026-12-01T09:00:00Z",
    "time": "09:00:00Z",
    "duration": "PT1S",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "uri": "https://example.com/",
    "email": "ada@example.com",
}
#: Max followed levels of a schema, which has no cycles.
_MAX_LEVELS = 20

#: The job in the API's contract, for an included worker.
EXAMPLE: dict[str, Any] = {
    "worker_id": "wkr_incident_notify",
    "priority": 2,
    "input": {"incident_id": "inc_01hxyz", "channel": "#security-ops"},
}


def headers(secret: str) -> dict[str, str]:
    return {
        "x-internal-secret": secret,
        "x-tenant-id": "ten_01hxyz",
        "x-user-id": "usr_01hxyz",
        "x-platform-role": "tenant-system-admin",
    }


def curl(url: str, secret: str, job: dict[str, Any] = EXAMPLE) -> str:
    lines = [f"curl -X POST {url}/v1/ava/jobs"]
    lines += [f'-H "{name}: {value}"' for name, value in headers(secret).items()]
    lines += ['-H "Content-Type: application/json"', f"-d '{json.dumps(job)}'"]
    return " \\\n  ".join(lines)


def input_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return an input with the schema's required fields, each with a value of its type."""
    found = _value_of(schema, schema, _MAX_LEVELS)
    return found if isinstance(found, dict) else {}


def _value_of(part: Any, root: Mapping[str, Any], levels: int) -> Any:
    if not isinstance(part, Mapping) or not levels:
        return None
    chosen = [part[keyword] for keyword in ("const", "default") if keyword in part]
    chosen += [part[keyword][0] for keyword in ("examples", "enum") if part.get(keyword)]
    if chosen:
        return chosen[0]
    inner = [referenced(root, part["$ref"])] if "$ref" in part else part.get("anyOf") or part.get("oneOf")
    if inner and "properties" not in part:
        return _value_of(inner[0], root, levels - 1)
    if "properties" in part:
        return {name: _value_of(part["properties"].get(name), root, levels - 1) for name in part.get("required", ())}
    if part.get("type") == "array":
        return [_value_of(part.get("items"), root, levels - 1) for _ in range(part.get("minItems", 0))]
    return _plain_value(part)


def _plain_value(part: Mapping[str, Any]) -> Any:
    value = _VALUES.get(str(part.get("type")), {})
    if value == _VALUES["string"]:
        return _STRINGS.get(part.get("format", ""), value)
    return max(value, part["minimum"]) if isinstance(part.get("minimum"), int | float) else value
