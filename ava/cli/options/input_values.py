"""Values of a job's input on the command line, `--set account.id=17`, completed from the worker's schema."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import Pair, complete_from_api
from ava.domain.schema_costs import referenced

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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
