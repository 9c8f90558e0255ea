"""`ava audit …`: the audit trail, read through the public API."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.connection import connected
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column

if TYPE_CHECKING:
    from ava.client import Client

_COLUMNS = (
    Column(title="AT", value=lambda entry: entry.at),
    Column(title="USER", value=lambda entry: entry.user_id, min_width=10),
    Column(title="KEY", value=lambda entry: entry.key_id, is_wide=True),
    Column(title="ROLE", value=lambda entry: entry.role, is_wide=True),
    Column(title="ACTION", value=lambda entry: entry.action, min_width=12),
    Column(title="TARGET", value=lambda entry: entry.target, min_width=12),
    Column(title="STATUS", value=lambda entry: entry.status),
    Column(title="TIMES", value=lambda entry: entry.occurrences, is_optional=True),
    Column(title="ADDRESS", value=lambda entry: entry.address, is_wide=True),
    Column(title="REQUEST", value=lambda entry: entry.request_id, is_wide=True),
)


@click.group()
def audit() -> None:
    """Read the audit trail."""


@audit.command("list")
@click.option("--action", help="Only this action, as in jobs.cancel.")
@click.option("--by", "user_id", help="Only requests of this user.")
@click.option("--target", help="Only changes of the record with this id.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="The most entries to print.")
@output_options
@connected
def list_entries(client: Client, limit: int, printer: RecordPrinter, **filters: Any) -> None:
    """List who changed what, newest first; refused requests are listed too."""
    found = islice(client.audit(per_page=min(limit, 100), **filters), limit)
    printer.records(found, _COLUMNS, empty="No entries match.")
