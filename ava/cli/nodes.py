"""`ava nodes …`: the operator's commands about nodes, which call the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.connection import connected
from ava.cli.output import RecordPrinter, output_options
from ava.cli.tables import Column

if TYPE_CHECKING:
    from ava.client import Client, Node

__all__ = ["nodes"]


def _memory(node: Node) -> str | None:
    return None if node.memory_bytes is None else f"{node.memory_bytes / 2**20:,.0f} MiB"


_COLUMNS = (
    Column(title="ID", value=lambda node: node.id, least=31),
    Column(title="STATE", value=lambda node: node.state),
    Column(title="BUSY", value=lambda node: f"{node.busy} of {node.processes}"),
    Column(title="QUEUES", value=lambda node: ", ".join(node.queues), least=8),
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
    """List the nodes that run jobs."""


@nodes.command("list")
@output_options
@connected
def list_nodes(client: Client, printer: RecordPrinter) -> None:
    """List the nodes, live ones first; one that has ended is listed for an hour."""
    printer.records(client.nodes(), _COLUMNS, empty="No nodes: start one with `ava worker`.")
