"""`ava nodes …`, `ava queues …`: the operator's commands about nodes and queues, which call the public API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.connection import connected
from ava.cli.options.resources import Resource, reason_option
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column, milliseconds
from ava.domain.counts import MAX_COUNTED_OF_WORKER, counted
from ava.errors import CallFailed

if TYPE_CHECKING:
    from ava.client import Client, Node, QueueCount


#: Polling interval for a paused node, in seconds.
_POLL_SECONDS = 1.0


def _memory(node: Node) -> str | None:
    return None if node.memory_bytes is None else f"{node.memory_bytes / 2**20:,.0f} MiB"


def _state(node: Node) -> str:
    """Return the node's state; for a live one also whether it refuses messages or is paused."""
    if node.state == "live" and node.refused_messages:
        return f"refuses messages ({', '.join(node.refused_messages)})"
    return "paused" if node.paused and node.state == "live" else node.state


def _busy(node: Node) -> str:
    # A process that works on a group of short jobs has several of them.
    return f"{min(node.busy, node.processes)} of {node.processes}{' slots' if node.has_slots else ''}"


_COLUMNS = (
    Column(title="ID", value=lambda node: node.id, min_width=31),
    Column(title="STATE", value=_state),
    Column(title="BUSY", value=_busy),
    Column(title="QUEUES", value=lambda node: ", ".join(node.queues), min_width=8),
    Column(title="MEMORY", value=_memory, is_wide=True),
    Column(title="HOST", value=lambda node: node.host, is_wide=True),
    Column(title="PID", value=lambda node: str(node.pid), is_wide=True),
    Column(title="VERSION", value=lambda node: node.version, is_wide=True),
    Column(title="STARTED", value=lambda node: node.started_at, is_wide=True),
    Column(title="SEEN", value=lambda node: node.seen_at),
    Column(title="WORKERS", value=lambda node: ", ".join(node.workers), is_wide=True),
)


_nodes = Resource(
    name="nodes",
    help="List the nodes that run jobs; pause and resume them.",
    noun="node",
    example="node_01… --role platform-admin",
    columns=_COLUMNS,
)


def _pause(calls: Any, node_id: str, *, reason: str | None, waits: bool) -> Node:
    """Pause a node. With `waits`, return once it runs no job. Raises `CallFailed` if it ended before."""
    node: Node = calls.pause(node_id, reason=reason)
    while waits and (node.busy or node.queues):
        time.sleep(_POLL_SECONDS)
        found = next((each for each in calls.list() if each.id == node_id), None)
        if found is None or found.state != "live":
            raise CallFailed(f"{node_id} ended before its jobs.")
        node = found
    return node


_nodes.add_action(
    "pause",
    "Pause nodes: they take no new jobs and finish the running ones. Requires --role platform-admin.\n\n"
    "A node stays paused until it is resumed or restarted. Stop it once it runs no job.",
    reason_option,
    click.option("--wait", "waits", is_flag=True, help="Wait until the node runs no job."),
    act=_pause,
)
_nodes.add_action("resume", "Let paused nodes take jobs again. Requires --role platform-admin.")
nodes = _nodes.group


@nodes.command("list")
@click.option("--paused/--not-paused", default=None, help="Only paused nodes, or others.")
@output_options
@connected
def list_nodes(client: Client, printer: RecordPrinter, paused: bool | None) -> None:
    """List the nodes, live ones first; ended ones are listed for an hour.

    \b
    ava nodes list --role platform-admin -o wide
    """
    printer.records(client.nodes.list(paused=paused), _COLUMNS, empty="No nodes: start one with `ava start node`.")


def _queued(count: QueueCount, number: int) -> int | str:
    # Urgent jobs are counted among the first 10,000 queued ones.
    return counted(number, is_exact=count.queued < MAX_COUNTED_OF_WORKER)


_QUEUE_COLUMNS = (
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
    columns=_QUEUE_COLUMNS,
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
        printer.records(found.queues, _QUEUE_COLUMNS, empty="No worker uses a queue.")
    if workers or printer.is_for_people:
        if not workers:
            click.echo()
        printer.records(found.by_worker, _WORKER_COLUMNS, empty="No job is queued or running.")
