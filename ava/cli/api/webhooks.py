"""`ava webhooks …`, `ava deliveries …`: commands about webhooks and deliveries, which call the public API."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import DELIVERER_ID, HOOK_ID, PAST_FORM, PAST_TIMESTAMP, WEBHOOK_ID
from ava.cli.options.connection import connected
from ava.cli.options.resources import (
    RecordOption,
    Resource,
    changed_fields,
    limit_option,
    new_paused_option,
    paused_option,
    time_range_options,
)
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.domain.delivery import RECEIVED, REDELIVERABLE, REPLAYABLE, SENT

if TYPE_CHECKING:
    from datetime import datetime

    from ava.client import Client, Delivery


#: Max seconds that `test --wait` waits: an endpoint has ten seconds to respond.
_TEST_SECONDS = 15.0

_COLUMNS = (
    Column(title="ID", value=lambda webhook: webhook.id),
    Column(title="STATUS", value=lambda webhook: "paused" if webhook.paused else webhook.status),
    Column(title="URL", value=lambda webhook: webhook.url, min_width=16),
    Column(title="EVENTS", value=lambda webhook: ", ".join(webhook.events), min_width=14),
    Column(title="CREATED", value=lambda webhook: webhook.created_at, is_wide=True),
)

_events: Callable[..., Any] = click.option(
    "--event", "events", multiple=True, help="Event type, such as ava.job.failed; repeatable."
)
_secret_file: Callable[..., Any] = click.option(
    "--secret-file",
    cls=RecordOption,
    if_omitted="prompt",
    type=click.Path(allow_dash=True),
    help="A file with the secret, or - (stdin).",
)


_webhooks = Resource(
    name="webhooks",
    help="Create, change and test webhooks, which send events to your endpoints.",
    noun="webhook",
    example="wh_01…",
    id_type=WEBHOOK_ID,
    columns=_COLUMNS,
)
_webhooks.add_list(
    "List webhooks, newest first.", paused_option, empty="No webhooks match: create one with `ava webhooks create`."
)
_webhooks.add_show("Show a webhook.")
_webhooks.add_pauses(
    pause="Pause webhooks: nothing is sent, and deliveries wait until they are resumed.", resume="Resume webhooks."
)
_webhooks.add_delete("Delete webhooks, with their secrets and deliveries.")
webhooks = _webhooks.group


@webhooks.command()
@click.argument("endpoint", metavar="URL")
@_events
@click.option("--roots-only", is_flag=True, help="Send no events of child jobs.")
@new_paused_option
@_secret_file
@output_options
@connected
def create(
    client: Client,
    endpoint: str,
    *,
    events: tuple[str, ...],
    roots_only: bool,
    paused: bool,
    secret_file: str | None,
    printer: RecordPrinter,
) -> None:
    """Create a webhook: events are sent to URL from now on, by default of completed and failed jobs.

    The secret is not an argument, because every process of the machine can read the arguments of the others.

    \b
    ava webhooks create https://example.com/hook --event ava.job.failed
    """
    chosen = events or ("ava.job.completed", "ava.job.failed")
    secret = read_secret(secret_file)
    printer.record(client.webhooks.create(endpoint, chosen, secret, roots_only=roots_only, paused=paused))


@webhooks.command()
@click.argument("webhook_id", type=WEBHOOK_ID)
@click.option("--to", "new_url", metavar="URL", help="New URL for events.")
@_events
@click.option("--roots-only/--all-jobs", default=None, help="Whether to send events of child jobs.")
@_secret_file
@click.option(
    "--new-secret", is_flag=True, help="Prompt for a new secret; requests are signed with both secrets for 24 hours."
)
@output_options
@connected
def update(
    client: Client,
    webhook_id: str,
    *,
    new_url: str | None,
    events: tuple[str, ...],
    roots_only: bool | None,
    secret_file: str | None,
    new_secret: bool,
    printer: RecordPrinter,
) -> None:
    """Change the URL, the events or the secret of a webhook.

    \b
    ava webhooks update wh_01… --to https://example.com/new
    """
    secret = read_secret(secret_file) if new_secret or secret_file else None
    given = {"url": new_url, "events": events, "secret": secret, "roots_only": roots_only}
    printer.record(client.webhooks.update(webhook_id, **changed_fields(given)))


def add_test(group: click.Group, noun: str, id_type: Any, calls_of: Callable[[Client], Any]) -> None:
    """Add `test ID`, which sends a test of a webhook or a notice."""

    @click.argument("owner_id", metavar=f"{noun.upper()}_ID", type=id_type)
    @click.option("--wait", is_flag=True, help="Wait for the response; exit 0 only if it was delivered.")
    @output_options
    @connected
    def run(client: Client, owner_id: str, wait: bool, printer: RecordPrinter) -> None:
        calls = calls_of(client)
        delivery = calls.test(owner_id)
        if wait:
            delivery = _await_request(calls, owner_id, delivery)
        printer.record(delivery)
        if wait and delivery.status != "delivered":
            sys.exit(1)

    example = {"webhook": "wh_01…", "notice": "ntc_01…"}[noun]
    help_text = f"Send a test of a {noun}.\n\n\b\nava {noun}s test {example} --wait"
    group.command("test", help=help_text)(run)


def _await_request(calls: Any, owner_id: str, delivery: Delivery) -> Delivery:
    """Return a delivery once its first request has ended, or unchanged after `_TEST_SECONDS`."""
    import time

    deadline = time.monotonic() + _TEST_SECONDS
    while not delivery.attempts and time.monotonic() < deadline:
        time.sleep(0.3)
        delivery = calls.deliveries.get(owner_id, delivery.id)
    return delivery


add_test(webhooks, "webhook", WEBHOOK_ID, lambda client: client.webhooks)


def read_secret(path: str | None, *, prompt: str = "Secret", option: str = "--secret-file") -> str:
    """Return the secret from a file or `-` (stdin), or ask the user for it. Raises `click.BadParameter`."""
    if path is None:
        return str(click.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True))
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text()).strip()
    except (OSError, UnicodeDecodeError):
        raise click.BadParameter(f"{path} cannot be read.", param_hint=option) from None


DELIVERY_COLUMNS = (
    Column(title="ID", value=lambda delivery: delivery.id),
    Column(title="STATUS", value=lambda delivery: delivery.status, min_width=9),
    Column(title="EVENT", value=lambda delivery: (delivery.event_type or "").removeprefix("ava."), min_width=9),
    Column(title="RESPONSE", value=lambda delivery: delivery.response_status, min_width=8),
    Column(title="JOBS", value=lambda delivery: len(delivery.job_ids)),
    Column(title="REASON", value=lambda delivery: delivery.reason, min_width=8, is_optional=True),
    Column(title="CREATED", value=lambda delivery: delivery.created_at, is_wide=True),
    Column(title="NEXT", value=lambda delivery: delivery.next_attempt_at, is_wide=True),
    Column(title="REQUESTS", value=lambda delivery: len(delivery.attempts or ()), is_wide=True),
)


@click.group()
def deliveries() -> None:
    """List and show deliveries of hooks, webhooks and notices; redeliver or replay them."""


def _calls_about(client: Client, owner_id: str) -> Any:
    """Return the client's calls about the deliveries of a hook, a webhook or a notice. Raises `BadParameter`."""
    calls = {"hk": client.hooks.deliveries, "wh": client.webhooks.deliveries, "ntc": client.notices.deliveries}
    found = calls.get(owner_id.partition("_")[0])
    if found is None:
        raise click.BadParameter("give the id of a hook (hk_…), a webhook (wh_…) or a notice (ntc_…).")
    return found


_owner = click.argument("owner_id", metavar="OWNER_ID", type=DELIVERER_ID)


@deliveries.command("list")
@_owner
@click.option(
    "--status",
    type=click.Choice([str(each) for each in (*SENT, *RECEIVED)]),
    help=f"Only with this status: {', '.join(SENT)} of a webhook, {', '.join(RECEIVED)} of a hook.",
)
@click.option("--event-type", help="Only events of this type.")
@time_range_options
@limit_option
@output_options
@connected
def list_deliveries(client: Client, owner_id: str, limit: int, printer: RecordPrinter, **filters: Any) -> None:
    """List the deliveries of a hook, a webhook or a notice, newest first.

    \b
    ava deliveries list wh_01… --status abandoned
    ava deliveries list hk_01… --since 2h
    """
    found = _calls_about(client, owner_id).list(owner_id, per_page=min(limit, 100), **filters)
    printer.records(islice(found, limit), DELIVERY_COLUMNS, empty="No deliveries match.")


@deliveries.command()
@_owner
@click.argument("delivery_id")
@output_options
@connected
def show(client: Client, owner_id: str, delivery_id: str, printer: RecordPrinter) -> None:
    """Show a delivery of a hook, a webhook or a notice with its body.

    \b
    ava deliveries show hk_01… del_01…
    """
    printer.record(_calls_about(client, owner_id).get(owner_id, delivery_id))


def _add_again(verb: str, help_text: str, owner: str, owner_type: Any, statuses: Sequence[str]) -> None:
    """Add the command that sends or processes deliveries again, chosen by their ids or by a time range."""

    @click.argument(owner, type=owner_type)
    @click.argument("delivery_ids", nargs=-1)
    @click.option("--since", type=PAST_TIMESTAMP, help=f"Every delivery of that time or later: {PAST_FORM}.")
    @click.option("--until", type=PAST_TIMESTAMP, help="With --since: only deliveries before that time.")
    @click.option(
        "--status",
        type=click.Choice([str(each) for each in statuses]),
        help="With --since: only deliveries with this status.",
    )
    @click.option("--event-type", help="With --since: only events of this type.")
    @output_options
    @connected
    def run(
        client: Client, delivery_ids: tuple[str, ...], since: datetime | None, printer: RecordPrinter, **given: Any
    ) -> None:
        owner_id = given.pop(owner)
        calls, filters = _calls_about(client, owner_id), {name: each for name, each in given.items() if each}
        if bool(delivery_ids) == bool(since):
            raise click.UsageError("Give either DELIVERY_IDS or --since.")
        if filters and not since:
            raise click.UsageError("--until, --status and --event-type need --since.")
        for delivery_id in delivery_ids:
            printer.record(getattr(calls, verb)(owner_id, delivery_id))
        if since:
            total = getattr(calls, f"{verb}_many")(owner_id, since, **filters)
            printing.print_plain(f"{total:,} deliveries: {verb} accepted.")

    deliveries.command(verb, help=help_text)(run)


_add_again(
    "redeliver",
    """Send deliveries of a webhook or a notice again, unchanged: abandoned ones unless --status is given.

    \b
    ava deliveries redeliver wh_01… del_01…
    ava deliveries redeliver wh_01… --since 2h --status abandoned
    """,
    "owner_id",
    DELIVERER_ID,
    REDELIVERABLE,
)
_add_again(
    "replay",
    """Process deliveries of a hook again, with the current subscriptions.

    \b
    ava deliveries replay hk_01… del_01…
    ava deliveries replay hk_01… --since 2h --status refused
    """,
    "hook_id",
    HOOK_ID,
    REPLAYABLE,
)
