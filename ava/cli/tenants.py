"""`ava tenants …`: the operator's commands about tenants, which call the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.connection import connected
from ava.cli.output import RecordPrinter, output_options
from ava.cli.tables import Column

if TYPE_CHECKING:
    from ava.client import Client

__all__ = ["tenants"]

_COLUMNS = (
    Column(title="TENANT", value=lambda load: load.tenant_id, least=20),
    Column(title="WAITING", value=lambda load: load.waiting),
    Column(title="SCHEDULED", value=lambda load: load.scheduled, is_wide=True),
    Column(title="RUNNING", value=lambda load: load.running),
    Column(title="FAILED", value=lambda load: load.failed),
    Column(title="COMPLETED", value=lambda load: load.completed),
    Column(title="CANCELLED", value=lambda load: load.cancelled, is_wide=True),
)


@click.group()
def tenants() -> None:
    """List the tenants with their jobs."""


@tenants.command("list")
@output_options
@connected
def list_tenants(client: Client, printer: RecordPrinter) -> None:
    """List the tenants with jobs that wait, run, or ended in the last hour. Needs --role platform-admin.

    Those with the most failures are first. Numbers of waiting and running jobs are exact up to 1,000.
    """
    printer.records(client.tenants(), _COLUMNS, empty="No tenant has jobs that wait, run, or ended in the last hour.")
