"""`ava queues …`: the operator's commands about queues, which call the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.options.connection import connected
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.domain.counts import MAX_COUNTED_OF_WORKER, counted

if TYPE_CHECKING:
    from ava.client import Client, PausedQueue, QueueCount


def _queued(count: QueueCount, number: int) -> int | str:
    # Urgent jobs are counted among the first 10,000 queued ones.
    return counted(number, is_exact=count.queued < MAX_COUNTED_OF_WORKER)


_COLUMNS = (
    Column(title="WORKER", value=lambda count: count.worker_id, min_width=20),
    Column(title="QUEUED", value=lambda count: _queued(count, count.queued)),
    Column(title="URGENT", value=lambda count: _queued(count, count.high_priority)),
    Column(title="RUNNING", value=lambda count: counted(count.running, is_exact=count.running < MAX_COUNTED_OF_WORKER)),
)


@click.group()
def queues() -> None:
    """Count waiting and running jobs; pause and resume a queue."""


@queues.command("list")
@output_options
@connected
def list_queues(client: Client, printer: RecordPrinter) -> None:
    """Count the tenant's queued and running jobs by worker. Urgent ones have priority 1 to 3.

    The jobs of each worker are counted up to 10,000.

    \b
    ava queues list
    """
    found = client.queues.counts()
    printer.records(found.by_worker, _COLUMNS, empty="No job is queued or running.")
    for paused in found.paused_queues:
        printing.print_text(_paused(paused), is_error=True)


@queues.command()
@click.argument("queue")
@connected
def pause(client: Client, queue: str) -> None:
    """Pause a queue: its jobs wait. Requires a platform role.

    \b
    ava queues pause default --role platform-admin
    """
    printing.print_text(_paused(client.queues.pause(queue)))


@queues.command()
@click.argument("queue")
@connected
def resume(client: Client, queue: str) -> None:
    """Resume a queue. Requires a platform role.

    \b
    ava queues resume default --role platform-admin
    """
    was_paused = client.queues.resume(queue)
    printing.print_text(f"queue {queue}: {'resumed' if was_paused else 'was not paused'}")


def _paused(paused: PausedQueue) -> str:
    return f"queue {paused.queue}: paused by {paused.paused_by or 'the platform'} since {paused.paused_at:%F %T} UTC"
