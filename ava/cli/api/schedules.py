"""`ava schedules …`: the operator's commands about schedules, which call the public API."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import ISO_FORM, SCHEDULE_ID, TIMESTAMP, WORKER_ID
from ava.cli.options.connection import connected
from ava.cli.options.inputs import read_input
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.domain.jobs import priority as priorities

if TYPE_CHECKING:
    from ava.client import Client

_COLUMNS = (
    Column(title="ID", value=lambda schedule: schedule.id),
    Column(title="NAME", value=lambda schedule: schedule.name, min_width=8, is_optional=True),
    Column(title="WORKER", value=lambda schedule: schedule.worker_id, min_width=8),
    Column(title="CRON", value=lambda schedule: schedule.cron, min_width=8),
    Column(title="TIMEZONE", value=lambda schedule: schedule.timezone, is_wide=True),
    Column(title="NEXT", value=lambda schedule: schedule.next_run_at if schedule.enabled else "paused"),
    Column(title="LAST", value=lambda schedule: schedule.last_run_at, is_wide=True),
)
_FIRING_COLUMNS = (
    Column(title="SLOT", value=lambda firing: firing.slot),
    Column(title="AT", value=lambda firing: firing.at, is_wide=True),
    Column(title="OUTCOME", value=lambda firing: firing.outcome),
    Column(title="JOB", value=lambda firing: firing.job_id, is_optional=True),
    Column(title="REASON", value=lambda firing: firing.reason, min_width=12, is_optional=True, may_be_below=True),
)
_SLOT_COLUMNS = (
    Column(title="SLOT", value=lambda slot: slot.slot),
    Column(title="AT", value=lambda slot: slot.at),
    Column(title="NOTE", value=lambda slot: slot.note, is_optional=True),
)


@click.group()
def schedules() -> None:
    """Create, pause, run and delete schedules."""


@schedules.command("list")
@click.option("--worker", "worker_id", type=WORKER_ID, help="Only schedules of this worker.")
@click.option("--enabled/--paused", default=None, help="Only enabled, or only paused schedules.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Max schedules to print.")
@output_options
@connected
def list_schedules(client: Client, limit: int, printer: RecordPrinter, **filters: Any) -> None:
    """List schedules, newest first."""
    found = islice(client.schedules.list(per_page=min(limit, 100), **filters), limit)
    printer.records(found, _COLUMNS, empty="No schedules match.")


@schedules.command()
@click.argument("schedule_id", type=SCHEDULE_ID)
@click.option(
    "--firings", type=click.IntRange(0, 1000), default=0, help="Also print this number of its latest firings."
)
@output_options
@connected
def show(client: Client, schedule_id: str, firings: int, printer: RecordPrinter) -> None:
    """Show a schedule."""
    printer.record(client.schedules.get(schedule_id))
    if firings:
        found = islice(client.schedules.firings(schedule_id, per_page=min(firings, 100)), firings)
        if printer.is_for_people:
            click.echo()
        printer.records(found, _FIRING_COLUMNS, empty="The schedule has not fired yet.")


@schedules.command()
@click.argument("worker_id", type=WORKER_ID)
@click.argument("cron")
@click.argument("timezone")
@click.option("--name", help="Display name.")
@click.option("--input", "input_text", default="{}", help="The input of its jobs: JSON, @FILE, or - (stdin).")
@click.option(
    "--priority",
    type=click.IntRange(priorities.FIRST, priorities.LAST),
    help=f"{priorities.FIRST} (first) to {priorities.LAST} (last).  [default: {priorities.DEFAULT}]",
)
@click.option("--paused", is_flag=True, help="Create the schedule paused: it does not fire until it is resumed.")
@click.option(
    "--overlap",
    type=click.Choice(["allow", "skip", "queue_one", "cancel_running"]),
    help="What happens if the previous job has not ended.  [default: allow]",
)
@click.option(
    "--catch-up",
    type=click.Choice(["last", "none", "all"]),
    help="Which missed firings to catch up.  [default: last]",
)
@click.option(
    "--catch-up-seconds", type=int, help="Max age in seconds of a missed firing that is caught up.  [default: 3600]"
)
@click.option(
    "--spread-seconds",
    type=int,
    help="Max delay of the firings in seconds, to spread the load of many schedules.  [default: 0]",
)
@click.option("--starts-at", type=TIMESTAMP, help=f"Earliest firing time: {ISO_FORM}.")
@click.option("--ends-at", type=TIMESTAMP, help=f"Time from which the schedule no longer fires: {ISO_FORM}.")
@click.option(
    "--expires-in", type=int, help="Seconds after the firing time until a job that has not started is cancelled."
)
@click.option("--key", help="An idempotency key: calls with the same key create one schedule.")
@output_options
@connected
def create(
    client: Client,
    worker_id: str,
    cron: str,
    timezone: str,
    *,
    input_text: str,
    paused: bool,
    key: str | None,
    printer: RecordPrinter,
    **options: Any,
) -> None:
    """Create a schedule of WORKER_ID, as in: ava schedules create wkr_nightly "0 3 * * *" Europe/Berlin.

    CRON has five fields: minute, hour, day of month, month, day of week. TIMEZONE is an IANA name.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if paused:
        given["enabled"] = False
    made = client.schedules.create(
        worker_id, cron, timezone, idempotency_key=key, input=read_input(input_text), **given
    )
    printer.record(made)


@schedules.command()
@click.argument("schedule_ids", type=SCHEDULE_ID, nargs=-1, required=True)
@output_options
@connected
def pause(client: Client, schedule_ids: tuple[str, ...], printer: RecordPrinter) -> None:
    """Pause schedules: firings are skipped until they are resumed."""
    for schedule_id in schedule_ids:
        printer.record(client.schedules.pause(schedule_id))


@schedules.command()
@click.argument("schedule_ids", type=SCHEDULE_ID, nargs=-1, required=True)
@output_options
@connected
def resume(client: Client, schedule_ids: tuple[str, ...], printer: RecordPrinter) -> None:
    """Resume schedules. Firings that were skipped during the pause are not caught up."""
    for schedule_id in schedule_ids:
        printer.record(client.schedules.resume(schedule_id))


@schedules.command()
@click.argument("schedule_id", type=SCHEDULE_ID)
@click.option("--key", help="An idempotency key: calls with the same key trigger one job.")
@output_options
@connected
def run(client: Client, schedule_id: str, key: str | None, printer: RecordPrinter) -> None:
    """Trigger a job of a schedule now."""
    printer.record(client.schedules.run(schedule_id, idempotency_key=key))


@schedules.command("next")
@click.argument("schedule_id", type=SCHEDULE_ID)
@click.option("--count", type=click.IntRange(1, 50), default=10, show_default=True, help="Number of firings to print.")
@output_options
@connected
def show_next(client: Client, schedule_id: str, count: int, printer: RecordPrinter) -> None:
    """Print the next firings of a schedule."""
    printer.records(
        client.schedules.next(schedule_id, count), _SLOT_COLUMNS, empty="The schedule has no further firings."
    )


@schedules.command()
@click.argument("schedule_ids", type=SCHEDULE_ID, nargs=-1, required=True)
@connected
def delete(client: Client, schedule_ids: tuple[str, ...]) -> None:
    """Delete schedules. Their jobs continue."""
    for schedule_id in schedule_ids:
        client.schedules.delete(schedule_id)
