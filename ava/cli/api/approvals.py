"""`ava approvals …`: list, show and decide the approvals that jobs request."""

from __future__ import annotations

import json
from typing import Any

import click

from ava.cli.options.resources import Decorator, Resource, with_options
from ava.cli.screen.tables import Column, ago

_COLUMNS = (
    Column(title="ID", value=lambda approval: approval.id),
    Column(title="TITLE", value=lambda approval: approval.title, min_width=8),
    Column(title="WORKER", value=lambda approval: approval.worker_id, min_width=8),
    Column(title="REQUESTED", value=lambda approval: ago(approval.requested_at)),
    Column(title="STATUS", value=lambda approval: approval.status),
    Column(title="JOB", value=lambda approval: approval.job_id, is_wide=True),
    Column(title="ROLES", value=lambda approval: ", ".join(approval.users or approval.roles), is_wide=True),
    Column(title="EXPIRES", value=lambda approval: approval.expires_at, is_wide=True),
)
_STATUSES = ["pending", "approved", "denied", "expired", "cancelled"]

_approvals = Resource(
    name="approvals",
    help="List and show requests for approval; approve or deny them.",
    noun="approval",
    example="apr_01…",
    columns=_COLUMNS,
)
_approvals.add_list(
    "List approvals: pending ones oldest first, others newest first.",
    click.option("--status", type=click.Choice(_STATUSES), help="Only approvals of this status."),
    click.option("--job", "job_id", help="Only approvals of this job."),
    click.option("--mine", is_flag=True, help="Only pending approvals that you may decide."),
)
_approvals.add_show("Show an approval with its content, its payload_hash and its decisions.")


def _data(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
    try:
        return None if value is None else json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"it must be JSON: {error}") from None


_DECISION: tuple[Decorator, ...] = (
    with_options(
        click.option(
            "--hash", "payload_hash", required=True, help="The payload_hash of the content that you have seen."
        ),
        click.option("--data", callback=_data, help="The answer as JSON, if the approval has a schema."),
        click.option("--comment", help="The reason."),
    ),
)
_approvals.add_action("approve", "Approve the content with a payload_hash, as `show` prints it.", *_DECISION)
_approvals.add_action("deny", "Deny the content with a payload_hash, as `show` prints it.", *_DECISION)
approvals = _approvals.group
