"""`ava dashboard`: a link that signs in to the dashboard once. `ava sessions …`: the dashboard's sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.api.factory import Send, command
from ava.cli.options.connection import connected
from ava.cli.screen import printing
from ava.cli.screen.terminal import confirm, yes_option

if TYPE_CHECKING:
    from ava.client import Client
    from ava.local.system import System


@click.command()
@connected
def dashboard(client: Client) -> None:
    """Print a link that signs in to the dashboard, once and within 10 minutes.

    \b
    ava dashboard
    """
    printing.print_plain(client.sessions.create_link())


@command("sessions.end", yes_option)
def delete(_: Client, send: Send, yes: bool) -> None:
    confirm("End all sessions of your user?", yes=yes)
    printing.print_plain(f"sessions ended: {send()}")


def print_ready(system: System) -> None:
    """Print that a system on this machine is ready, and how to open its dashboard.

    The link signs in with the most powerful role. It is printed only to a terminal, because other outputs may be
    stored.
    """
    from ava.cli.screen.terminal import is_terminal
    from ava.client import Client
    from ava.local import example

    _print_paragraph(f"AVA ready: {system.url}", is_first=True)
    if not is_terminal():
        _print_paragraph(f"Dashboard: {system.url}/ (`ava dashboard` prints a link that signs in)")
        return
    who = example.headers(system.secret)
    with Client(
        system.url, secret=system.secret, tenant=who["x-tenant-id"], user=who["x-user-id"], role="platform-system-admin"
    ) as client:
        _print_paragraph("Dashboard, signed in (once, within 10 minutes):")
        _print_paragraph(client.sessions.create_link())


def _print_paragraph(paragraph: str, *, is_first: bool = False) -> None:
    if is_first:
        click.echo()
    printing.print_plain(paragraph)
    click.echo()
