"""`ava webhooks`: the process that sends webhooks, and the commands about them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ava.cli.host.processes import run_sender
from ava.cli.options.arguments import PAST_FORM, PAST_TIMESTAMP, WEBHOOK_ID
from ava.cli.options.connection import connected
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.errors import CallFailed

if TYPE_CHECKING:
    from datetime import datetime

    from ava.client import Client, Delivery

#: Max seconds that `test --wait` waits: an endpoint has ten seconds to respond.
_TEST_SECONDS = 15.0

_COLUMNS = (
    Column(title="ID", value=lambda webhook: webhook.id),
    Column(title="STATUS", value=lambda webhook: webhook.status),
    Column(title="URL", value=lambda webhook: webhook.url, min_width=16),
    Column(title="EVENTS", value=lambda webhook: ", ".join(webhook.events), min_width=14),
    Column(title="CREATED", value=lambda webhook: webhook.created_at, is_wide=True),
    Column(title="REASON", value=lambda webhook: webhook.disabled_reason, is_wide=True),
)


def _last(delivery: Delivery) -> str | None:
    """Return the outcome of a delivery's last request."""
    if not delivery.attempts:
        return None
    last = delivery.attempts[-1]
    return str(last.get("error") or last.get("status"))


_DELIVERY_COLUMNS = (
    Column(title="ID", value=lambda delivery: delivery.id),
    Column(title="EVENT", value=lambda delivery: delivery.event_type.removeprefix("ava."), min_width=9),
    Column(title="STATUS", value=lambda delivery: delivery.status),
    Column(title="JOB", value=lambda delivery: delivery.job_id, is_wide=True),
    Column(title="CREATED", value=lambda delivery: delivery.created_at),
    Column(title="NEXT", value=lambda delivery: delivery.next_attempt_at, is_wide=True),
    Column(title="REQUESTS", value=lambda delivery: len(delivery.attempts), is_wide=True),
    Column(title="LAST", value=_last, min_width=8, is_optional=True),
)

_events: Callable[..., Any] = click.option(
    "--event", "events", multiple=True, help="Event type, such as ava.job.failed; repeatable."
)
_secret_file: Callable[..., Any] = click.option(
    "--secret-file",
    type=click.Path(allow_dash=True),
    help="A file with the secret, or - (stdin).  [default: prompt]",
)


# Without a command, `ava webhooks` is the sending process, which the Procfile and the containers run.
@click.group(invoke_without_command=True)
@click.option("--reseal", is_flag=True, help="Encrypt every secret with the first AVA_ENCRYPTION_KEY, and exit.")
@click.option(
    "--retry-dead-letters", is_flag=True, help="Requeue dead letters (events that failed to fan out), and exit."
)
@click.pass_context
def webhooks(ctx: click.Context, reseal: bool, retry_dead_letters: bool) -> None:
    """Send webhooks; or list, create, test and change them, with a command.

    Without a command it is a sender process, which sends webhooks. Run any number of them.
    """
    if ctx.invoked_subcommand is None:
        run_sender(reseal=reseal, retry_dead_letters=retry_dead_letters)
    elif reseal or retry_dead_letters:
        raise click.UsageError(f"{ctx.invoked_subcommand} takes neither --reseal nor --retry-dead-letters.")


@webhooks.command("list")
@output_options
@connected
def list_webhooks(client: Client, printer: RecordPrinter) -> None:
    """List webhooks, newest first."""
    printer.records(client.webhooks.list(), _COLUMNS, empty="No webhooks: create one with `ava webhooks create`.")


@webhooks.command()
@click.argument("webhook_id", type=WEBHOOK_ID)
@output_options
@connected
def show(client: Client, webhook_id: str, printer: RecordPrinter) -> None:
    """Show a webhook."""
    printer.record(client.webhooks.get(webhook_id))


@webhooks.command()
@click.argument("endpoint", metavar="URL")
@_events
@click.option("--roots-only", is_flag=True, help="Send no events of child jobs.")
@_secret_file
@output_options
@connected
def create(
    client: Client,
    endpoint: str,
    *,
    events: tuple[str, ...],
    roots_only: bool,
    secret_file: str | None,
    printer: RecordPrinter,
) -> None:
    """Create a webhook: events are sent to URL from now on, by default of completed and failed jobs.

    The secret is not an argument, because every process of the machine can read the arguments of the others.
    """
    chosen = events or ("ava.job.completed", "ava.job.failed")
    printer.record(client.webhooks.create(endpoint, chosen, read_secret(secret_file), roots_only=roots_only))


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
def change(
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
    """Change the URL, the events or the secret of a webhook."""
    secret = read_secret(secret_file) if new_secret or secret_file else None
    changes: Any = {"url": new_url, "events": events or None, "secret": secret, "roots_only": roots_only}
    printer.record(client.webhooks.update(webhook_id, **changes))


@webhooks.command()
@click.argument("webhook_ids", type=WEBHOOK_ID, nargs=-1, required=True)
@output_options
@connected
def pause(client: Client, webhook_ids: tuple[str, ...], printer: RecordPrinter) -> None:
    """Disable webhooks: nothing is sent, and deliveries wait until they are resumed."""
    for webhook_id in webhook_ids:
        printer.record(client.webhooks.update(webhook_id, enabled=False))


@webhooks.command()
@click.argument("webhook_ids", type=WEBHOOK_ID, nargs=-1, required=True)
@output_options
@connected
def resume(client: Client, webhook_ids: tuple[str, ...], printer: RecordPrinter) -> None:
    """Enable webhooks."""
    for webhook_id in webhook_ids:
        printer.record(client.webhooks.update(webhook_id, enabled=True))


@webhooks.command()
@click.argument("webhook_ids", type=WEBHOOK_ID, nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@connected
def delete(client: Client, webhook_ids: tuple[str, ...], yes: bool) -> None:
    """Delete webhooks, with their secrets and deliveries."""
    if not yes:
        click.confirm(f"Delete {len(webhook_ids)} webhook{'' if len(webhook_ids) == 1 else 's'}?", abort=True)
    for webhook_id in webhook_ids:
        client.webhooks.delete(webhook_id)


@webhooks.command()
@click.argument("webhook_id", type=WEBHOOK_ID)
@click.option("--wait", is_flag=True, help="Wait for the endpoint's response; exit 0 only if it accepted the event.")
@output_options
@connected
def test(client: Client, webhook_id: str, wait: bool, printer: RecordPrinter) -> None:
    """Send a test event to a webhook."""
    delivery = client.webhooks.test(webhook_id)
    if wait:
        delivery = _await_request(client, delivery)
    printer.record(delivery)
    if wait and delivery.status != "delivered":
        sys.exit(1)


@webhooks.command()
@click.argument("webhook_id", type=WEBHOOK_ID)
@click.option("--status", type=click.Choice(["pending", "delivered", "abandoned"]), help="Only with this status.")
@click.option("--event", help="Only events of this type.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Max deliveries to print.")
@output_options
@connected
def deliveries(client: Client, webhook_id: str, limit: int, printer: RecordPrinter, **filters: Any) -> None:
    """List the deliveries of a webhook, newest first."""
    found = islice(client.webhooks.deliveries(webhook_id, per_page=min(limit, 100), **filters), limit)
    printer.records(found, _DELIVERY_COLUMNS, empty="No deliveries match.")


@webhooks.command()
@click.argument("webhook_id", type=WEBHOOK_ID)
@click.argument("delivery_id")
@output_options
@connected
def body(client: Client, webhook_id: str, delivery_id: str, printer: RecordPrinter) -> None:
    """Print the body of a delivery, at most 65,536 characters."""
    found = client.webhooks.delivery_body(webhook_id, delivery_id)
    if found.body is None:
        raise CallFailed(
            "Your role may not see the bodies of deliveries; use a role in AVA_PAYLOAD_ROLES or another API key."
        )
    if printer.is_for_people:
        printing.print_text(found.body)
    else:
        printer.record(found)


@webhooks.command()
@click.argument("webhook_id", type=WEBHOOK_ID)
@click.argument("delivery_ids", nargs=-1)
@click.option("--since", type=PAST_TIMESTAMP, help=f"Resend every abandoned delivery created since then: {PAST_FORM}.")
@click.option("--until", type=PAST_TIMESTAMP, help="With --since: only deliveries created before then.")
@click.option(
    "--status", type=click.Choice(["abandoned", "delivered"]), help="With --since: deliveries with this status."
)
@click.option("--event", help="With --since: only events of this type.")
@output_options
@connected
def redeliver(
    client: Client,
    webhook_id: str,
    delivery_ids: tuple[str, ...],
    since: datetime | None,
    printer: RecordPrinter,
    **filters: Any,
) -> None:
    """Resend deliveries of a webhook, with the same ids and bytes."""
    if bool(delivery_ids) == bool(since):
        raise click.UsageError("Give either DELIVERY_IDS or --since.")
    chosen = {name: value for name, value in filters.items() if value}
    if chosen and not since:
        raise click.UsageError(f"--{next(iter(chosen))} needs --since.")
    for delivery_id in delivery_ids:
        printer.record(client.webhooks.redeliver(webhook_id, delivery_id))
    if since:
        count = client.webhooks.redeliver_many(webhook_id, since, **chosen)
        printing.print_text(f"{count:,} deliveries are queued again.")


def _await_request(client: Client, delivery: Delivery) -> Delivery:
    """Return a delivery once its first request has ended, or unchanged after `_TEST_SECONDS`."""
    import time

    deadline = time.monotonic() + _TEST_SECONDS
    found = delivery
    while not found.attempts and time.monotonic() < deadline:
        time.sleep(0.3)
        recent: Iterator[Delivery] = client.webhooks.deliveries(delivery.webhook_id, per_page=20)
        found = next((other for other in islice(recent, 100) if other.id == delivery.id), found)
    return found


def read_secret(path: str | None) -> str:
    """Return the secret from a file or `-` (stdin), or ask the user for it. Raises `click.BadParameter`."""
    if path is None:
        return str(click.prompt("Secret", hide_input=True, confirmation_prompt=True, err=True))
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text()).strip()
    except (OSError, UnicodeDecodeError):
        raise click.BadParameter(f"{path} cannot be read.", param_hint="--secret-file") from None
