"""`ava apply`: show the difference between a file and the API's settings, then apply the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ava.cli.options.connection import connect, connected
from ava.cli.screen import printing
from ava.cli.screen.terminal import confirm, yes_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ava.cli.apply.plan import Change
    from ava.client import Client

_SIGNS = {"create": "+", "change": "~", "delete": "-"}
_COLOURS = {"create": "green", "change": "yellow", "delete": "red"}


@click.command()
@click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path),
    default="ava.yaml",
    show_default=True,
    help="The file to apply.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print the changes, and those that the API would refuse, without applying any."
)
@click.option("--prune", is_flag=True, help="Delete records that are missing from the sections in the file.")
@click.option("--secrets", "sends_secrets", is_flag=True, help="Also send secrets that are already set.")
@yes_option
@connected
def apply(client: Client, path: Path, *, dry_run: bool, prune: bool, sends_secrets: bool, yes: bool) -> None:
    """Apply a file of limits, workers' settings, schedules, subscriptions, hooks and webhooks.

    Entries that a section does not name stay unchanged, and so do fields that an entry omits.

    \b
    ava apply -f ava.yaml --dry-run
    """
    from ava.cli.apply import calls, file
    from ava.cli.apply.plan import plan
    from ava.errors import CallFailed

    wanted = file.read(path)
    try:
        changes = plan(wanted, calls.find(client, wanted), prunes=prune, sends_secrets=sends_secrets)
    except ValueError as error:
        raise CallFailed(f"{error}.") from error
    for change in changes:
        _show(change)
    if not changes:
        printing.print_plain("Nothing to apply: the file and the API agree.")
    if dry_run:
        _check(changes)
    if dry_run or not changes:
        return
    # Read all of them before the first call, so that a missing variable leaves nothing half done.
    bodies = [calls.with_secrets(change) for change in changes]
    question = f"Apply {len(changes)} change{'' if len(changes) == 1 else 's'}?"
    confirm(question, yes=yes, instead=", or --dry-run to print the changes")
    _perform_all(client, changes, bodies)
    printing.print_plain(f"Applied {len(changes)}.")


def _perform_all(client: Client, changes: Sequence[Change], bodies: Sequence[dict[str, object]]) -> None:
    """Make the changes in order. If one fails, print the completed ones and raise `CallFailed`."""
    from ava.errors import CallFailed

    for done, (change, body) in enumerate(zip(changes, bodies, strict=True)):
        try:
            _perform(client, change, body)
        except CallFailed as error:
            _print_done(changes[:done], changes[done:])
            raise CallFailed(f"{error} {done} of {len(changes)} changes are applied.") from error


def _check(changes: Sequence[Change]) -> None:
    """Print the changes that the API would refuse. Raises `CallFailed` if there are any."""
    from ava.cli.apply import calls
    from ava.errors import CallFailed

    with connect(click.get_current_context(), dry_run=True) as client:
        refusals = calls.refusals(client, changes)
    for refusal in refusals:
        printing.print_plain(refusal, is_error=True)
    if refusals:
        raise CallFailed(f"The API would refuse {len(refusals)} of {len(changes)} changes.")


def _print_done(done: Sequence[Change], left: Sequence[Change]) -> None:
    """Print which changes were applied and which were not, after a failure."""
    for title, changes in (("Applied:", done), ("Not applied; remove the cause and repeat the command:", left)):
        if changes:
            printing.print_plain(title)
        for change in changes:
            printing.print_plain(f"    {_name(change)}", colour=_COLOURS[change.verb])


def _perform(client: Client, change: Change, body: dict[str, object]) -> None:
    from ava.cli.apply import calls

    made = calls.perform(client, change, body)
    if change.section == "hooks" and change.verb == "create":
        # Only this response contains them.
        printing.print_plain(f"hooks.{change.name}: {made.url}")
        if made.secret:
            printing.print_plain(f"hooks.{change.name}: secret {made.secret}")


def _show(change: Change) -> None:
    printing.print_plain(_name(change), colour=_COLOURS[change.verb])
    for name, (old, new) in change.differences.items():
        before = "" if change.verb == "create" else f"{_shown(old)} → "
        printing.print_plain(f"    {name}: {before}{_shown(new)}")


def _name(change: Change) -> str:
    return f"{_SIGNS[change.verb]} {change.section}.{change.name}"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else printing.as_json(value)
