"""`ava nodes …`: the operator's commands about nodes, which call the public API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.connection import connected
from ava.cli.options.resources import Resource, reason_option
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.errors import CallFailed

if TYPE_CHECKING:
    from ava.client import Client, Node

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
