"""`ava workers create|update`, `ava keys create`: settings that are several options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ava.cli.api.factory import Send, command
from ava.cli.options.resources import changed_fields
from ava.cli.screen.output import RecordPrinter

if TYPE_CHECKING:
    from ava.client import Client


@command(
    "workers.create",
    click.option("--max-retries", type=click.IntRange(0, 25), help="Retries after the first attempt.  [default: 0]"),
)
def create(_: Client, send: Send, printer: RecordPrinter, max_retries: int | None, **given: Any) -> None:
    retry = None if max_retries is None else {"max": max_retries}
    printer.record(send(**given, retry=retry))


@command("keys.create")
def create_key(_: Client, send: Send, printer: RecordPrinter, role_: str | None, **given: Any) -> None:
    printer.record(send(**given, role=role_ or ("worker" if given["workers"] else None)))


@command(
    "workers.update",
    click.option("--config", multiple=True, metavar="KEY=VALUE", help="Set the value that env[KEY] returns."),
    click.option("--unset-config", multiple=True, metavar="KEY", help="Delete an entry of the configuration."),
    click.option(
        "--secret", "secrets", multiple=True, metavar="NAME[=@FILE]", help="Set a secret; prompts for its value."
    ),
    click.option("--unset-secret", multiple=True, metavar="NAME", help="Delete a secret."),
    click.option(
        "--retry-delays-seconds", metavar="5,60", help="With --max-retries: delay before each; the last one repeats."
    ),
    without=("config", "secrets"),
    clears=("retry-delays-seconds",),
)
def update(_: Client, send: Send, printer: RecordPrinter, worker_id: str, **given: Any) -> None:
    maps = {
        "config": {**dict(map(_entry, given.pop("config"))), **dict.fromkeys(given.pop("unset_config"))},
        "secrets": {**dict(map(_secret, given.pop("secrets"))), **dict.fromkeys(given.pop("unset_secret"))},
    }
    changes = changed_fields(given | {name: entries or None for name, entries in maps.items()})
    if "retry_delays_seconds" in changes:
        delays = changes.pop("retry_delays_seconds")
        changes["retry"] = None if delays is None else _retry(changes.pop("max_retries", None), delays)
    printer.record(send(worker_id=worker_id, **changes))


def _retry(max_retries: int | None, delays: str) -> dict[str, Any]:
    if max_retries is None:
        raise click.UsageError("--retry-delays-seconds needs --max-retries.")
    try:
        return {"max": max_retries, "delays_seconds": [float(each) for each in delays.split(",")]}
    except ValueError:
        raise click.BadParameter("give seconds, such as 5,60,600.", param_hint="--retry-delays-seconds") from None


def _entry(pair: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not equals:
        raise click.BadParameter("give KEY=VALUE, such as region=eu.", param_hint="--config")
    return key, value


def _secret(pair: str) -> tuple[str, str]:
    """Return a secret's name and value. The value is never an argument, which other users could see."""
    name, equals, source = pair.partition("=")
    if not equals:
        return name, str(click.prompt(name, hide_input=True, err=True))
    if not source.startswith("@"):
        raise click.BadParameter("give NAME (the command prompts for its value) or NAME=@FILE.", param_hint="--secret")
    try:
        return name, Path(source[1:]).read_text().strip()
    except OSError as problem:
        raise click.BadParameter(f"{source[1:]} cannot be read: {problem.strerror}.", param_hint="--secret") from None
