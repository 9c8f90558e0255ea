"""`ava promotions`: promotions of a standby of PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.options.connection import connected
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column

if TYPE_CHECKING:
    from ava.client import Client

_COLUMNS = (
    Column(title="TIMELINE", value=lambda promotion: str(promotion.timeline)),
    Column(title="SEEN", value=lambda promotion: promotion.seen_at),
    Column(title="COMMITS LOST", value=lambda promotion: "yes" if promotion.lossy else "none seen"),
    Column(title="RUNS ASKED AGAIN", value=lambda promotion: f"{promotion.running:,}"),
)


@click.command()
@output_options
@connected
def promotions(client: Client, printer: RecordPrinter) -> None:
    """Show the newest promotions of a standby of PostgreSQL. Needs --role platform-admin.

    A promotion without lost commits may have lost some all the same, if no job was stored in the last moment.
    """
    printer.records(client.promotions(), _COLUMNS, empty="No standby was promoted.")
