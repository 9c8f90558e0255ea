"""`ava nodes …`: the operator's commands about nodes, which call the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.options.connection import connected
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column

if TYPE_CHECKING:
    from ava.client import Client, Node

#: Polling interval for a draining node, in seconds.
_POLL_SECONDS = 1.0


def _memory(node: Node) -> str | None:
    return None if node.memory_bytes is None else f"{node.memory_bytes / 2**20:,.0f} MiB"


def _state(node: Node) -> str:
    """Return the node's state; for a live one also whether it refuses messages or is draining."""
    if node.state == "live" and node.refused_messages:
        return f"refuses messages ({', '.join(node.refused_messages)})"
    if node.drained_at is None or node.state != "live":
        return node.state
    return "draining" if node.busy else "drained"


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


@click.group()
def nodes() -> None:
    """List the nodes that run jobs; pause and resume them."""


@nodes.command("list")
@output_options
@connected
def list_nodes(client: Client, printer: RecordPrinter) -> None:
    """List the nodes, live ones first; ended ones are listed for an hour.

    \b
    ava nodes list --role platform-admin -o wide
    """
    printer.records(client.nodes.list(), _COLUMNS, empty="No nodes: start one with `ava start node`.")


@nodes.command()
@click.argument("node_id")
@click.option("--wait", "waits", is_flag=True, help="Wait until the node runs no job.")
@output_options
@connected
def pause(client: Client, printer: RecordPrinter, node_id: str, waits: bool) -> None:
    """Pause a node: it takes no new jobs and finishes the running ones. Requires --role platform-admin.

    The node stays paused until it is resumed or restarted. Stop it once it runs no job.

    \b
    ava nodes pause NODE --wait --role platform-admin
    """
    import time

    from ava.errors import CallFailed

    node = client.nodes.drain(node_id)
    while waits and (node.busy or node.queues):
        time.sleep(_POLL_SECONDS)
        found = next((each for each in client.nodes.list() if each.id == node_id), None)
        if found is None or found.state != "live":
            raise CallFailed(f"{node_id} ended before it was drained.")
        node = found
    printer.record(node)


@nodes.command()
@click.argument("node_id")
@output_options
@connected
def resume(client: Client, printer: RecordPrinter, node_id: str) -> None:
    """Let a paused node take jobs again. Requires --role platform-admin.

    \b
    ava nodes resume NODE --role platform-admin
    """
    printer.record(client.nodes.resume(node_id))
