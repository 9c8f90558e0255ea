"""The input and the keys of a job on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def read_input(text: str) -> dict[str, Any]:
    """Return the object that `--input` means: JSON, `@FILE`, or `-`. Raises `click.BadParameter` for other values."""
    value = read_json(text)
    if not isinstance(value, dict):
        raise click.BadParameter("it must be a JSON object.", param_hint="--input")
    return value


def read_json(text: str) -> Any:
    """Return the value that an option means: JSON, `@FILE`, or `-` (stdin). Raises `click.BadParameter`."""
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except OSError as problem:
            raise click.BadParameter(f"{text[1:]} cannot be read: {problem.strerror}.", param_hint="--input") from None
    try:
        return json.loads(text)
    except ValueError as problem:
        raise click.BadParameter(f"it is not JSON: {problem}.", param_hint="--input") from None


_RULES = (
    click.option("--dedupe", help="Deduplication key: at most one unfinished job per worker and key."),
    click.option(
        "--dedupe-mode",
        type=click.Choice(["return", "replace", "refuse"]),
        help="If such a job exists: return it, replace it while it is queued, or fail.  [default: return]",
    ),
    click.option("--debounce", help="Debounce key: a burst of triggers with this key starts one job."),
    click.option("--debounce-seconds", type=click.IntRange(1), help="Seconds from the last trigger to the start."),
    click.option("--debounce-max", type=click.IntRange(1), help="Max seconds from the first trigger to the start."),
    click.option(
        "--debounce-keep", type=click.Choice(["first", "last"]), help="Which trigger's input to use.  [default: last]"
    ),
)


def key_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the key options that several triggers share."""
    for option in reversed(_RULES):
        command = option(command)
    return command


def take_keys(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the key options from `options` and return them in the client's form. Raises `UsageError`."""
    dedupe = {"key": options.pop("dedupe"), "mode": options.pop("dedupe_mode")}
    debounce = {"key": options.pop("debounce"), "seconds": options.pop("debounce_seconds")}
    debounce |= {"max_seconds": options.pop("debounce_max"), "keep": options.pop("debounce_keep")}
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
