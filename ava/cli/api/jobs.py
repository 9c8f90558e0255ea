"""`ava jobs …`: the operator's commands about jobs, which call the public API."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import ISO_FORM, JOB_ID, PAST_FORM, PAST_TIMESTAMP, TAG, TIMESTAMP, WHERE, WORKER_ID
from ava.cli.options.connection import connected
from ava.cli.options.inputs import INPUT_VALUE, JSON_OBJECT, approval_option, key_options, take_keys, with_values
from ava.cli.options.resources import limit_option, priority_option, with_options
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column, milliseconds, ran
from ava.cli.screen.watching import follow_to_end, until_interrupted, watch_list
from ava.domain.jobs import priority as priorities
from ava.domain.jobs.wait_reasons import KNOWN

if TYPE_CHECKING:
    from ava.client import Client, Job, JobRun

_STATUSES = click.Choice(["queued", "running", "completed", "failed", "cancelled"])
_PRIORITIES = click.IntRange(priorities.FIRST, priorities.LAST)
_SORTS = click.Choice(["duration", "-duration", "waited", "-waited", "priority", "-priority"])
_TRIGGERS = click.Choice(["manual", "scheduled", "webhook", "event"])
_REASONS = click.Choice([reason.value for reason in KNOWN])

_COLUMNS = (
    Column(title="ID", value=lambda job: job.id),
    Column(title="WORKER", value=lambda job: job.worker_id, min_width=10),
    Column(title="STATUS", value=lambda job: job.status),
    Column(title="WAITS FOR", value=lambda job: job.waits_for, is_wide=True),
    Column(title="PRIORITY", value=lambda job: job.priority, is_wide=True),
    Column(title="TRIGGER", value=lambda job: job.trigger, is_wide=True),
    Column(title="BY", value=lambda job: job.triggered_by, is_wide=True),
    Column(title="CREATED", value=lambda job: job.created_at),
    Column(title="RAN", value=ran, is_wide=True),
    Column(title="ATTEMPT", value=lambda job: f"{job.attempt} of {job.max_attempts}", is_wide=True),
    Column(title="ERROR", value=lambda job: job.error, min_width=8, is_optional=True, may_be_below=True),
)


#: Max runs of a job that `show` prints.
_MAX_RUNS = 200


def _mebibytes(count: int | None) -> str | None:
    return None if count is None else f"{count} MiB"


_RUN_COLUMNS = (
    Column(title="RUN", value=lambda row: row[0]),
    Column(title="ATTEMPT", value=lambda row: row[1].attempt, is_wide=True),
    Column(title="OUTCOME", value=lambda row: row[1].outcome or "running", min_width=9),
    Column(title="STARTED", value=lambda row: row[1].started_at),
    Column(title="RAN", value=lambda row: milliseconds(row[1].duration_ms), min_width=9),
    Column(title="CPU", value=lambda row: milliseconds(row[1].cpu_ms), min_width=9),
    Column(title="MEMORY", value=lambda row: _mebibytes(row[1].peak_memory_mb), min_width=9),
    Column(title="WAITED", value=lambda row: milliseconds(row[1].wait_ms), min_width=9),
)
_FILTERS = (
    click.option("--worker", "worker_id", type=WORKER_ID, help="Only jobs of this worker."),
    click.option("--status", type=_STATUSES, help="Only jobs with this status."),
    click.option("--trigger", type=_TRIGGERS, help="Only jobs with this trigger."),
    click.option("--waits-for", type=_REASONS, help="Only queued jobs that wait for this."),
    click.option(
        "--after",
        "--since",
        "--created-after",
        "created_after",
        type=PAST_TIMESTAMP,
        help=f"Only jobs created then or later: {PAST_FORM}.",
    ),
    click.option(
        "--before", "--created-before", "created_before", type=PAST_TIMESTAMP, help="Only jobs created before then."
    ),
    click.option("--completed-after", type=PAST_TIMESTAMP, help="Only jobs that ended then or later."),
    click.option("--completed-before", type=PAST_TIMESTAMP, help="Only jobs that ended before then."),
    click.option("--priority", type=_PRIORITIES, help="Only jobs of this priority."),
    click.option("--by", "triggered_by", help="Only jobs of this user, schedule or key."),
    click.option("--error", help="Only jobs with this string in their error, ignoring case."),
    click.option("--id", help="Only jobs with this part of an id: job_01k… matches its beginning, …8w3f its end."),
    click.option("--error-id", help="Only failed jobs of this error group, err_…."),
    click.option("--tree", "tree_id", type=JOB_ID, help="Only jobs of the tree with this root job."),
    click.option("--parent", "parent_id", type=JOB_ID, help="Only child jobs of this job."),
    click.option(
        "--roots", "root", is_flag=True, default=None, help="Only the root job of each tree, and jobs without a tree."
    ),
    click.option("--tag", "tags", type=TAG, multiple=True, help="Only jobs with this tag, KEY=VALUE; repeatable."),
    click.option(
        "--where", "input", type=WHERE, multiple=True, help="Only jobs with this input value, PATH=VALUE; repeatable."
    ),
)


@click.group()
def jobs() -> None:
    """Trigger, watch, cancel and retry jobs."""


@jobs.command()
@click.argument("worker_id", type=WORKER_ID)
@click.option(
    "--input",
    "given",
    type=JSON_OBJECT,
    default="{}",
    show_default=True,
    help="The input as JSON, @FILE, or - for standard input.",
)
@click.option(
    "--set",
    "values",
    type=INPUT_VALUE,
    multiple=True,
    help="An input value, PATH=VALUE; the value is JSON or a string; repeatable.",
)
@priority_option
@click.option("--trigger", type=_TRIGGERS, help="The job's trigger.  [default: manual]")
@click.option("--at", "scheduled_at", type=TIMESTAMP, help=f"When to start the job: {ISO_FORM}.  [default: now]")
@click.option("--expires-in-seconds", type=click.IntRange(1), help="Cancel the job if it has not started by then.")
@click.option("--max-retries", type=click.IntRange(0), help="Max retries, at most the worker's.")
@click.option("--deadline-seconds", type=click.IntRange(1), help="Seconds until the job fails if it has not ended.")
@click.option("--start-before", type=TIMESTAMP, help="Cancel the job if it has not started by this time.")
@click.option("--tag", "tags", type=TAG, multiple=True, help="A tag to find the job by, KEY=VALUE; repeatable.")
@approval_option
@key_options
@click.option("--key", help="An idempotency key: calls with the same key trigger one job.")
@click.option(
    "--replicated", is_flag=True, help="Return only after a synchronous standby of the database has stored the job."
)
@click.option("--follow", is_flag=True, help="Print its log as it runs; exit 0 only if it completes.")
@output_options
@connected
def trigger(
    client: Client,
    worker_id: str,
    *,
    given: dict[str, Any],
    values: tuple[tuple[str, str], ...],
    key: str | None,
    replicated: bool,
    follow: bool,
    printer: RecordPrinter,
    **rest: Any,
) -> None:
    """Trigger a job of WORKER_ID.

    \b
    ava jobs trigger wkr_sleep --set seconds=5 --follow
    """
    rules = take_keys(rest)
    job = client.jobs.trigger(
        worker_id,
        with_values(given, values),
        idempotency_key=key,
        is_replicated=replicated,
        **chosen_filters(rest),
        **rules,
    )
    if follow:
        follow_to_end(client, job, printer)
    else:
        printer.record(job)


filter_options = with_options(*_FILTERS)


def chosen_filters(filters: dict[str, Any]) -> dict[str, Any]:
    """Return the filters in the client's form."""
    given = filters | {name: dict(filters[name]) or None for name in ("tags", "input") if name in filters}
    return {name: value for name, value in given.items() if value is not None}


@jobs.command("list")
@filter_options
@limit_option
@click.option(
    "--sort",
    type=_SORTS,
    help="Sort the matches among the newest 20,000 jobs; a leading minus sorts in descending order.",
)
@output_options
@connected
def list_jobs(client: Client, limit: int, sort: str | None, printer: RecordPrinter, **filters: Any) -> None:
    """List jobs, newest first unless they are sorted.

    \b
    ava jobs list --status failed --since 2h
    """
    found = islice(client.jobs.list(per_page=min(limit, 100), sort=sort, **chosen_filters(filters)), limit)
    printer.records(found, _COLUMNS, empty="No jobs match.")


@jobs.command()
@click.argument("job_id", type=JOB_ID, required=False)
@filter_options
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="Max jobs to watch.")
@click.option(
    "--every-seconds", type=click.FloatRange(0.5, 3600), default=2, show_default=True, help="Polling interval."
)
@output_options
@connected
def watch(
    client: Client, job_id: str | None, limit: int, every_seconds: float, printer: RecordPrinter, **filters: Any
) -> None:
    """Watch a job until it ends, or the newest jobs until Ctrl-C.

    With JOB_ID, print the job's log and progress; exit 0 only if the job completes. Without JOB_ID, a terminal shows
    the list as it changes, and a pipe gets one line for each new or changed job.

    \b
    ava jobs watch job_01…
    ava jobs watch --status running
    """
    if job_id is not None:
        follow_to_end(client, client.jobs.get(job_id), printer)
    else:
        chosen = chosen_filters(filters)
        watch_list(
            lambda: list(islice(client.jobs.list(per_page=limit, **chosen), limit)), _COLUMNS, printer, every_seconds
        )


@jobs.command()
@click.argument("job_id", type=JOB_ID)
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@output_options
@connected
def show(client: Client, job_id: str, wait: bool, printer: RecordPrinter) -> None:
    """Show a job. A table also shows its runs.

    \b
    ava jobs show job_01… --wait
    """
    job = client.jobs.wait(job_id) if wait else client.jobs.get(job_id)
    printer.record(job)
    if printer.is_for_people:
        _print_runs(job, islice(client.jobs.runs(job_id), _MAX_RUNS), printer)


def _print_runs(job: Job, found: Iterable[JobRun], printer: RecordPrinter) -> None:
    if not (runs := list(found)):
        return
    click.echo()
    printing.print_fields({"waited": milliseconds((job.usage or {}).get("wait_ms")), "ran": ran(job)})
    click.echo()
    printer.records(list(enumerate(runs, 1)), _RUN_COLUMNS)


@jobs.command()
@click.argument("job_id", type=JOB_ID)
@click.option("-f", "--follow", is_flag=True, help="Print new lines until the job ends.")
@click.option("--level", type=click.Choice(["info", "warn", "error"]), help="Only lines of this level.")
@click.option("--tail", type=click.IntRange(0), help="Number of lines to print, from the end of the log.")
@click.option("--since", type=PAST_TIMESTAMP, help=f"Only lines since then: {PAST_FORM}.")
@click.option("--grep", "text", help="Only lines with this string, ignoring case.")
@output_options
@connected
def logs(client: Client, job_id: str, printer: RecordPrinter, **choice: Any) -> None:
    """Show a job's log.

    \b
    ava jobs logs job_01… -f
    """
    with until_interrupted(job_id):
        printer.lines(client.jobs.logs(job_id, **choice))


@jobs.command()
@click.argument("job_id", type=JOB_ID)
@output_options
@connected
def why(client: Client, job_id: str, printer: RecordPrinter) -> None:
    """Print why a job has its status.

    \b
    ava jobs why job_01…
    """
    explanation = client.jobs.why(job_id)
    if printer.is_for_people:
        printing.print_plain(printing.with_local_times(explanation.sentence))
    else:
        printer.record(explanation)
