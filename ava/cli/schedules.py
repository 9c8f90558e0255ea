"""`ava schedules …`: the operator's commands about schedules, which call the public API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli import printing
from ava.cli.connection import connected
from ava.cli.inputs import read_input
from ava.domain import priority as priorities

if TYPE_CHECKING:
    from ava.client import Client, Firing, Schedule, ScheduleSlot

__all__ = ["schedules"]

_json: Callable[..., Any] = click.option("--json", "is_json", is_flag=True, help="Print JSON on a terminal too.")


@click.group()
def schedules() -> None:
    """Create, pause, run and delete schedules."""


@schedules.command("list")
@click.option("--worker", "worker_id", help="Only schedules of this worker.")
@click.option("--enabled/--paused", default=None, help="Only schedules that are enabled, or paused.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="The most schedules to print.")
@_json
@connected
def list_schedules(client: Client, limit: int, is_json: bool, **filters: Any) -> None:
    """List schedules, newest first."""
    found = islice(client.schedules.list(per_page=min(limit, 100), **filters), limit)
    if printing.for_people(is_json):
        titles = ("ID", "NAME", "WORKER", "CRON", "TIMEZONE", "STATE", "NEXT", "LAST")
        printing.print_table(titles, map(_row, found))
    else:
        for schedule in found:
            click.echo(printing.as_json(schedule))


@schedules.command()
@click.argument("schedule_id")
@click.option("--firings", type=click.IntRange(0, 1000), default=0, help="Print so many of its last firings as well.")
@_json
@connected
def show(client: Client, schedule_id: str, firings: int, is_json: bool) -> None:
    """Show a schedule."""
    _print(client.schedules.get(schedule_id), is_json)
    if not firings:
        return
    found = islice(client.schedules.firings(schedule_id, per_page=min(firings, 100)), firings)
    if printing.for_people(is_json):
        click.echo()
        printing.print_table(("SLOT", "AT", "OUTCOME", "JOB", "REASON"), map(_firing_row, found))
    else:
        for firing in found:
            click.echo(printing.as_json(firing))


@schedules.command()
@click.argument("worker_id")
@click.argument("cron")
@click.argument("timezone")
@click.option("--name", help="What people read in lists.")
@click.option("--input", "input_text", default="{}", help="The input of its jobs as JSON, @FILE, or - (stdin).")
@click.option(
    "--priority",
    type=click.IntRange(priorities.FIRST, priorities.LAST),
    help=f"{priorities.FIRST} (first) to {priorities.LAST} (last).  [default: {priorities.DEFAULT}]",
)
@click.option("--paused", is_flag=True, help="Do not fire until it is resumed.")
@click.option(
    "--overlap",
    type=click.Choice(["allow", "skip", "queue_one", "cancel_running"]),
    help="What a firing does while the last job is not final.  [default: allow]",
)
@click.option(
    "--catch-up",
    type=click.Choice(["last", "none", "all"]),
    help="Which missed firings are made up for.  [default: last]",
)
@click.option("--catch-up-seconds", type=int, help="No older missed firing is made up for.  [default: 3600]")
@click.option("--spread-seconds", type=int, help="The most by which each firing is delayed.  [default: 0]")
@click.option("--starts-at", help="The first moment at which it may fire, in ISO 8601.")
@click.option("--ends-at", help="The moment from which it does not fire any more, in ISO 8601.")
@click.option("--key", help="An idempotency key: calls with the same key create one schedule.")
@_json
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
    is_json: bool,
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
    _print(made, is_json)


@schedules.command()
@click.argument("schedule_ids", nargs=-1, required=True)
@_json
@connected
def pause(client: Client, schedule_ids: tuple[str, ...], is_json: bool) -> None:
    """Pause schedules: firings are skipped until they are resumed."""
    for schedule_id in schedule_ids:
        _print(client.schedules.pause(schedule_id), is_json)


@schedules.command()
@click.argument("schedule_ids", nargs=-1, required=True)
@_json
@connected
def resume(client: Client, schedule_ids: tuple[str, ...], is_json: bool) -> None:
    """Resume schedules. Firings that were skipped meanwhile are not made up for."""
    for schedule_id in schedule_ids:
        _print(client.schedules.resume(schedule_id), is_json)


@schedules.command()
@click.argument("schedule_id")
@click.option("--key", help="An idempotency key: calls with the same key trigger one job.")
@_json
@connected
def run(client: Client, schedule_id: str, key: str | None, is_json: bool) -> None:
    """Trigger a job of a schedule now."""
    _print(client.schedules.run(schedule_id, idempotency_key=key), is_json)


@schedules.command("next")
@click.argument("schedule_id")
@click.option("--count", type=click.IntRange(1, 50), default=10, show_default=True, help="How many firings.")
@_json
@connected
def show_next(client: Client, schedule_id: str, count: int, is_json: bool) -> None:
    """Print the next firings of a schedule."""
    found = client.schedules.next(schedule_id, count)
    if printing.for_people(is_json):
        printing.print_table(("SLOT", "AT", "NOTE"), map(_slot_row, found))
    else:
        for slot in found:
            click.echo(printing.as_json(slot))


@schedules.command()
@click.argument("schedule_ids", nargs=-1, required=True)
@connected
def delete(client: Client, schedule_ids: tuple[str, ...]) -> None:
    """Delete schedules. Their jobs go on."""
    for schedule_id in schedule_ids:
        client.schedules.delete(schedule_id)


def _print(record: object, is_json: bool) -> None:
    if printing.for_people(is_json):
        printing.print_record(record)
    else:
        click.echo(printing.as_json(record))


def _row(schedule: Schedule) -> tuple[str, ...]:
    state = "enabled" if schedule.enabled else "paused"
    moments = _moment(schedule.next_run_at), _moment(schedule.last_run_at)
    name = (schedule.name or "-")[:40]
    return schedule.id, name, schedule.worker_id, schedule.cron, schedule.timezone, state, *moments


def _slot_row(slot: ScheduleSlot) -> tuple[str, ...]:
    return _slot(slot.slot), _moment(slot.at), slot.note or "-"


def _firing_row(firing: Firing) -> tuple[str, ...]:
    return _slot(firing.slot), _moment(firing.at), firing.outcome, firing.job_id or "-", firing.reason or "-"


def _slot(local: datetime) -> str:
    return local.isoformat(" ", timespec="minutes")


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
