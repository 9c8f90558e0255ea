"""`ava errors …`: commands about the errors of failed jobs, which call the public API."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from ava.cli.options.connection import connected
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column, ago

if TYPE_CHECKING:
    from ava.client import Client

_COLUMNS = (
    Column(title="ID", value=lambda group: group.id),
    Column(title="WORKER", value=lambda group: group.worker_id, min_width=8),
    Column(title="JOBS", value=lambda group: group.count),
    Column(title="LAST", value=lambda group: ago(group.last_seen_at)),
    Column(title="ERROR", value=lambda group: f"{group.kind}: {group.message}", min_width=8, may_be_below=True),
    Column(title="STATUS", value=lambda group: group.status, is_wide=True),
    Column(title="FIRST SEEN", value=lambda group: group.first_seen_at, is_wide=True),
    Column(title="LAST SEEN", value=lambda group: group.last_seen_at, is_wide=True),
    Column(title="LAST JOB", value=lambda group: group.sample_job_id, is_wide=True),
)
_days = click.option("--days", type=click.IntRange(1, 90), default=30, show_default=True, help="The period in days.")


@click.group()
def errors() -> None:
    """List the errors of failed jobs; resolve, ignore, reopen and retry them."""


@errors.command("list")
@click.option("--worker", "worker_id", help="Only errors of this worker.")
@click.option("--status", type=click.Choice(["open", "resolved", "ignored"]), help="Only errors of this status.")
@_days
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Max errors to print.")
@output_options
@connected
def list_errors(
    client: Client, worker_id: str | None, status: str | None, days: int, limit: int, printer: RecordPrinter
) -> None:
    """List groups of failed jobs, the latest seen first."""
    found = client.errors.list(days, worker_id=worker_id, status=status, per_page=min(limit, 100))
    printer.records(islice(found, limit), _COLUMNS, empty="No errors match.")


@errors.command()
@click.argument("error_id")
@_days
@output_options
@connected
def show(client: Client, error_id: str, days: int, printer: RecordPrinter) -> None:
    """Show an error."""
    printer.record(client.errors.get(error_id, days))


@errors.command()
@click.argument("error_ids", nargs=-1, required=True)
@output_options
@connected
def resolve(client: Client, error_ids: tuple[str, ...], printer: RecordPrinter) -> None:
    """Resolve errors. They reopen when another job fails with the same error."""
    for error_id in error_ids:
        printer.record(client.errors.resolve(error_id))


@errors.command()
@click.argument("error_id")
@output_options
@connected
def retry(client: Client, error_id: str, printer: RecordPrinter) -> None:
    """Trigger a new job for each failed job of an error. `ava operations show` follows it."""
    printer.record(client.errors.retry(error_id))


@errors.command()
@click.argument("error_ids", nargs=-1, required=True)
@output_options
@connected
def ignore(client: Client, error_ids: tuple[str, ...], printer: RecordPrinter) -> None:
    """Ignore errors. Their jobs are still counted."""
    for error_id in error_ids:
        printer.record(client.errors.ignore(error_id))


@errors.command()
@click.argument("error_ids", nargs=-1, required=True)
@output_options
@connected
def reopen(client: Client, error_ids: tuple[str, ...], printer: RecordPrinter) -> None:
    """Reopen errors."""
    for error_id in error_ids:
        printer.record(client.errors.reopen(error_id))
