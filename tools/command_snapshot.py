"""`make records`: write `ava/cli/api/calls.json`, from which `ava` builds its commands. `--check` compares it."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from typing import Any

from tools.client_methods import Field, Operation, operations
from tools.openapi import ROOT, description, write

SNAPSHOT = ROOT / "ava/cli/api/calls.json"
#: Words for JSON, which has no flags and no local times.
_OF_HTTP = r" \((true|false)\)|,? in ISO 8601(; UTC without an offset)?|^(True|False|platform)[:,] "
_TYPES = {"integer": "integer", "number": "number", "boolean": "flag", "object": "object"}


def snapshot(document: dict[str, Any]) -> str:
    """Return the text of the snapshot: the calls by their methods, one a line."""
    calls = {each.call["method"]: _call(each) for each in operations(document)}
    lines = (f"{json.dumps(name)}:{_compact(call)}" for name, call in calls.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _call(operation: Operation) -> dict[str, Any]:
    call = operation.call
    kept = ("command", "help", "example", "columns", "defaults", "lists_all")
    found = {name: call[name] for name in kept if name in call} | {"form": _form(operation)}
    fields = {each.name: each for each in operation.fields if each.constant is None}
    arguments = [name for name in call.get("arguments", ()) if name not in call.get("options", {})]
    parameters = [{"name": name, "required": True, "argument": True} for name in operation.ids]
    parameters += [_parameter(operation, fields.pop(name), None) for name in arguments]
    for each in fields.values():
        names = call.get("options", {}).get(each.name)
        if names != "":
            parameters += [_parameter(operation, inner, names or _option(inner)) for inner in _flat(operation, each)]
    found["parameters"] = parameters
    flags = {
        "key": operation.has_header("Idempotency-Key"),
        "replicated": operation.has_header("Durability"),
        "dry_run": any(each["name"] == "dry_run" for each in operation.parameters("query")),
    }
    return found | {name: True for name, has in flags.items() if has}


def _flat(operation: Operation, field: Field) -> list[Field]:
    """Return a field, or the fields of an object with a key: `dedupe__key`, `dedupe__mode`."""
    name = str(field.schema.get("$ref", "")).rpartition("/")[2]
    inner = operation.fields_of(name)
    if all(each.name != "key" for each in inner):
        return [field]
    return [replace(each, name=f"{field.name}__{each.name}") for each in inner]


def _form(operation: Operation) -> str:
    """Return how the command is called, and prints."""
    content = operation.success
    if "application/x-ndjson" in content:
        return "lines"
    data = content.get("application/json", {}).get("schema", {}).get("properties", {}).get("data", {})
    if operation.verb == "PATCH":
        return "change"
    if operation.verb == "DELETE":
        return "delete"
    if data.get("type") == "array":
        is_list = any(each["name"] == "per_page" for each in operation.parameters("query"))
        return "list" if is_list else "array"
    return "each" if operation.verb == "POST" and operation.ids else "record"


def _parameter(operation: Operation, field: Field, names: str | None) -> dict[str, Any]:
    """Return the description of an argument (without names) or an option."""
    schema = field.schema
    types = _types(schema)
    sentence, default = _help(operation, schema.get("description", ""))
    is_given = field.name in operation.call.get("defaults", {})
    found: dict[str, Any] = {
        "name": field.argument,
        "options": (names or "").split(),
        "argument": names is None,
        "help": sentence,
        "needed" if "__" in field.name else "required": field.is_required and not is_given,
        "default": "" if operation.verb == "PATCH" else default,
        "clears": operation.verb == "PATCH" and ("null" in types or _kind(field) == "pairs"),
        "type": _kind(field),
        "values": [value for value in schema.get("enum", ()) if value is not None],
    }
    bounds = [schema.get("minimum"), schema.get("maximum")]
    return {name: value for name, value in found.items() if value not in ("", False, [])} | (
        {"bounds": bounds} if bounds != [None, None] else {}
    )


def _types(schema: dict[str, Any]) -> list[str]:
    if "anyOf" in schema:
        return [*_types(schema["anyOf"][0]), "null"]
    found = schema.get("type", "object" if "$ref" in schema else "any")
    return [found] if isinstance(found, str) else list(found)


def _kind(field: Field) -> str:
    """Return the type of an option's values."""
    schema, (kind, *_) = field.schema, _types(field.schema)
    has_entries = isinstance(schema.get("additionalProperties"), dict)
    if field.parameter.endswith((".key]", ".path]")) or (kind == "object" and has_entries):
        return "pairs"
    if kind == "array":
        return "rules" if "$ref" in schema["items"] else "strings"
    if schema.get("format") == "date-time":
        return "past" if field.parameter or field.name in ("since", "until") else "time"
    if kind == "string":
        return "secret" if field.name in ("secret", "target") and not field.parameter else "string"
    return "either" if kind == "boolean" and field.parameter else _TYPES.get(kind, "json")


def _option(field: Field) -> str:
    """Return the name of a field's option: without `_id`, and singular if it is repeatable."""
    name = field.name.removesuffix("__key").removesuffix("_id").replace("__", "-").replace("_", "-")
    if "(false)" in field.schema.get("description", ""):
        return f"--{name}/--not-{name}"
    if _kind(field) in ("pairs", "strings") and name.endswith("s"):
        name = name[:-1]
    return f"--{name}"


def _help(operation: Operation, text: str) -> tuple[str, str]:
    """Return the sentence that explains an option, and the default value."""
    sentence, *defaults = re.split(r" *Default: ", " ".join(text.split()))
    sentence = re.split(r"(?<=\.) (?=[A-Z`])", sentence)[0].removesuffix(".").split("; null")[0]
    # Positional fields are named as the usage line names them.
    names = {name: name.upper() for name in operation.call.get("arguments", ())} | operation.call.get("options", {})
    fields = {each.name: (names.get(each.name) or _option(each)).split()[0] for each in operation.fields}
    sentence = re.sub(r"`(\w+)`", lambda name: fields.get(name[1], name[1]), sentence)
    sentence = re.sub(_OF_HTTP, "", sentence)
    default = "" if not defaults else defaults[0].split(". ")[0].strip(".` ")
    sentence = sentence[:1].upper() + sentence[1:]
    return f"{sentence}." if sentence else "", "" if default in ("true", "false", "tenant", "{}") else default


if __name__ == "__main__":
    sys.exit(write(SNAPSHOT, snapshot(description())))
