"""The input and the keys of a job on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ava.cli.options.resources import with_options


class _Json(click.ParamType[Any]):
    """A JSON value: its text, `@FILE`, or `-` for standard input."""

    name = "json"

    def __init__(self, *, is_object: bool) -> None:
        self._is_object = is_object

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value. Fails for text that is not JSON, and for other values if an object is required."""
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


#: The approval of a trigger, a schedule or a worker.
approval_option = click.option(
    "--approval",
    type=JSON_OBJECT,
    help='The decision that jobs need before they start, as JSON such as {"title": …, "when": …}; or @FILE, or -.',
)

#: The key options that several triggers share.
key_options = with_options(
    click.option("--dedupe", help="Deduplication key: at most one unfinished job per worker and key."),
    click.option(
        "--dedupe-mode",
        type=click.Choice(["return", "replace", "refuse"]),
        help="If such a job exists: return it, replace it while it is queued, or fail.  [default: return]",
    ),
    click.option("--debounce", help="Debounce key: a burst of triggers with this key starts one job."),
    click.option("--debounce-seconds", type=click.IntRange(1), help="Seconds from the last trigger to the start."),
    click.option(
        "--debounce-max-seconds", type=click.IntRange(1), help="Max seconds from the first trigger to the start."
    ),
    click.option(
        "--debounce-keep", type=click.Choice(["first", "last"]), help="Which trigger's input to use.  [default: last]"
    ),
)


def take_keys(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the key options from `options` and return them in the client's form. Raises `UsageError`."""
    dedupe = {"key": options.pop("dedupe"), "mode": options.pop("dedupe_mode")}
    debounce = {"key": options.pop("debounce"), "seconds": options.pop("debounce_seconds")}
    debounce |= {"max_seconds": options.pop("debounce_max_seconds"), "keep": options.pop("debounce_keep")}
    if debounce["key"] is not None and debounce["seconds"] is None:
        raise click.UsageError("--debounce needs --debounce-seconds.")
    found: dict[str, Any] = {}
    for name, rule in (("dedupe", dedupe), ("debounce", debounce)):
        given = {field: value for field, value in rule.items() if value is not None}
        if given and "key" not in given:
            raise click.UsageError(f"The options --{name}-… need --{name} KEY.")
        if given:
            found[name] = given
    return found
