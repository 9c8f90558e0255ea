"""The forms that all operations share: defaults, enumerations, durations and names, from the OpenAPI description."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import click
import pytest

import ava
from ava.cli.apply.file import SECTIONS
from ava.cli.main import cli
from harness.system import ROOT
from tools.openapi import description

_UNIT = re.compile(r"_(seconds|ms|days)$")
#: Names of durations that contain no unit: fields of the platform's page, and plain names of units.
_PLAIN = {"seconds", "wait", "days"}
_SPAN = re.compile(r"\b(seconds|milliseconds|minutes|hours|days|durations?|delays?|timeout)\b", re.IGNORECASE)
#: Numbers that are no durations although their descriptions mention one.
_COUNTS = {"factor", "jitter", "more", "more_count"}
_COUNT_OPTIONS = {"max_retries", "max_running", "max_memory_mb", "factor", "jitter", "max"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return description()


def schemas_in(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of a part of the description with its path, without examples."""
    if isinstance(node, dict):
        yield path, node
        for name, inner in node.items():
            if name != "example":
                yield from schemas_in(inner, f"{path}/{name}")
    elif isinstance(node, list):
        for number, inner in enumerate(node):
            yield from schemas_in(inner, f"{path}/{number}")


def _with_references(parts: Any, schemas: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of some parts and of the schemas that they refer to."""
    waiting, seen = [("", parts)], set()
    while waiting:
        for path, found in schemas_in(waiting[0][1], waiting.pop(0)[0]):
            yield path, found
            name = str(found.get("$ref", "")).rpartition("/")[2]
            if name in schemas and name not in seen:
                seen.add(name)
                waiting.append((name, schemas[name]))


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    paths = document["paths"].items()
    return [(method, path, operation) for path, methods in paths for method, operation in methods.items()]


def _requests(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    parts = [
        [operation.get("parameters", []), operation.get("requestBody", {})] for _, _, operation in _operations(document)
    ]
    return _with_references(parts, document["components"]["schemas"])


def _responses(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    parts = [[operation["responses"] for _, _, operation in _operations(document)], document["components"]["responses"]]
    return _with_references(parts, document["components"]["schemas"])


def test_no_schema_has_a_default_because_a_generated_client_would_require_its_field(document: dict[str, Any]) -> None:
    found = [path for path, schema in _requests(document) if "default" in schema and "type" in schema]
    assert found == []
    priority = document["components"]["schemas"]["TriggerBody"]["properties"]["priority"]
    assert priority["description"].endswith("Default: 5.")


def test_the_enumerations_of_responses_are_open_and_those_of_requests_are_closed(document: dict[str, Any]) -> None:
    assert [path for path, schema in _responses(document) if "enum" in schema] == []
    known = [schema for _, schema in _responses(document) if "x-known-values" in schema]
    assert ["queued", "running", "completed", "failed", "cancelled"] in [each["x-known-values"] for each in known]
    for schema in known:
        assert "string" in schema["type"]
        assert all(f"`{value}`" in schema["description"] for value in schema["x-known-values"]), schema
    sent = [schema for _, schema in _requests(document)]
    assert [schema for schema in sent if "x-known-values" in schema] == []
    assert ["manual", "scheduled", "webhook", "event"] in [schema.get("enum") for schema in sent]


def _numbers(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and description of each number in a body, record or query; of a list, its entries count."""
    for _, schema in schemas_in(document):
        named = [*schema.get("properties", {}).items()] if isinstance(schema.get("properties"), dict) else []
        if schema.get("in") == "query":
            named.append((schema["name"], schema["schema"] | {"description": schema.get("description", "")}))
        for name, each in named:
            if isinstance(each, dict) and {"integer", "number"} & _types(each):
                yield name, each.get("description", "")


def _types(schema: dict[str, Any]) -> set[str]:
    types = schema.get("type", ())
    if "array" in types and "items" in schema:
        return _types(schema["items"])
    return {types} if isinstance(types, str) else set(types)


def test_each_duration_names_its_unit(document: dict[str, Any]) -> None:
    numbers = set(_numbers(document))
    assert {"delays_seconds", "expires_in_seconds", "retry_later_seconds", "duration_ms"} <= {
        name for name, _ in numbers
    }
    without = {name for name, description in numbers if _SPAN.search(description) and not _UNIT.search(name)}
    assert without - _PLAIN - _COUNTS == set()


def test_each_duration_of_a_handler_a_file_and_a_command_names_its_unit(document: dict[str, Any]) -> None:
    options = inspect.signature(ava.worker).parameters
    numeric = {name for name, each in options.items() if re.search(r"\b(int|float)\b", str(each.annotation))}
    numeric |= {each.name for each in fields(ava.Retry) if each.type not in ("str", "bool")}
    assert {name for name in numeric if not _UNIT.search(name)} <= _COUNT_OPTIONS
    known = {name for _, schema in schemas_in(document) for name in schema.get("properties", ())}
    assert {name for section in SECTIONS.values() for name in section.fields} <= known
    spans = [option for option in _cli_options(cli) if _is_number(option) and _SPAN.search(option.help or "")]
    names = {str(option.name) for option in spans}
    assert "expires_in_seconds" in names
    assert {name for name in names if not _UNIT.search(name)} - _PLAIN == set()


def _cli_options(command: click.Command) -> Iterator[click.Option]:
    yield from (each for each in command.params if isinstance(each, click.Option))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for found in (command.get_command(context, name) for name in command.list_commands(context)):
            assert found is not None
            yield from _cli_options(found)


def _is_number(option: click.Option) -> bool:
    return isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)


def test_each_operation_has_an_id_of_a_verb_and_a_noun(document: dict[str, Any]) -> None:
    ids = Counter(operation["operationId"] for _, _, operation in _operations(document))
    assert [each for each, count in ids.items() if count > 1 or not re.fullmatch(r"[a-z]+(_[a-z]+){1,4}", each)] == []
    assert {"trigger_job", "list_jobs", "show_job", "update_job", "cancel_job", "create_webhook"} <= ids.keys()
    verbs = {"get": ("list", "show", "count", "explain", "follow", "download", "export"), "patch": ("update", "switch")}
    for method, path, operation in _operations(document):
        verb = operation["operationId"].partition("_")[0]
        assert verb in verbs.get(method, (verb,)), (method, path, verb)


def test_the_typescript_client_sends_each_parameter_that_is_no_filter_by_its_name(document: dict[str, Any]) -> None:
    source = (ROOT / "clients/typescript/src/wire.ts").read_text()
    (plain,) = re.findall(r"const PLAIN = new Set\(\[(.*?)\]\)", source, re.DOTALL)
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    queries = [each["name"] for call in operations for each in call.get("parameters", ()) if each["in"] == "query"]
    assert set(re.findall(r'"(\w+)"', plain)) == {name for name in queries if not name.startswith("filter[")}
