"""`ava limits list`, `ava tenants …`: the installation's limits, tenants, and their use of limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.connection import connected
from ava.cli.options.resources import changed_fields, unset_option
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.domain.counts import MAX_COUNTED_OF_TENANT, counted

if TYPE_CHECKING:
    from ava.client import Client, Limit, TenantLoad, WorkerLimit


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


def _queued(load: TenantLoad, number: int) -> int | str:
    return counted(number, is_exact=load.waiting + load.scheduled < MAX_COUNTED_OF_TENANT)


_TENANT_COLUMNS = (
    Column(title="TENANT", value=lambda load: load.tenant_id, min_width=20),
    Column(title="WAITING", value=lambda load: _queued(load, load.waiting)),
    Column(title="SCHEDULED", value=lambda load: _queued(load, load.scheduled), is_wide=True),
    Column(title="RUNNING", value=lambda load: counted(load.running, is_exact=load.running < MAX_COUNTED_OF_TENANT)),
    Column(title="FAILED", value=lambda load: load.failed),
    Column(title="COMPLETED", value=lambda load: load.completed, is_wide=True),
    Column(title="CANCELLED", value=lambda load: load.cancelled, is_wide=True),
    Column(title="SHARE", value=lambda load: None if load.share is None else f"{load.share:.1%}"),
)


_LIMITS = ("max_running", "weight", "most_urgent_priority", "retention_days")


@click.group()
def tenants() -> None:
    """List the tenants with their jobs; show and change their limits."""


@tenants.command("list")
@output_options
@connected
def list_tenants(client: Client, printer: RecordPrinter) -> None:
    """List tenants with jobs that wait, run, or ended in the last hour. Requires --role platform-admin.

    Tenants with the most failures come first. Numbers of waiting and running jobs are exact up to 1,000.

    \b
    ava tenants list --role platform-admin
    """
    found = sorted(client.tenants.list(), key=lambda load: (-load.failed, -load.waiting, -load.running, load.tenant_id))
    printer.records(found, _TENANT_COLUMNS, empty="No tenant has jobs that wait, run, or ended in the last hour.")


@tenants.command()
@click.argument("tenant_id")
@output_options
@connected
def show(client: Client, tenant_id: str, printer: RecordPrinter) -> None:
    """Show the limits of a tenant. Empty ones are the installation's defaults.

    \b
    ava tenants show ten_acme
    """
    printer.record(client.tenants.limits(tenant_id))


@tenants.command()
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
@unset_option(*(name.replace("_", "-") for name in _LIMITS))
@output_options
@connected
def update(client: Client, tenant_id: str, printer: RecordPrinter, **given: Any) -> None:
    """Change the limits of a tenant. A cleared one is the installation's default. Requires --role platform-admin.

    \b
    ava tenants update ten_acme --weight 2 --unset max-running --role platform-admin
    """
    changes = changed_fields(given)
    # The API replaces all limits.
    rules = client.tenants.limits(tenant_id)
    printer.record(client.tenants.set_limits(tenant_id, **({name: getattr(rules, name) for name in _LIMITS} | changes)))
