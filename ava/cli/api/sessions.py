"""`ava sessions …`: the sessions of the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.options.connection import connected
from ava.cli.screen import printing

if TYPE_CHECKING:
    from ava.client import Client


@click.group()
def sessions() -> None:
    """End sessions of the dashboard."""


@sessions.command()
@connected
def end(client: Client) -> None:
    """End all sessions of your user in the tenant, and make its unused links invalid."""
    printing.print_text(f"sessions ended: {client.end_sessions()}")
