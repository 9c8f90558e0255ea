"""Reports: `ava overview|analytics|series show`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from ava.cli.api.factory import Send, command
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter
from ava.cli.screen.tables import Column, milliseconds
from ava.domain.strings import parse_time

if TYPE_CHECKING:
    from ava.client import Analytics, Client, Overview, Series


_WORKERS = (
    Column(title="WORKER", value=lambda row: row[0], min_width=12),
    Column(title="ENDED", value=lambda row: row[1]["total"]),
    Column(title="COMPLETED", value=lambda row: row[1]["completed"]),
    Column(title="FAILED", value=lambda row: row[1]["failed"]),
    Column(title="AVERAGE", value=lambda row: milliseconds(row[1]["avg_duration_ms"])),
    Column(title="CPU", value=lambda row: milliseconds(row[1].get("cpu_ms")), is_wide=True),
    Column(title="WAITED", value=lambda row: milliseconds(row[1].get("wait_ms")), is_wide=True),
)
_POINTS = (
    Column(title="FROM", value=lambda row: row["at"]),
    Column(title="COMPLETED", value=lambda row: row["completed"], min_width=9),
    Column(title="FAILED", value=lambda row: row["failed"], min_width=6),
    Column(title="CANCELLED", value=lambda row: row["cancelled"], is_wide=True),
    Column(title="START P95", value=lambda row: milliseconds(row["start"]), min_width=9),
    Column(title="RUN P95", value=lambda row: milliseconds(row["run"]), min_width=8),
    Column(title="RUNNING", value=lambda row: row["running"], min_width=7),
    Column(title="LIMIT", value=lambda row: row["max_running"], is_wide=True),
    Column(title="WAITING", value=lambda row: row["waiting"], min_width=7),
    Column(title="MARKS", value=lambda row: row["marks"], is_optional=True, min_width=8),
)


@command("reports.overview")
def show_overview(_: Client, send: Send, printer: RecordPrinter) -> None:
    found = send()
    if printer.is_for_people:
        printing.print_fields(_overview_fields(found))
    else:
        printer.record(found)


def _overview_fields(found: Overview) -> dict[str, Any]:
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
        "time to start": _hourly_percentiles(latency, "start"),
        "run time": _hourly_percentiles(latency, "run"),
        "sampled at": found.sampled_at,
    }


def _hourly_percentiles(latency: dict[str, Any], name: str) -> str | None:
    median, high = (milliseconds(latency.get(f"{name}_{part}_ms")) for part in ("p50", "p95"))
    return median and f"{median} (median), {high} (95 %)"


@command("reports.analytics")
def show_analytics(_: Client, send: Send, printer: RecordPrinter, **given: Any) -> None:
    found = send(**given, percentiles=True)
    if not printer.is_for_people:
        printer.record(found)
        return
    printing.print_fields(_analytics_fields(found))
    if found.by_worker:
        click.echo()
        printer.records(sorted(found.by_worker.items(), key=lambda row: -row[1]["total"]), _WORKERS)


def _analytics_fields(found: Analytics) -> dict[str, Any]:
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


@command(
    "reports.series",
    click.option("--all-tenants", is_flag=True, help="Jobs of all tenants. Requires --role platform-admin."),
    without=("scope",),
)
def show_series(_: Client, send: Send, printer: RecordPrinter, all_tenants: bool, **given: Any) -> None:
    found = send(**given, scope="platform" if all_tenants else None)
    if printer.is_for_people:
        printer.records(_points(found), _POINTS)
    else:
        printer.record(found)


def _points(found: Series) -> list[dict[str, Any]]:
    step = timedelta(seconds=found.step_seconds)
    rows = []
    for number, running in enumerate(found.running):
        starts_at = found.since + step * number
        waiting = [each["jobs"][number] for each in found.backlog if each["jobs"][number] is not None]
        marks = [
            f"{mark['type']} {mark['name']}"
            for mark in found.marks
            if (at := parse_time(mark["starts_at"])) is not None and starts_at <= at < starts_at + step
        ]
        rows.append(
            {name: found.ended[name][number] for name in ("completed", "failed", "cancelled")}
            | {
                "at": starts_at,
                "start": found.start["p95_ms"][number],
                "run": found.run["p95_ms"][number],
                "running": running,
                "max_running": found.max_running[number],
                "waiting": None if running is None else sum(waiting),
                "marks": ", ".join(marks),
            }
        )
    return rows
