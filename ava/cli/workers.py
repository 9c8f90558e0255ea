"""`ava workers …`: the operator's commands about workers, which call the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.arguments import WORKER_ID
from ava.cli.connection import connected
from ava.cli.output import RecordPrinter, output_options
from ava.cli.tables import Column

if TYPE_CHECKING:
    from ava.client import Client

__all__ = ["workers"]

_COLUMNS = (
    Column(title="ID", value=lambda worker: worker.id, least=16),
    Column(title="NAME", value=lambda worker: worker.name, least=12),
    Column(title="STATUS", value=lambda worker: worker.status),
    Column(title="LIVE", value=lambda worker: worker.live),
    Column(title="QUEUE", value=lambda worker: worker.queue, least=8),
    Column(title="TIMEOUT", value=lambda worker: f"{worker.timeout_seconds:g} s"),
    Column(title="RETRIES", value=lambda worker: worker.max_retries, is_wide=True),
    Column(title="UPDATED", value=lambda worker: worker.updated_at, is_wide=True),
)


@click.group()
def workers() -> None:
    """List workers."""


@workers.command("list")
@output_options
@connected
def list_workers(client: Client, printer: RecordPrinter) -> None:
    """List workers."""
    printer.records(client.workers(), _COLUMNS, empty="No workers: no node has announced a handler yet.")


@workers.command()
@click.argument("worker_id", type=WORKER_ID)
@output_options
@connected
def show(client: Client, worker_id: str, printer: RecordPrinter) -> None:
    """Show a worker."""
    printer.record(client.worker(worker_id))
