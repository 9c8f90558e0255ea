"""`ava overview`: the tenant's jobs in total."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.connection import connected
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import milliseconds

if TYPE_CHECKING:
    from ava.client import Client, Overview


@click.command()
@output_options
@connected
def overview(client: Client, printer: RecordPrinter) -> None:
    """Show what waits, what runs and what ended in the last hour."""
    found = client.overview()
    if printer.is_for_people:
        printing.print_fields(_summary(found))
    else:
        printer.record(found)


def _summary(found: Overview) -> dict[str, Any]:
    waits = [f"{depth['queued']:,} of priority {depth['priority']}" for depth in found.by_priority if depth["queued"]]
    age = found.backlog_age_seconds
    ended = {
        status: f"{sum(minute[status] for minute in found.minutes):,}"
        for status in ("completed", "failed", "cancelled")
    }
    latency = found.latency
    return {
        "waiting": f"{'' if found.queued_is_exact else 'over '}{found.queued:,}",
        "by priority": ", ".join(waits) or None,
        "scheduled for later": f"{found.scheduled:,}",
        "running": f"{found.running:,}",
        "oldest waits for": milliseconds(None if age is None else age * 1000),
        "ended in 60 minutes": ", ".join(f"{count} {status}" for status, count in ended.items()),
        "time to start": _percentiles(latency, "start"),
        "run time": _percentiles(latency, "run"),
        "sampled at": found.sampled_at,
    }


def _percentiles(latency: dict[str, Any], name: str) -> str | None:
    median, high = (milliseconds(latency.get(f"{name}_{part}_ms")) for part in ("p50", "p95"))
    return median and f"{median} (median), {high} (95 %)"
