"""Values of a job's input on the command line, `--set account.id=17`, completed from the schema of the worker."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import Pair, complete_from_api
from ava.cli.options.schema_places import places

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _InputValue(Pair):
    """A value of the input; the shell offers what the schema of the worker has."""

    def shell_complete(self, ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Returns the places that begin with what is typed; none if the API cannot be asked."""
        # click does not assign arguments to parameters if an option has no value yet.
        worker_id = ctx.params.get("worker_id") or next(iter(ctx.args), None)
        if not worker_id:
            return []
        return complete_from_api(ctx, incomplete, lambda client: places(client.worker(worker_id).input_schema))


INPUT_VALUE = _InputValue("path=value", "account.id=17")


def with_values(given: dict[str, Any], values: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Returns an input with more values, which are JSON or else texts. Raises `click.BadParameter` for a wrong path."""
    result = copy.deepcopy(given)
    for path, text in values:
        *outer, last = path.split(".")
        inner = result
        for key in outer:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise click.BadParameter(f"{path}: {key} is not an object.", param_hint="--set")
        try:
            inner[last] = json.loads(text)
        except ValueError:
            inner[last] = text
    return result
