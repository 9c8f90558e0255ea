"""The input and the keys of a job on the command line, `--set account.id=17`, completed from the worker's schema."""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import Pair, complete_from_api
from ava.domain.schema_costs import referenced

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _Json(click.ParamType[Any]):
    """A JSON value: the value itself, `@FILE`, or `-` for standard input."""

    name = "json"

    def __init__(self, *, is_object: bool) -> None:
        self._is_object = is_object

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value. Fails for a string that is not JSON, and for other values if an object is required."""
        # Shell completion reads no file and no standard input.
        if not isinstance(value, str) or (ctx and ctx.resilient_parsing):
            return value
        try:
            found = json.loads(_read_source(value))
        except OSError as problem:
            self.fail(f"{value[1:]} cannot be read: {problem.strerror}.", param, ctx)
        except ValueError as problem:
            self.fail(f"it is not JSON: {problem}.", param, ctx)
        if self._is_object and not isinstance(found, dict):
            self.fail("it must be a JSON object.", param, ctx)
        return found


def _read_source(value: str) -> str:
    if value == "-":
        return sys.stdin.read()
    return Path(value[1:]).read_text() if value.startswith("@") else value


JSON_VALUE, JSON_OBJECT = _Json(is_object=False), _Json(is_object=True)


class RuleType(click.ParamType[dict[str, Any]]):
    """A rule: the name of an event, or a JSON object with its conditions."""

    name = "rule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Return the rule as the API takes it."""
        if not isinstance(value, str) or value.startswith("{"):
            return dict(JSON_OBJECT.convert(value, param, ctx))
        return {"event": value}


_DEEPEST = 4
_MAX_VALUES = 50
#: Strings that a shell neither executes nor splits.
_SAFE = re.compile(r"[\w.=+:/@-]+")


class _InputValue(Pair):
    """A value of the input; the shell offers values from the worker's schema."""

    def shell_complete(self, ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the completions that begin with the typed word; none if the API does not respond."""
        # click does not assign arguments to parameters if an option has no value yet.
        worker_id = ctx.params.get("worker_id") or next(iter(ctx.args), None)
        if not worker_id:
            return []
        return complete_from_api(
            ctx, incomplete, lambda client: schema_paths(client.workers.get(worker_id).input_schema)
        )


INPUT_VALUE = _InputValue("path=value", "account.id=17")


def with_values(given: dict[str, Any], values: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return an input with more values, each JSON or else a string. Raises `click.BadParameter` for an invalid path."""
    result = copy.deepcopy(given)
    for path, string in values:
        *outer, last = path.split(".")
        inner = result
        for key in outer:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise click.BadParameter(f"{path}: {key} is not an object.", param_hint="--set")
        try:
            inner[last] = json.loads(string)
        except ValueError:
            inner[last] = string
    return result


def schema_paths(schema: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Yield the completions of a value, `channel=ops` or `account.id=`, each with its description."""
    for path, meaning in _inner(schema or {}, schema or {}, "", 0):
        if _SAFE.fullmatch(path):
            yield path, meaning


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
    """Return a part of a schema, after following its reference to a definition in the same schema."""
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
