"""`ava errors …`: commands about the errors of failed jobs, which call the public API."""

from __future__ import annotations

import click

from ava.cli.options.arguments import PAST_FORM, PAST_TIMESTAMP
from ava.cli.options.resources import Resource, with_options
from ava.cli.screen.tables import Column, ago

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
