"""`ava queues …`: the operator's commands about queues, which call the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ava.cli.options.connection import connected
from ava.cli.options.resources import Resource
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.domain.counts import MAX_COUNTED_OF_WORKER, counted

if TYPE_CHECKING:
    from ava.client import Client, QueueCount


def _queued(count: QueueCount, number: int) -> int | str:
    # Urgent jobs are counted among the first 10,000 queued ones.
    return counted(number, is_exact=count.queued < MAX_COUNTED_OF_WORKER)


_COLUMNS = (
    Column(title="WORKER", value=lambda count: count.worker_id, min_width=20),
    Column(title="QUEUED", value=lambda count: _queued(count, count.queued)),
    Column(title="URGENT", value=lambda count: _queued(count, count.high_priority)),
    Column(title="RUNNING", value=lambda count: counted(count.running, is_exact=count.running < MAX_COUNTED_OF_WORKER)),
)


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
    for queue in found.queues:
        if queue.paused is not None:
            printing.print_text(f"queue {queue.queue}: paused {printing.pause_text(queue.paused)}", is_error=True)
