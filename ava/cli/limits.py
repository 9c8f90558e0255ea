"""`ava limits`: the limits of the installation, and what the tenant uses of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli import printing
from ava.cli.connection import connected

if TYPE_CHECKING:
    from ava.client import Client, Limit

__all__ = ["limits"]


@click.command()
@click.option("--json", "is_json", is_flag=True, help="Print JSON on a terminal too.")
@connected
def limits(client: Client, is_json: bool) -> None:
    """Show each limit, and what the tenant uses of it."""
    found = client.limits()
    if printing.for_people(is_json):
        printing.print_table(("LIMIT", "VALUE", "UNIT", "USED", "ERROR", "SETTING"), map(_row, found))
    else:
        for limit in found:
            printing.print_json(limit)


def _row(limit: Limit) -> tuple[str, ...]:
    used = "-" if limit.used is None else f"{'' if limit.used_is_exact else '> '}{limit.used:,}"
    value = "none" if limit.value is None else f"{limit.value:,}"
    return limit.name, value, limit.unit, used, str(limit.status or "-"), limit.setting or "-"
