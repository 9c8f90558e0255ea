"""`ava queues …`: the operator's commands about queues, which call the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.connection import connected
from ava.cli.output import RecordPrinter, output_options
from ava.cli.tables import Column

if TYPE_CHECKING:
    from ava.client import Client

__all__ = ["queues"]

_COLUMNS = (
    Column(title="WORKER", value=lambda count: count.worker_id, least=20),
    Column(title="QUEUED", value=lambda count: count.queued),
    Column(title="URGENT", value=lambda count: count.high_priority),
    Column(title="RUNNING", value=lambda count: count.running),
)


@click.group()
def queues() -> None:
    """Count the jobs that wait and run."""


@queues.command("list")
@output_options
@connected
def list_queues(client: Client, printer: RecordPrinter) -> None:
    """Count the tenant's queued and running jobs by worker. Urgent ones have priority 1 to 3."""
    printer.records(client.queues().by_worker, _COLUMNS, empty="No job is queued or running.")
