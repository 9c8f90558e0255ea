"""Commands that print two tables, or change records in a second call: queues, nodes, limits, tenants, schedules."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.api.factory import Send, columns, command
from ava.cli.options.resources import changed_fields, unset_option
from ava.cli.screen.cells import column
from ava.cli.screen.output import RecordPrinter
from ava.errors import CallFailed

if TYPE_CHECKING:
    from ava.client import Client

#: Polling interval for a paused node, in seconds.
_POLL_SECONDS = 1.0
_LIMITS = ("max_running", "weight", "most_urgent_priority", "retention_days")
WORKER_COLUMNS = tuple(
    map(column, ("worker_id", "QUEUED=counted_queued*", "URGENT=counted_high_priority*", "RUNNING=counted_running*"))
)


@command("nodes.pause", click.option("--wait", "waits", is_flag=True, help="Wait until the node runs no job."))
def pause_nodes(client: Client, send: Send, waits: bool, node_id: tuple[str, ...], **given: Any) -> None:
    printer: RecordPrinter = given.pop("printer")
    for each in node_id:
        node = send(node_id=each, **given)
        while waits and (node.busy or node.queues):
            time.sleep(_POLL_SECONDS)
            node = next((found for found in client.nodes.list() if found.id == each), None)
            if node is None or node.state != "live":
                raise CallFailed(f"{each} ended before its jobs.")
        printer.record(node)


@command("queues.counts", click.option("--workers", is_flag=True, help="Only the numbers of jobs by worker."))
def list_queues(_: Client, send: Send, printer: RecordPrinter, workers: bool, **given: Any) -> None:
    found = send(**given)
    if not workers:
        printer.records(found.queues, columns("queues.counts"), empty="No worker uses a queue.")
    if workers or printer.is_for_people:
        if not workers:
            click.echo()
        printer.records(found.by_worker, WORKER_COLUMNS, empty="No job is queued or running.")


@command("limits.list", click.option("--workers", is_flag=True, help="Only the limits of workers."))
def list_limits(client: Client, send: Send, printer: RecordPrinter, workers: bool) -> None:
    if not workers:
        printer.records(send(), columns("limits.list"))
    if workers or printer.is_for_people:
        if not workers:
            click.echo()
        printer.records(client.limits.workers(), columns("limits.workers"), empty="No worker has a limit.")


@command("tenants.list")
def list_tenants(_: Client, send: Send, printer: RecordPrinter) -> None:
    found = sorted(send(), key=lambda load: (-load.failed, -load.waiting, -load.running, load.tenant_id))
    empty = "No tenant has jobs that wait, run, or ended in the last hour."
    printer.records(found, columns("tenants.list"), empty=empty)


@command("tenants.set_limits", unset_option(*(name.replace("_", "-") for name in _LIMITS)))
def update_tenant(client: Client, send: Send, printer: RecordPrinter, tenant_id: str, **given: Any) -> None:
    changes = changed_fields(given)
    # The API replaces all limits.
    rules = client.tenants.limits(tenant_id)
    printer.record(send(tenant_id=tenant_id, **({name: getattr(rules, name) for name in _LIMITS} | changes)))


@command(
    "schedules.get",
    click.option(
        "--firings", type=click.IntRange(0, 1000), default=0, help="Also print this number of its latest firings."
    ),
)
def show_schedule(client: Client, send: Send, printer: RecordPrinter, firings: int, schedule_id: str) -> None:
    printer.record(send(schedule_id=schedule_id))
    if firings:
        found = islice(client.schedules.firings(schedule_id, per_page=min(firings, 100)), firings)
        if printer.is_for_people:
            click.echo()
        printer.records(found, columns("schedules.firings"), empty="The schedule has not fired yet.")
