"""`ava schedules …`: the operator's commands about schedules, which call the public API."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import ISO_FORM, SCHEDULE_ID, TIMESTAMP, WORKER_ID
from ava.cli.options.connection import connected
from ava.cli.options.inputs import JSON_OBJECT, approval_option
from ava.cli.options.resources import (
    RecordOption,
    Resource,
    changed_fields,
    priority_option,
    unset_option,
    with_options,
)
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column

if TYPE_CHECKING:
    from ava.client import Client

_COLUMNS = (
    Column(title="ID", value=lambda schedule: schedule.id),
    Column(title="NAME", value=lambda schedule: schedule.name, min_width=8, is_optional=True),
    Column(title="WORKER", value=lambda schedule: schedule.worker_id, min_width=8),
    Column(title="CRON", value=lambda schedule: schedule.cron or f"every {schedule.every_seconds} s", min_width=8),
    Column(title="TIMEZONE", value=lambda schedule: schedule.timezone, is_wide=True),
    Column(title="NEXT", value=lambda schedule: "paused" if schedule.paused else schedule.next_run_at),
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


_schedules = Resource(
    name="schedules",
    help="Create, change, pause, run and delete schedules.",
    noun="schedule",
    example="sch_01…",
    id_type=SCHEDULE_ID,
    columns=_COLUMNS,
)
_schedules.add_list(
    "List schedules, newest first.",
    click.option("--worker", "worker_id", type=WORKER_ID, help="Only schedules of this worker."),
    click.option("--paused/--not-paused", default=None, help="Only paused schedules, or only schedules that fire."),
)
_schedules.add_pauses(
    pause="Pause schedules: firings are skipped until they are resumed.",
    resume="Resume schedules. Firings that were skipped during the pause are not caught up.",
)
_schedules.add_delete("Delete schedules. Their jobs continue.")
schedules = _schedules.group

_settings = with_options(
    click.option("--name", help="Display name."),
    click.option(
        "--input",
        cls=RecordOption,
        if_omitted="{}",
        type=JSON_OBJECT,
        help="The input of its jobs: JSON, @FILE, or - (stdin).",
    ),
    priority_option,
    click.option(
        "--overlap",
        cls=RecordOption,
        if_omitted="allow",
        type=click.Choice(["allow", "skip", "queue_one", "cancel_running"]),
        help="What happens if the previous job has not ended.",
    ),
    click.option(
        "--catch-up",
        cls=RecordOption,
        if_omitted="last",
        type=click.Choice(["last", "none", "all"]),
        help="Which missed firings to catch up.",
    ),
    click.option(
        "--catch-up-seconds",
        cls=RecordOption,
        if_omitted="3600",
        type=int,
        help="Max age in seconds of a missed firing that is caught up.",
    ),
    click.option(
        "--spread-seconds",
        cls=RecordOption,
        if_omitted="0",
        type=int,
        help="Max delay of the firings in seconds, to spread the load of many schedules.",
    ),
    click.option("--starts-at", type=TIMESTAMP, help=f"Earliest firing time: {ISO_FORM}."),
    click.option("--ends-at", type=TIMESTAMP, help=f"The schedule does not fire from this time on: {ISO_FORM}."),
    click.option(
        "--expires-in-seconds",
        "expires_in_seconds",
        type=int,
        help="Seconds after the firing time until a job that has not started is cancelled.",
    ),
    approval_option,
)


_every_option = click.option(
    "--every-seconds", type=click.IntRange(1, 59), help="Interval in place of a pattern and a time zone."
)


@schedules.command()
@click.argument("schedule_id", type=SCHEDULE_ID)
@click.option(
    "--firings", type=click.IntRange(0, 1000), default=0, help="Also print this number of its latest firings."
)
@output_options
@connected
def show(client: Client, schedule_id: str, firings: int, printer: RecordPrinter) -> None:
    """Show a schedule.

    \b
    ava schedules show sch_01… --firings 5
    """
    printer.record(client.schedules.get(schedule_id))
    if firings:
        found = islice(client.schedules.firings(schedule_id, per_page=min(firings, 100)), firings)
        if printer.is_for_people:
            click.echo()
        printer.records(found, _FIRING_COLUMNS, empty="The schedule has not fired yet.")


@schedules.command()
@click.argument("worker_id", type=WORKER_ID)
@click.argument("cron", required=False)
@click.argument("timezone", required=False)
@_every_option
@_settings
@click.option("--paused", is_flag=True, help="Create the schedule paused: it does not fire until it is resumed.")
@click.option("--key", help="An idempotency key: calls with the same key create one schedule.")
@output_options
@connected
def create(
    client: Client,
    worker_id: str,
    cron: str | None,
    timezone: str | None,
    *,
    key: str | None,
    printer: RecordPrinter,
    **options: Any,
) -> None:
    """Create a schedule of WORKER_ID.

    CRON has five fields: minute, hour, day of month, month, day of week. TIMEZONE is an IANA name. --every-seconds
    replaces both.

    \b
    ava schedules create wkr_nightly "0 3 * * *" Europe/Berlin --overlap skip
    ava schedules create wkr_poll --every-seconds 10
    """
    given = {name: value for name, value in options.items() if value is not None}
    printer.record(client.schedules.create(worker_id, cron, timezone, idempotency_key=key, **given))


@schedules.command()
@click.argument("schedule_id", type=SCHEDULE_ID)
@click.option("--worker", "worker_id", type=WORKER_ID, help="New worker.")
@click.option("--cron", help="New pattern: minute, hour, day of month, month, day of week.")
@click.option("--timezone", help="New time zone, an IANA name.")
@_every_option
@_settings
@unset_option("name", "starts-at", "ends-at", "expires-in-seconds", "approval")
@output_options
@connected
def update(client: Client, schedule_id: str, printer: RecordPrinter, **given: Any) -> None:
    """Change a schedule. Its next firing is computed from now.

    \b
    ava schedules update sch_01… --cron "30 3 * * *" --unset ends-at
    """
    printer.record(client.schedules.update(schedule_id, **changed_fields(given)))


@schedules.command()
@click.argument("schedule_id", type=SCHEDULE_ID)
@click.option("--key", help="An idempotency key: calls with the same key trigger one job.")
@output_options
@connected
def run(client: Client, schedule_id: str, key: str | None, printer: RecordPrinter) -> None:
    """Trigger a job of a schedule now.

    \b
    ava schedules run sch_01…
    """
    printer.record(client.schedules.run(schedule_id, idempotency_key=key))


@schedules.command("next")
@click.argument("schedule_id", type=SCHEDULE_ID)
@click.option("--count", type=click.IntRange(1, 50), default=10, show_default=True, help="Number of firings to print.")
@output_options
@connected
def show_next(client: Client, schedule_id: str, count: int, printer: RecordPrinter) -> None:
    """Print the next firings of a schedule.

    \b
    ava schedules next sch_01… --count 3
    """
    printer.records(
        client.schedules.next(schedule_id, count), _SLOT_COLUMNS, empty="The schedule has no further firings."
    )
