"""`ava jobs cancel|retry`: act on jobs, by id or filter."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ava.cli.api.factory import GROUPS
from ava.cli.api.jobs import chosen_filters, filter_options
from ava.cli.api.operations import follow_operation
from ava.cli.options.arguments import JOB_ID
from ava.cli.options.connection import connected
from ava.cli.options.inputs import JSON_OBJECT
from ava.cli.options.resources import with_options
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.terminal import confirm, yes_option
from ava.cli.screen.watching import follow_to_end
from ava.domain.jobs import priority as priorities

if TYPE_CHECKING:
    from ava.client import Client, Job

#: The options of a command that takes ids or filters.
_many_options = with_options(
    filter_options,
    click.option("--dry-run", is_flag=True, help="Print how many jobs match, and change none."),
    yes_option,
)


@GROUPS["jobs"].command()
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


@GROUPS["jobs"].command()
@click.argument("job_ids", type=JOB_ID, nargs=-1)
@click.option(
    "--input",
    "new_input",
    type=JSON_OBJECT,
    help="New input instead of the job's: JSON, @FILE, or - for standard input.",
)
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
    new_input: dict[str, Any] | None,
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
        if follow or new_input is not None or set_priority is not None:
            raise click.UsageError("--input, --set-priority and --follow need JOB_IDS; they do not work with filters.")
        _all_that_match(client, "retry", filters, dry_run=dry_run, yes=yes, printer=printer)
        return
    if follow and len(job_ids) > 1:
        raise click.UsageError("--follow takes exactly one JOB_ID.")

    def retry_one(job_id: str) -> Job:
        return client.jobs.retry(job_id, input=new_input, priority=set_priority, from_failed=failed)

    if follow:
        follow_to_end(client, retry_one(job_ids[0]), printer)
    else:
        _each(job_ids, retry_one, printer)


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
            printing.print_plain(f"{job_id}: {refusal}", is_error=True)
            continue
        if not printer.is_for_people:
            printer.record(job)
        elif job.id == job_id:
            printing.print_status(job_id, job.status)
        else:
            printing.print_plain(f"{job_id} -> {job.id}")
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
            printing.print_plain(f"{jobs} match{'es' if total == 1 else ''}.")
        else:
            printing.print_json({"total": total})
        return
    words = ", ".join(f"{name} {value}" for name, value in chosen.items())
    confirm(f"{kind.capitalize()} {jobs} ({words})?", yes=yes, instead=", or --dry-run to count the matching jobs")
    start = client.operations.retry if kind == "retry" else client.operations.cancel
    follow_operation(client, start(**chosen), printer)
