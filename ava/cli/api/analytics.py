"""`ava analytics`: what the tenant's ended jobs add up to over a period."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import WORKER_ID
from ava.cli.options.connection import connected
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column, milliseconds

if TYPE_CHECKING:
    from ava.client import Analytics, Client

_COLUMNS = (
    Column(title="WORKER", value=lambda row: row[0], min_width=12),
    Column(title="ENDED", value=lambda row: row[1]["total"]),
    Column(title="COMPLETED", value=lambda row: row[1]["completed"]),
    Column(title="FAILED", value=lambda row: row[1]["failed"]),
    Column(title="AVERAGE", value=lambda row: milliseconds(row[1]["avg_duration_ms"])),
    Column(title="CPU", value=lambda row: milliseconds(row[1].get("cpu_ms")), is_wide=True),
    Column(title="WAITED", value=lambda row: milliseconds(row[1].get("wait_ms")), is_wide=True),
)


@click.command()
@click.option("--days", type=click.IntRange(1, 90), default=30, show_default=True, help="The period.")
@click.option("--worker", "worker_id", type=WORKER_ID, help="Only jobs of this worker.")
@click.option("--by", "group_by", type=click.Choice(["hour", "day"]), help="Add a series, which -o json prints.")
@output_options
@connected
def analytics(client: Client, days: int, worker_id: str | None, group_by: str | None, printer: RecordPrinter) -> None:
    """Show what ended in a period: success rate, how long jobs waited and ran, and each worker's jobs."""
    found = client.analytics(days, worker_id=worker_id, group_by=group_by, percentiles=True)
    if not printer.is_for_people:
        printer.record(found)
        return
    printing.print_fields(_summary(found))
    if found.by_worker:
        click.echo()
        printer.records(sorted(found.by_worker.items(), key=lambda row: -row[1]["total"]), _COLUMNS)


def _summary(found: Analytics) -> dict[str, Any]:
    jobs = found.jobs
    rate = jobs["success_rate"]
    return {
        "since": found.since,
        "ended": f"{jobs['total']:,}",
        "by status": ", ".join(f"{jobs[status]:,} {status}" for status in ("completed", "failed", "cancelled"))
        + (f", {jobs['expired']:,} of them expired" if jobs.get("expired") else ""),
        "by trigger": ", ".join(f"{count:,} {trigger}" for trigger, count in jobs["by_trigger"].items()) or None,
        "success rate": None if rate is None else f"{rate} %",
        "average run time": milliseconds(jobs["avg_duration_ms"]),
        "processor time": milliseconds(jobs.get("cpu_ms")),
        "waited to start": milliseconds(jobs.get("wait_ms")),
        "time to start": _percentiles(found, "wait"),
        "run time": _percentiles(found, "run"),
    }


def _percentiles(found: Analytics, name: str) -> str | None:
    times = (found.percentiles or {}).get(name, {})
    median, high, highest = (milliseconds(times.get(f"p{part}_ms")) for part in (50, 95, 99))
    return median and f"{median} (median), {high} (95 %), {highest} (99 %)"
