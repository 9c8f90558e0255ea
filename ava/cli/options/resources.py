"""Options that commands share: limits, changes, time ranges and secrets."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ava.cli.options.arguments import PAST_FORM, PAST_TIMESTAMP

Decorator = Callable[[Any], Any]


def limit_option(default: int | None = 20) -> Decorator:
    """Return the option with the max number of records to print; None: all."""
    return click.option(
        "--limit", type=click.IntRange(1), default=default, show_default=True, help="Max number to print."
    )


def with_options(*options: Decorator) -> Decorator:
    """Return a decorator that adds options or arguments to a command, in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


#: The options of a list with a time range.
time_range_options = with_options(
    click.option("--since", type=PAST_TIMESTAMP, help=f"Only records of that time or later: {PAST_FORM}."),
    click.option("--until", type=PAST_TIMESTAMP, help="Only records before that time."),
)


def read_secret(path: str | None, *, prompt: str = "Secret", option: str = "--secret-file") -> str:
    """Return the secret from a file or `-` (stdin), or ask the user for it. Raises `click.BadParameter`."""
    if path is None:
        return str(click.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True))
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text()).strip()
    except (OSError, UnicodeDecodeError):
        raise click.BadParameter(f"{path} cannot be read.", param_hint=option) from None


class _Setting(click.Choice[str]):
    """The name of an option, which may be written with underscores, as `show` prints it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(str(value).replace("_", "-"), param, ctx)


def unset_option(*names: str) -> Decorator:
    """Return the option `--unset NAME`, which takes the names of the command's options."""
    return click.option(
        "--unset",
        multiple=True,
        type=_Setting(names),
        metavar="NAME",
        help=f"Clear a setting: {', '.join(names)}; repeatable.",
    )


def changed_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a command's options change; a field that `--unset` names is None.

    Raises `UsageError` if nothing is to change, or a setting is given and cleared.
    """
    fields = {each.opts[0].removeprefix("--"): each.name for each in click.get_current_context().command.params}
    cleared = {str(fields[name]): name for name in given.pop("unset", ())}
    changes = {name: value for name, value in given.items() if value is not None and value != ()}
    if both := next((name for field, name in cleared.items() if field in changes), None):
        raise click.UsageError(f"Give either --{both} or --unset {both}.")
    if not changes and not cleared:
        raise click.UsageError("Nothing to change: give at least one option; see --help.")
    return changes | dict.fromkeys(cleared)
