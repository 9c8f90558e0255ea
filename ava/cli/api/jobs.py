"""`ava jobs trigger|watch|show|logs|why`: commands about jobs that are more than one call."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.api import factory
from ava.cli.api.factory import Send, command
from ava.cli.options.arguments import JOB_ID, PAST_FORM, PAST_TIMESTAMP
from ava.cli.options.connection import connected
from ava.cli.options.inputs import INPUT_VALUE, with_values
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column, milliseconds, ran
from ava.cli.screen.watching import follow_to_end, until_interrupted, watch_list

if TYPE_CHECKING:
    from ava.client import Client

#: Max runs of a job that `show` prints.
_MAX_RUNS = 200
#: The options that filter jobs.
filter_options = factory.options("jobs.list", without=("sort",))


def chosen_filters(filters: dict[str, Any]) -> dict[str, Any]:
    """Return the filters in the client's form."""
    return factory.given_fields("jobs.list", filters)


@command(
    "jobs.trigger",
    click.option(
        "--set",
        "values",
        type=INPUT_VALUE,
        multiple=True,
        help="An input value, PATH=VALUE; the value is JSON or a string; repeatable.",
    ),
    click.option("--follow", is_flag=True, help="Print its log as it runs; exit 0 only if it completes."),
)
def trigger(
    client: Client,
    send: Send,
    *,
    values: tuple[tuple[str, str], ...],
    follow: bool,
    printer: RecordPrinter,
    **given: Any,
) -> None:
    job = send(**given | {"input": with_values(given["input"] or {}, values)})
    if follow:
        follow_to_end(client, job, printer)
    else:
        printer.record(job)


jobs = factory.GROUPS["jobs"]


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
        columns = factory.columns("jobs.list")
        watch_list(
            lambda: list(islice(client.jobs.list(per_page=limit, **chosen), limit)), columns, printer, every_seconds
        )


@command("jobs.get", click.option("--wait", is_flag=True, help="Wait until the job has ended."))
def show(client: Client, send: Send, wait: bool, job_id: str, printer: RecordPrinter) -> None:
    job = client.jobs.wait(job_id) if wait else send(job_id=job_id)
    printer.record(job)
    if printer.is_for_people and (runs := list(islice(client.jobs.runs(job_id), _MAX_RUNS))):
        click.echo()
        printing.print_fields({"waited": milliseconds((job.usage or {}).get("wait_ms")), "ran": ran(job)})
        click.echo()
        number = Column(title="RUN", value=lambda run: runs.index(run) + 1)
        printer.records(runs, (number, *factory.columns("jobs.runs")))


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


@command("jobs.why")
def why(_: Client, send: Send, printer: RecordPrinter, **given: Any) -> None:
    explanation = send(**given)
    if printer.is_for_people:
        printing.print_plain(printing.with_local_times(explanation.sentence))
    else:
        printer.record(explanation)
