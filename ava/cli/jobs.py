"""`ava jobs …` and `ava workers …`: the operator's commands, which call the public API."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli import printing
from ava.cli.connection import connected
from ava.cli.inputs import read_input
from ava.domain import priority as priorities

if TYPE_CHECKING:
    from ava.client import Client, Event, Job

__all__ = ["jobs", "workers"]

_STATUSES = click.Choice(["queued", "running", "completed", "failed", "cancelled"])
_TRIGGERS = click.Choice(["manual", "scheduled", "webhook", "event"])
_json: Callable[..., Any] = click.option("--json", "is_json", is_flag=True, help="Print JSON on a terminal too.")


@click.group()
def jobs() -> None:
    """Trigger, watch, cancel and retry jobs."""


@click.group()
def workers() -> None:
    """List workers."""


@jobs.command()
@click.argument("worker_id")
@click.option("--input", "input_text", default="{}", help="The input as JSON, @FILE, or - for standard input.")
@click.option(
    "--priority",
    type=click.IntRange(priorities.FIRST, priorities.LAST),
    help=f"{priorities.FIRST} (first) to {priorities.LAST} (last).  [default: {priorities.DEFAULT}]",
)
@click.option("--trigger", type=_TRIGGERS, help="The kind of trigger.  [default: manual]")
@click.option("--at", "scheduled_at", help="When to start the job, in ISO 8601.  [default: at once]")
@click.option("--key", help="An idempotency key: calls with the same key trigger one job.")
@click.option("--follow", is_flag=True, help="Print its log as it runs; exit 0 only if it completes.")
@_json
@connected
def trigger(
    client: Client, worker_id: str, input_text: str, key: str | None, follow: bool, is_json: bool, **rest: Any
) -> None:
    """Trigger a job of WORKER_ID."""
    job = client.trigger(worker_id, read_input(input_text), idempotency_key=key, **rest)
    if follow:
        _follow(client, job, is_json=is_json)
    else:
        _print(job, is_json)


@jobs.command("list")
@click.option("--worker", "worker_id", help="Only jobs of this worker.")
@click.option("--status", type=_STATUSES, help="Only jobs with this status.")
@click.option("--trigger", type=_TRIGGERS, help="Only jobs of this kind of trigger.")
@click.option("--after", "created_after", help="Only jobs created then or later, in ISO 8601.")
@click.option("--before", "created_before", help="Only jobs created before then, in ISO 8601.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="The most jobs to print.")
@_json
@connected
def list_jobs(client: Client, limit: int, is_json: bool, **filters: Any) -> None:
    """List jobs, newest first."""
    found = islice(client.list(per_page=min(limit, 100), **filters), limit)
    if printing.for_people(is_json):
        titles = ("ID", "WORKER", "STATUS", "PRIORITY", "TRIGGER", "CREATED", "TOOK", "ERROR")
        printing.print_table(titles, map(_row, found))
    else:
        for job in found:
            printing.print_json(job)


@jobs.command()
@click.argument("job_id")
@click.option("--wait", is_flag=True, help="Wait until the job is final.")
@_json
@connected
def show(client: Client, job_id: str, wait: bool, is_json: bool) -> None:
    """Show a job."""
    _print(client.wait(job_id) if wait else client.get(job_id), is_json)


@jobs.command()
@click.argument("job_id")
@click.option("-f", "--follow", is_flag=True, help="Print new lines until the job is final.")
@click.option("--level", type=click.Choice(["info", "warn", "error"]), help="Only lines of this level.")
@_json
@connected
def logs(client: Client, job_id: str, follow: bool, level: str | None, is_json: bool) -> None:
    """Show a job's log."""
    for line in client.logs(job_id, level=level, follow=follow):
        if printing.for_people(is_json):
            printing.print_line(line)
        else:
            printing.print_json(line)


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True)
@_json
@connected
def cancel(client: Client, job_ids: tuple[str, ...], is_json: bool) -> None:
    """Cancel jobs."""
    for job_id in job_ids:
        _print(client.cancel(job_id), is_json)


@jobs.command()
@click.argument("job_id")
@click.option("--follow", is_flag=True, help="Print the new job's log as it runs; exit 0 only if it completes.")
@_json
@connected
def retry(client: Client, job_id: str, follow: bool, is_json: bool) -> None:
    """Trigger a new job with the worker and the input of a final one."""
    job = client.retry(job_id)
    if follow:
        _follow(client, job, is_json=is_json)
    else:
        _print(job, is_json)


@jobs.command()
@click.argument("job_id")
@_json
@connected
def why(client: Client, job_id: str, is_json: bool) -> None:
    """Print why a job has its status."""
    explanation = client.why(job_id)
    if printing.for_people(is_json):
        printing.print_text(explanation.sentence)
    else:
        printing.print_json(explanation)


@workers.command("list")
@_json
@connected
def list_workers(client: Client, is_json: bool) -> None:
    """List workers."""
    found = client.workers()
    if printing.for_people(is_json):
        titles = ("ID", "NAME", "STATUS", "LIVE", "QUEUE", "TIMEOUT", "RETRIES")
        rows = (
            (w.id, w.name, w.status, "yes" if w.live else "no", w.queue, f"{w.timeout_seconds:g} s", str(w.max_retries))
            for w in found
        )
        printing.print_table(titles, rows)
    else:
        for worker in found:
            printing.print_json(worker)


def _row(job: Job) -> tuple[str, ...]:
    took = "-" if job.duration_ms is None else f"{job.duration_ms} ms"
    created = job.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    error = (job.error or "")[:60]
    return job.id, job.worker_id, job.status, str(job.priority), job.trigger, created, took, error


def _print(job: Job, is_json: bool) -> None:
    if printing.for_people(is_json):
        printing.print_record(job)
    else:
        printing.print_json(job)


def _follow(client: Client, job: Job, *, is_json: bool) -> None:
    """Print the events of a job until it is final; exit 0 only if it completed."""
    if printing.for_people(is_json):
        ended = _follow_for_people(client.events(job.id), job)
    else:
        ended = _follow_for_programs(client.events(job.id))
    sys.exit(0 if ended is not None and ended.status == "completed" else 1)


def _follow_for_programs(events: Iterator[Event]) -> Job | None:
    for event in events:
        if event.line is not None:
            printing.print_json(event.line)
        elif event.ended is not None:
            printing.print_json(event.ended)
            return event.ended
    return None


def _follow_for_people(events: Iterator[Event], job: Job) -> Job | None:
    printing.print_status(job.id, job.status)
    bar = _Bar()
    for event in events:
        bar.clear()
        if event.line is not None:
            printing.print_line(event.line)
        elif event.progress is not None:
            bar.text = _bar_text(event.progress.fraction, event.progress.message)
        elif event.status is not None:
            printing.print_status(job.id, event.status)
        elif event.ended is not None:
            if event.ended.error:
                printing.print_text(event.ended.error, colour="red")
            elif event.ended.output is not None:
                printing.print_json(event.ended.output)
            return event.ended
        bar.draw()
    return None


class _Bar:
    """A progress bar below the printed lines."""

    text = ""

    def clear(self) -> None:
        """Erase the bar, before a line is printed."""
        if self.text:
            click.echo("\r\x1b[2K", nl=False)

    def draw(self) -> None:
        """Draw the bar."""
        if self.text:
            click.echo(self.text, nl=False)


def _bar_text(fraction: float, message: str | None) -> str:
    filled, shown = round(max(0.0, min(1.0, fraction)) * 30), printing.clean(message or "")
    return f"[{'#' * filled}{'.' * (30 - filled)}] {fraction:4.0%} {shown}"
