"""`ava jobs cancel|retry|export`: act on jobs that ids or filters select."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ava.cli.api.jobs import chosen_filters, filter_options
from ava.cli.api.operations import follow_operation
from ava.cli.options.arguments import ISO_FORM, JOB_ID, TAG, TIMESTAMP
from ava.cli.options.connection import connected
from ava.cli.options.inputs import read_input
from ava.cli.screen import printing
from ava.cli.screen.following import follow_to_end
from ava.cli.screen.output import RecordPrinter, output_options
from ava.domain.jobs import priority as priorities

if TYPE_CHECKING:
    from ava.client import Client, Job


def _many_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that takes ids or filters."""
    command = click.option("--yes", is_flag=True, help="Do not ask before acting on all matching jobs.")(command)
    command = click.option("--dry-run", is_flag=True, help="Print how many jobs match, and change none.")(command)
    return filter_options(command)


@click.command()
@click.argument("job_id", type=JOB_ID)
@click.option("--set-priority", type=click.IntRange(priorities.FIRST, priorities.LAST), help="New priority of the job.")
@click.option("--at", "scheduled_at", type=TIMESTAMP, help=f"New start time: {ISO_FORM}.")
@click.option("--now", is_flag=True, help="Start the job as soon as possible.")
@click.option("--expires-in", type=click.IntRange(1), help="Seconds until it is cancelled if it has not started.")
@click.option("--never-expires", is_flag=True, help="Remove the expiry.")
@click.option("--tag", "tags", type=TAG, multiple=True, help="Replace the job's tags, KEY=VALUE; repeatable.")
@click.option("--no-tags", is_flag=True, help="Remove all tags.")
@output_options
@connected
def change(client: Client, job_id: str, *, printer: RecordPrinter, **given: Any) -> None:
    """Change the queued job JOB_ID.

    \b
    ava jobs change job_01… --set-priority 1 --now
    """
    wanted = {
        "priority": (given["set_priority"] is not None, given["set_priority"]),
        "scheduled_at": (given["now"] or given["scheduled_at"] is not None, given["scheduled_at"]),
        "expires_in": (given["never_expires"] or given["expires_in"] is not None, given["expires_in"]),
        "tags": (given["no_tags"] or bool(given["tags"]), dict(given["tags"])),
    }
    changes: Any = {name: value for name, (is_given, value) in wanted.items() if is_given}
    if not changes:
        raise click.UsageError("Nothing to change: give at least one option, such as --set-priority 1.")
    printer.record(client.jobs.update(job_id, **changes))


@click.command()
@click.argument("job_ids", type=JOB_ID, nargs=-1)
@_many_options
@output_options
@connected
def cancel(
    client: Client, job_ids: tuple[str, ...], dry_run: bool, yes: bool, printer: RecordPrinter, **filters: Any
) -> None:
    """Cancel the jobs JOB_IDS, or all queued and running jobs that match the options.

    \b
    ava jobs cancel job_01… job_02…
    ava jobs cancel --worker wkr_nightly --status queued --dry-run
    """
    if _is_by_id(job_ids, filters, dry_run=dry_run):
        _each(job_ids, client.jobs.cancel, printer)
    else:
        _all_that_match(client, "cancel", filters, dry_run=dry_run, yes=yes, printer=printer)


@click.command()
@click.argument("job_ids", type=JOB_ID, nargs=-1)
@click.option("--input", "input_text", help="New input instead of the job's: JSON, @FILE, or - for standard input.")
@click.option(
    "--set-priority", type=click.IntRange(priorities.FIRST, priorities.LAST), help="New priority instead of the job's."
)
@click.option("--follow", is_flag=True, help="Print the new job's log as it runs; exit 0 only if it completes.")
@click.option(
    "--failed",
    is_flag=True,
    help="With JOB_IDS: also retry the later entries of each job's graph that did not complete. Without: the same "
    "as --status failed.",
)
@_many_options
@output_options
@connected
def retry(
    client: Client,
    job_ids: tuple[str, ...],
    *,
    input_text: str | None,
    set_priority: int | None,
    follow: bool,
    failed: bool,
    dry_run: bool,
    yes: bool,
    printer: RecordPrinter,
    **filters: Any,
) -> None:
    """Retry the ended jobs JOB_IDS, or all ended jobs that match the options. Each retry is a new job.

    \b
    ava jobs retry job_01… --input '{"seconds": 1}' --follow
    ava jobs retry --failed --worker wkr_nightly --created-after 2025-06-01 --dry-run
    """
    if failed and not job_ids:
        if filters["status"] not in (None, "failed"):
            raise click.UsageError("--failed selects failed jobs, so it allows no other --status: omit one of them.")
        filters["status"] = "failed"
    is_by_id = _is_by_id(job_ids, filters, dry_run=dry_run)
    if not is_by_id:
        if follow or input_text is not None or set_priority is not None:
            raise click.UsageError("--input, --set-priority and --follow need JOB_IDS; they do not work with filters.")
        _all_that_match(client, "retry", filters, dry_run=dry_run, yes=yes, printer=printer)
        return
    if follow and len(job_ids) > 1:
        raise click.UsageError("--follow takes exactly one JOB_ID.")
    given = None if input_text is None else read_input(input_text)

    def retry_one(job_id: str) -> Job:
        return client.jobs.retry(job_id, input=given, priority=set_priority, from_failed=failed)

    if follow:
        follow_to_end(client, retry_one(job_ids[0]), printer)
    else:
        _each(job_ids, retry_one, printer)


@click.command()
@filter_options
@connected
def export(client: Client, **filters: Any) -> None:
    """Print all matching jobs, newest first: one complete job per line, as JSON.

    \b
    ava jobs export --status failed > failed.ndjson
    """
    for job in client.jobs.export(**chosen_filters(filters)):
        printing.print_json(job)


COMMANDS = (cancel, change, retry, export)


def _is_by_id(job_ids: tuple[str, ...], filters: dict[str, Any], *, dry_run: bool) -> bool:
    """Return True if ids select the jobs. Raises `UsageError` if neither ids nor filters do, or both."""
    is_filtered = bool(chosen_filters(filters))
    if job_ids and (is_filtered or dry_run):
        raise click.UsageError("Give either JOB_IDS, or filters (with or without --dry-run).")
    if not job_ids and not is_filtered:
        raise click.UsageError("Give JOB_IDS or at least one filter, such as --status failed.")
    return bool(job_ids)


def _each(job_ids: tuple[str, ...], act: Callable[[str], Job], printer: RecordPrinter) -> None:
    """Act on each job and print the result; exit 1 if one was refused."""
    from ava.client import ApiConflict, ApiNotFound, ApiRefused

    if len(job_ids) == 1:
        printer.record(act(job_ids[0]))
        return
    are_refused = False
    for job_id in job_ids:
        try:
            job = act(job_id)
        except (ApiConflict, ApiNotFound, ApiRefused) as refusal:
            are_refused = True
            printing.print_text(f"{job_id}: {refusal}", is_error=True)
            continue
        if not printer.is_for_people:
            printer.record(job)
        elif job.id == job_id:
            printing.print_status(job_id, job.status)
        else:
            printing.print_text(f"{job_id} -> {job.id}")
    sys.exit(1 if are_refused else 0)


def _all_that_match(
    client: Client, kind: str, filters: dict[str, Any], *, dry_run: bool, yes: bool, printer: RecordPrinter
) -> None:
    """Act on all matching jobs, after a confirmation, and show the progress; exit 1 if not all were processed."""
    chosen = chosen_filters(filters)
    total = client.operations.count(kind, **chosen)
    jobs = f"{total:,} job{'' if total == 1 else 's'}"
    if dry_run:
        if printer.is_for_people:
            printing.print_text(f"{jobs} match{'es' if total == 1 else ''}.")
        else:
            printing.print_json({"total": total})
        return
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(
                "Standard input is no terminal, so the command cannot ask for confirmation: give --yes, or "
                "--dry-run to count the matching jobs."
            )
        words = ", ".join(f"{name} {value}" for name, value in chosen.items())
        click.confirm(printing.clean(f"{kind.capitalize()} {jobs} ({words})?"), abort=True, err=True)
    start = client.operations.retry if kind == "retry" else client.operations.cancel
    follow_operation(client, start(**chosen), printer)
