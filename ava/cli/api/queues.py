"""`ava queues …`: the operator's commands about queues, which call the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.options.connection import connected
from ava.cli.options.resources import Resource
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column, milliseconds
from ava.domain.counts import MAX_COUNTED_OF_WORKER, counted

if TYPE_CHECKING:
    from ava.client import Client, QueueCount


def _queued(count: QueueCount, number: int) -> int | str:
    # Urgent jobs are counted among the first 10,000 queued ones.
    return counted(number, is_exact=count.queued < MAX_COUNTED_OF_WORKER)


_COLUMNS = (
    Column(title="QUEUE", value=lambda queue: queue.queue, min_width=12),
    Column(title="QUEUED", value=lambda queue: queue.queued),
    Column(title="RUNNING", value=lambda queue: queue.running),
    Column(title="WAITING", value=lambda queue: queue.waiting),
    Column(title="OLDEST", value=lambda queue: _seconds(queue.oldest_seconds)),
    Column(
        title="PAUSED", value=lambda queue: queue.paused and printing.describe_pause(queue.paused), is_optional=True
    ),
)
_WORKER_COLUMNS = (
    Column(title="WORKER", value=lambda count: count.worker_id, min_width=20),
    Column(title="QUEUED", value=lambda count: _queued(count, count.queued)),
    Column(title="URGENT", value=lambda count: _queued(count, count.high_priority)),
    Column(title="RUNNING", value=lambda count: counted(count.running, is_exact=count.running < MAX_COUNTED_OF_WORKER)),
)


def _seconds(seconds: float | None) -> str | None:
    return None if seconds is None else milliseconds(seconds * 1000)


_queues = Resource(
    name="queues",
    help="Count waiting and running jobs; pause and resume queues.",
    noun="queue",
    example="default --role platform-admin",
    columns=_COLUMNS,
)
_queues.add_pauses(
    pause="Pause queues: their jobs wait. Requires a platform role.", resume="Resume queues. Requires a platform role."
)
queues = _queues.group


@queues.command("list")
@click.option("--paused/--not-paused", default=None, help="Only paused queues, or others.")
@click.option("--workers", is_flag=True, help="Only the numbers of jobs by worker.")
@output_options
@connected
def list_queues(client: Client, printer: RecordPrinter, paused: bool | None, workers: bool) -> None:
    """List the queues with the tenant's own jobs. OLDEST is the waiting time of the oldest startable job.

    A table also has the jobs by worker, each counted up to 10,000. Urgent ones have priority 1 to 3.

    \b
    ava queues list
    """
    found = client.queues.counts(paused=paused)
    if not workers:
        printer.records(found.queues, _COLUMNS, empty="No worker uses a queue.")
    if workers or printer.is_for_people:
        if not workers:
            click.echo()
        printer.records(found.by_worker, _WORKER_COLUMNS, empty="No job is queued or running.")
