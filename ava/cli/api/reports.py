"""Reports: `ava overview|analytics|series show`, `ava promotions list`, `ava audit list`, and `ava errors …`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import PAST_FORM, PAST_TIMESTAMP, WORKER_ID
from ava.cli.options.connection import connected
from ava.cli.options.resources import Resource, time_range_options, with_options
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column, ago, milliseconds
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
_PROMOTIONS = (
    Column(title="TIMELINE", value=lambda promotion: str(promotion.timeline)),
    Column(title="SEEN", value=lambda promotion: promotion.seen_at),
    Column(title="COMMITS LOST", value=lambda promotion: "yes" if promotion.lossy else "none seen"),
    Column(title="RUNS CHECKED", value=lambda promotion: f"{promotion.running:,}"),
)
_ENTRIES = (
    Column(title="AT", value=lambda entry: entry.at),
    Column(title="ACTOR", value=lambda entry: entry.actor.id or entry.actor.kind, min_width=10),
    Column(title="VIA", value=lambda entry: entry.actor.via, is_wide=True),
    Column(title="LABEL", value=lambda entry: entry.actor.label, is_wide=True),
    Column(title="ROLE", value=lambda entry: entry.role, is_wide=True),
    Column(title="ACTION", value=lambda entry: entry.action, min_width=12),
    Column(title="TARGET", value=lambda entry: entry.target, min_width=12),
    Column(title="STATUS", value=lambda entry: entry.status),
    Column(title="TIMES", value=lambda entry: entry.occurrences, is_optional=True),
    Column(title="ADDRESS", value=lambda entry: entry.address, is_wide=True),
    Column(title="REQUEST", value=lambda entry: entry.request_id, is_wide=True),
)


@click.group()
def overview() -> None:
    """Show the totals of jobs."""


@overview.command("show")
@output_options
@connected
def show_overview(client: Client, printer: RecordPrinter) -> None:
    """Show the waiting and running jobs, and the jobs that ended in the last hour.

    \b
    ava overview show
    """
    found = client.reports.overview()
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


@click.group()
def analytics() -> None:
    """Show statistics of ended jobs."""


@analytics.command("show")
@click.option("--days", type=click.IntRange(1, 90), default=30, show_default=True, help="The period in days.")
@click.option("--worker", "worker_id", type=WORKER_ID, help="Only jobs of this worker.")
@click.option("--by", "group_by", type=click.Choice(["hour", "day"]), help="Add a series, which -o json prints.")
@output_options
@connected
def show_analytics(
    client: Client, days: int, worker_id: str | None, group_by: str | None, printer: RecordPrinter
) -> None:
    """Show the success rate, waiting and running times, and each worker's jobs.

    \b
    ava analytics show --days 7
    """
    found = client.reports.analytics(days, worker_id=worker_id, group_by=group_by, percentiles=True)
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


@click.group()
def series() -> None:
    """Show the values of the dashboard's charts over time."""


@series.command("show")
@click.option("--since", type=PAST_TIMESTAMP, help=f"The start: {PAST_FORM}; by default an hour before the end.")
@click.option("--until", type=PAST_TIMESTAMP, help="The end; by default now.")
@click.option("--worker", "worker_id", type=WORKER_ID, help="Only jobs of this worker.")
@click.option("--queue", help="Only jobs of the workers with this queue.")
@click.option("--all-tenants", is_flag=True, help="Jobs of all tenants. Requires --role platform-admin.")
@output_options
@connected
def show_series(client: Client, printer: RecordPrinter, all_tenants: bool, **chosen: Any) -> None:
    """Show ended, running and waiting jobs, and the times to start and to run, in steps of a range.

    \b
    ava series show --since 6h --worker wkr_report
    """
    found = client.reports.series(scope="platform" if all_tenants else None, **chosen)
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


@click.group()
def promotions() -> None:
    """List the promotions of a PostgreSQL standby."""


@promotions.command("list")
@output_options
@connected
def list_promotions(client: Client, printer: RecordPrinter) -> None:
    """List the latest promotions. Requires --role platform-admin.

    A promotion may have lost commits without showing it, if no job was stored shortly before.

    \b
    ava promotions list --role platform-admin
    """
    printer.records(client.promotions.list(), _PROMOTIONS, empty="No standby was promoted.")


_audit = Resource(name="audit", help="Read the audit trail.", noun="entry", example="", columns=_ENTRIES)
_audit.add_list(
    "List who changed what, newest first; refused requests are listed too.",
    click.option("--action", help="Only this action, as in jobs.cancel."),
    click.option("--by", "actor_id", help="Only requests of this user or API key."),
    click.option("--label", help="Only requests whose API key named this user."),
    click.option("--target", help="Only changes of the record with this id."),
    time_range_options,
    empty="No entries match.",
)
audit = _audit.group


_COLUMNS = (
    Column(title="ID", value=lambda group: group.id),
    Column(title="WORKER", value=lambda group: group.worker_id, min_width=8),
    Column(title="JOBS", value=lambda group: group.count),
    Column(title="LAST", value=lambda group: ago(group.last_seen_at)),
    Column(title="ERROR", value=lambda group: f"{group.kind}: {group.message}", min_width=8, may_be_below=True),
    Column(title="STATUS", value=lambda group: group.status, is_wide=True),
    Column(title="FIRST SEEN", value=lambda group: group.first_seen_at, is_wide=True),
    Column(title="LAST SEEN", value=lambda group: group.last_seen_at, is_wide=True),
    Column(title="LAST JOB", value=lambda group: group.sample_job_id, is_wide=True),
)
_range = with_options(
    click.option(
        "--since", type=PAST_TIMESTAMP, help=f"Count failures of that day or later: {PAST_FORM}.  [default: 30d]"
    ),
    click.option("--until", type=PAST_TIMESTAMP, help="Count only failures before that time, by days (UTC)."),
)

_errors = Resource(
    name="errors",
    help="List the errors of failed jobs; resolve, ignore, reopen and retry them.",
    noun="error",
    example="err_01…",
    columns=_COLUMNS,
)
_errors.add_list(
    "List groups of failed jobs, the latest seen first.",
    click.option("--worker", "worker_id", help="Only errors of this worker."),
    click.option("--status", type=click.Choice(["open", "resolved", "ignored"]), help="Only errors of this status."),
    _range,
)
_errors.add_show("Show an error.", _range)
_errors.add_action("resolve", "Resolve errors. They reopen when another job fails with the same error.")
_errors.add_action("ignore", "Ignore errors. Their jobs are still counted.")
_errors.add_action("reopen", "Reopen errors.")
_errors.add_action(
    "retry", "Trigger a new job for each failed job of errors. `ava operations show` follows the operation."
)
errors = _errors.group
