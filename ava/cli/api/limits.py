"""`ava limits list`: the installation's limits, and the tenant's use of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.options.connection import connected
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column

if TYPE_CHECKING:
    from ava.client import Client, Limit, WorkerLimit


def _used(limit: Limit) -> str | None:
    if limit.used is None:
        return None
    return f"{'' if limit.used_is_exact else '> '}{limit.used:,}"


_COLUMNS = (
    Column(title="LIMIT", value=lambda limit: limit.name, min_width=20),
    Column(title="VALUE", value=lambda limit: limit.value),
    Column(title="UNIT", value=lambda limit: limit.unit, min_width=8),
    Column(title="USED", value=_used),
    Column(title="ERROR", value=lambda limit: limit.status, is_wide=True),
    Column(title="SETTING", value=lambda limit: limit.setting, min_width=10),
    Column(title="MEANING", value=lambda limit: limit.meaning, is_wide=True),
)


def _waiting(limit: WorkerLimit) -> str:
    return f"{'' if limit.waiting_is_exact else '> '}{limit.waiting:,}"


_WORKER_COLUMNS = (
    Column(title="WORKER", value=lambda limit: limit.worker_id, min_width=16),
    Column(title="RUNNING", value=lambda limit: limit.running),
    Column(title="AT MOST", value=lambda limit: limit.max_running),
    Column(title="PER", value=lambda limit: limit.max_running_per or limit.rate_per or "all", min_width=6),
    Column(title="RATE", value=lambda limit: limit.rate),
    Column(title="WAITING", value=_waiting),
)


@click.group()
def limits() -> None:
    """List the limits of the installation, of the tenant and of workers."""


@limits.command("list")
@click.option("--workers", is_flag=True, help="Only the limits of workers.")
@output_options
@connected
def list_limits(client: Client, printer: RecordPrinter, workers: bool) -> None:
    """List the limits and the tenant's use of them.

    A table includes the limits of workers, with the tenant's running and waiting jobs.

    \b
    ava limits list
    """
    if not workers:
        printer.records(client.limits.list(), _COLUMNS)
    if workers or printer.is_for_people:
        if not workers:
            click.echo()
        printer.records(client.limits.workers(), _WORKER_COLUMNS, empty="No worker has a limit.")
