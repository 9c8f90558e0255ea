"""`ava limits`: the limits of the installation, and what the tenant uses of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.connection import connected
from ava.cli.output import RecordPrinter, output_options
from ava.cli.tables import Column

if TYPE_CHECKING:
    from ava.client import Client, Limit

__all__ = ["limits"]


def _used(limit: Limit) -> str | None:
    if limit.used is None:
        return None
    return f"{'' if limit.used_is_exact else '> '}{limit.used:,}"


_COLUMNS = (
    Column(title="LIMIT", value=lambda limit: limit.name, least=20),
    Column(title="VALUE", value=lambda limit: limit.value),
    Column(title="UNIT", value=lambda limit: limit.unit, least=8),
    Column(title="USED", value=_used),
    Column(title="ERROR", value=lambda limit: limit.status, is_wide=True),
    Column(title="SETTING", value=lambda limit: limit.setting, least=10),
    Column(title="MEANING", value=lambda limit: limit.meaning, is_wide=True),
)


@click.command()
@output_options
@connected
def limits(client: Client, printer: RecordPrinter) -> None:
    """Show each limit, and what the tenant uses of it."""
    printer.records(client.limits(), _COLUMNS)
