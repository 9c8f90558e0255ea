"""`ava tenants …`: the operator's commands about tenants, which call the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.options.connection import connected
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.domain.counts import MAX_COUNTED_OF_TENANT, counted

if TYPE_CHECKING:
    from ava.client import Client, TenantLoad, TenantRules


def _queued(load: TenantLoad, number: int) -> int | str:
    return counted(number, is_exact=load.waiting + load.scheduled < MAX_COUNTED_OF_TENANT)


_COLUMNS = (
    Column(title="TENANT", value=lambda load: load.tenant_id, min_width=20),
    Column(title="WAITING", value=lambda load: _queued(load, load.waiting)),
    Column(title="SCHEDULED", value=lambda load: _queued(load, load.scheduled), is_wide=True),
    Column(title="RUNNING", value=lambda load: counted(load.running, is_exact=load.running < MAX_COUNTED_OF_TENANT)),
    Column(title="FAILED", value=lambda load: load.failed),
    Column(title="COMPLETED", value=lambda load: load.completed, is_wide=True),
    Column(title="CANCELLED", value=lambda load: load.cancelled, is_wide=True),
    Column(title="SHARE", value=lambda load: None if load.share is None else f"{load.share:.1%}"),
)


@click.group()
def tenants() -> None:
    """List the tenants with their jobs; show and set their limits."""


@tenants.command("list")
@output_options
@connected
def list_tenants(client: Client, printer: RecordPrinter) -> None:
    """List tenants with jobs that wait, run, or ended in the last hour. Requires --role platform-admin.

    Tenants with the most failures come first. Numbers of waiting and running jobs are exact up to 1,000.
    """
    found = sorted(client.tenants.list(), key=lambda load: (-load.failed, -load.waiting, -load.running, load.tenant_id))
    printer.records(found, _COLUMNS, empty="No tenant has jobs that wait, run, or ended in the last hour.")


@tenants.command()
@click.argument("tenant_id")
@connected
def limits(client: Client, tenant_id: str) -> None:
    """Show the limits of a tenant."""
    _print_rules(client.tenants.limits(tenant_id))


@tenants.command("set-limits")
@click.argument("tenant_id")
@click.option("--max-running", type=click.IntRange(0), help="Max concurrent jobs; 0: none.")
@click.option("--weight", type=click.FloatRange(0, min_open=True), help="Weight in fair queueing.  [default: 1]")
@click.option(
    "--most-urgent-priority",
    type=click.IntRange(1, 10),
    help="Most urgent priority of its jobs: the lowest number that they may have.",
)
@click.option(
    "--retention-days", type=click.FloatRange(0, min_open=True), help="Days for which ended jobs are retained."
)
@connected
def set_limits(
    client: Client,
    tenant_id: str,
    max_running: int | None,
    weight: float | None,
    most_urgent_priority: int | None,
    retention_days: float | None,
) -> None:
    """Replace the limits of a tenant; omitted ones use the installation's default. Requires --role platform-admin."""
    rules = client.tenants.set_limits(
        tenant_id,
        max_running=max_running,
        weight=weight,
        most_urgent_priority=most_urgent_priority,
        retention_days=retention_days,
    )
    _print_rules(rules)


def _print_rules(rules: TenantRules) -> None:
    for name in ("max_running", "weight", "most_urgent_priority", "retention_days"):
        value = getattr(rules, name)
        printing.print_text(f"{name}: {'(default of the installation)' if value is None else value}")
