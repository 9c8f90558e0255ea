"""`ava hooks …`, `ava subscriptions …`, `ava events …`: commands about incoming webhooks and events."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.api.webhooks import read_secret
from ava.cli.options.arguments import HOOK_ID, PAST_TIMESTAMP, SUBSCRIPTION_ID, WORKER_ID
from ava.cli.options.connection import connected
from ava.cli.options.inputs import read_input, read_json
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.domain.jobs import priority as priorities

if TYPE_CHECKING:
    from ava.client import Client

_HOOK_COLUMNS = (
    Column(title="ID", value=lambda hook: hook.id),
    Column(title="NAME", value=lambda hook: hook.name, min_width=8),
    Column(title="PROVIDER", value=lambda hook: hook.provider, min_width=8),
    Column(title="MAKES", value=lambda hook: hook.worker_id or hook.event_type or "events", min_width=8),
    Column(title="ENABLED", value=lambda hook: hook.enabled, is_wide=True),
    Column(title="CREATED", value=lambda hook: hook.created_at, is_wide=True),
)
_DELIVERY_COLUMNS = (
    Column(title="ID", value=lambda delivery: delivery.id),
    Column(title="VERDICT", value=lambda delivery: delivery.verdict),
    Column(title="STATUS", value=lambda delivery: delivery.status),
    Column(title="TYPE", value=lambda delivery: delivery.event_type, min_width=8, is_optional=True),
    Column(title="JOBS", value=lambda delivery: len(delivery.job_ids)),
    Column(title="REASON", value=lambda delivery: delivery.reason, min_width=8, is_wide=True),
    Column(title="CREATED", value=lambda delivery: delivery.created_at, is_wide=True),
)
_SUBSCRIPTION_COLUMNS = (
    Column(title="ID", value=lambda subscription: subscription.id),
    Column(title="EVENTS", value=lambda subscription: subscription.event_type, min_width=8),
    Column(title="WORKER", value=lambda subscription: subscription.worker_id, min_width=8),
    Column(title="NAME", value=lambda subscription: subscription.name, min_width=8, is_optional=True),
    Column(title="ENABLED", value=lambda subscription: subscription.enabled, is_wide=True),
)
_EVENT_COLUMNS = (
    Column(title="ID", value=lambda event: event.id),
    Column(title="TYPE", value=lambda event: event.type, min_width=8),
    Column(title="SOURCE", value=lambda event: event.source, min_width=8, is_optional=True),
    Column(title="JOBS", value=lambda event: len(event.job_ids)),
    Column(title="WOKEN", value=lambda event: len(event.woken_job_ids)),
    Column(title="CREATED", value=lambda event: event.created_at, is_wide=True),
)

_PROVIDERS = ("github", "stripe", "slack", "standard", "shopify", "custom", "none")
_limit = click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Max number to print.")
_priority = click.option(
    "--priority",
    type=click.IntRange(priorities.FIRST, priorities.LAST),
    help=f"{priorities.FIRST} (first) to {priorities.LAST} (last).  [default: {priorities.DEFAULT}]",
)
_match = click.option("--match", "match_text", help="A pattern that the event must match: JSON, @FILE, or - (stdin).")
_template = click.option("--input", "input_text", help="A template for the job's input: JSON, @FILE, or - (stdin).")


def _rule(match_text: str | None, input_text: str | None) -> dict[str, Any]:
    given = {"match": match_text, "input": input_text}
    return {name: read_input(text) for name, text in given.items() if text is not None}


# Hooks ---------------------------------------------------------------------------------------------------------------


@click.group()
def hooks() -> None:
    """Create hooks, show their deliveries, and replay them."""


@hooks.command("list")
@_limit
@output_options
@connected
def list_hooks(client: Client, limit: int, printer: RecordPrinter) -> None:
    """List hooks, newest first."""
    printer.records(islice(client.hooks.list(per_page=min(limit, 100)), limit), _HOOK_COLUMNS, empty="No hooks yet.")


@hooks.command()
@click.argument("hook_id", type=HOOK_ID)
@output_options
@connected
def show(client: Client, hook_id: str, printer: RecordPrinter) -> None:
    """Show a hook."""
    printer.record(client.hooks.get(hook_id))


@hooks.command()
@click.argument("name")
@click.option("--provider", type=click.Choice(_PROVIDERS), required=True, help="The service that sends the webhooks.")
@click.option(
    "--worker",
    "worker_id",
    type=WORKER_ID,
    help="Each delivery starts a job of this worker instead of creating an event.",
)
@click.option("--event-type", help="The event type.  [default: the provider's type]")
@click.option("--secret-file", help="A file with the secret, or - (stdin).  [default: generated, or set later]")
@click.option("--verifier", "verifier_text", help="How to verify requests to a custom hook: JSON, @FILE, or - (stdin).")
@click.option("--dedupe", type=click.Choice(("id", "body", "both", "none")), help="How to detect duplicate deliveries.")
@_match
@_template
@_priority
@output_options
@connected
def create(
    client: Client,
    name: str,
    provider: str,
    *,
    secret_file: str | None,
    verifier_text: str | None,
    match_text: str | None,
    input_text: str | None,
    printer: RecordPrinter,
    **options: Any,
) -> None:
    """Create a hook. Its URL, and the secret if one is generated, are printed only once."""
    given = {field: value for field, value in options.items() if value is not None} | _rule(match_text, input_text)
    if secret_file is not None:
        given["secret"] = read_secret(secret_file)
    if verifier_text is not None:
        given["verifier"] = read_input(verifier_text)
    printer.record(client.hooks.create(name, provider, **given))


@hooks.command()
@click.argument("hook_id", type=HOOK_ID)
@click.option("--secret-file", help="A file with the secret, or - (stdin).  [default: prompt]")
@click.option(
    "--keep-seconds",
    type=click.IntRange(0),
    default=86_400,
    show_default=True,
    help="Seconds for which old secrets stay valid.",
)
@output_options
@connected
def secret(client: Client, hook_id: str, secret_file: str | None, keep_seconds: int, printer: RecordPrinter) -> None:
    """Set the secret of a hook; earlier ones stay valid for a while."""
    new = read_secret(secret_file)
    printer.record(client.hooks.update(hook_id, secret=new, keep_secret_seconds=keep_seconds))


@hooks.command()
@click.argument("hook_id", type=HOOK_ID)
@click.option(
    "--keep-seconds",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seconds for which the old URL stays valid.",
)
@output_options
@connected
def rotate(client: Client, hook_id: str, keep_seconds: int, printer: RecordPrinter) -> None:
    """Give a hook a new URL, which is printed only once."""
    printer.record(client.hooks.rotate(hook_id, keep_seconds=keep_seconds))


@hooks.command()
@click.argument("hook_id", type=HOOK_ID)
@output_options
@connected
def pause(client: Client, hook_id: str, printer: RecordPrinter) -> None:
    """Disable a hook: its URL returns 404 until it is resumed."""
    printer.record(client.hooks.update(hook_id, enabled=False))


@hooks.command()
@click.argument("hook_id", type=HOOK_ID)
@output_options
@connected
def resume(client: Client, hook_id: str, printer: RecordPrinter) -> None:
    """Enable a hook."""
    printer.record(client.hooks.update(hook_id, enabled=True))


@hooks.command()
@click.argument("hook_ids", type=HOOK_ID, nargs=-1, required=True)
@connected
def delete(client: Client, hook_ids: tuple[str, ...]) -> None:
    """Delete hooks with their secrets. Their jobs and events stay."""
    for hook_id in hook_ids:
        client.hooks.delete(hook_id)


@hooks.command()
@click.argument("hook_id", type=HOOK_ID)
@click.option(
    "--verdict", type=click.Choice(("accepted", "duplicate", "refused")), help="Only deliveries with this verdict."
)
@_limit
@output_options
@connected
def deliveries(client: Client, hook_id: str, verdict: str | None, limit: int, printer: RecordPrinter) -> None:
    """List the deliveries of a hook, newest first."""
    found = client.hooks.deliveries(hook_id, verdict=verdict, per_page=min(limit, 100))
    printer.records(islice(found, limit), _DELIVERY_COLUMNS, empty="The hook has no deliveries yet.")


@hooks.command()
@click.argument("hook_id", type=HOOK_ID)
@click.argument("delivery_id")
@output_options
@connected
def delivery(client: Client, hook_id: str, delivery_id: str, printer: RecordPrinter) -> None:
    """Show a delivery with its headers and its body."""
    printer.record(client.hooks.delivery(hook_id, delivery_id))


@hooks.command()
@click.argument("hook_id", type=HOOK_ID)
@click.argument("delivery_ids", nargs=-1)
@click.option(
    "--since", type=PAST_TIMESTAMP, help="Replay all deliveries received since then, instead of DELIVERY_IDS."
)
@click.option(
    "--verdict", type=click.Choice(("accepted", "refused")), help="With --since: only deliveries with this verdict."
)
@connected
def replay(client: Client, hook_id: str, delivery_ids: tuple[str, ...], since: Any, verdict: str | None) -> None:
    """Process deliveries again, with the current subscriptions."""
    if bool(delivery_ids) == (since is not None):
        raise click.UsageError("Give either DELIVERY_IDS or --since.")
    if since is not None:
        total = client.hooks.replay_many(hook_id, since, verdict=verdict)
        printing.print_text(f"{total} replayed")
    for delivery_id in delivery_ids:
        receipt = client.hooks.replay(hook_id, delivery_id)
        printing.print_text(f"{len(receipt.job_ids)} jobs")


@hooks.command()
@click.argument("hook_id", type=HOOK_ID)
@click.option("--mode", type=click.Choice(("signed", "tampered", "unsigned")), default="signed", show_default=True)
@click.option("--body", help="The raw request body.")
@click.option(
    "--header", "headers", multiple=True, help="An additional header, such as `x-github-event: push`; repeatable."
)
@output_options
@connected
def test(
    client: Client, hook_id: str, mode: str, body: str | None, headers: tuple[str, ...], printer: RecordPrinter
) -> None:
    """Send a test request to a hook, in its provider's format. It starts the same jobs as a real one."""
    given = {name.strip(): text.strip() for name, _, text in (header.partition(":") for header in headers)}
    printer.record(client.hooks.test(hook_id, mode=mode, body=body, headers=given or None))


# Subscriptions -------------------------------------------------------------------------------------------------------


@click.group()
def subscriptions() -> None:
    """Create and change subscriptions, which start jobs for events."""


@subscriptions.command("list")
@click.option("--worker", "worker_id", type=WORKER_ID, help="Only subscriptions of this worker.")
@click.option("--event-type", help="Only subscriptions with exactly this event type.")
@_limit
@output_options
@connected
def list_subscriptions(client: Client, limit: int, printer: RecordPrinter, **filters: Any) -> None:
    """List subscriptions, newest first."""
    found = islice(client.subscriptions.list(per_page=min(limit, 100), **filters), limit)
    printer.records(found, _SUBSCRIPTION_COLUMNS, empty="No subscriptions match.")


@subscriptions.command("show")
@click.argument("subscription_id", type=SUBSCRIPTION_ID)
@output_options
@connected
def show_subscription(client: Client, subscription_id: str, printer: RecordPrinter) -> None:
    """Show a subscription."""
    printer.record(client.subscriptions.get(subscription_id))


@subscriptions.command("create")
@click.argument("event_type")
@click.argument("worker_id", type=WORKER_ID)
@click.option("--name", help="Display name.")
@_match
@_template
@_priority
@output_options
@connected
def create_subscription(
    client: Client,
    event_type: str,
    worker_id: str,
    *,
    match_text: str | None,
    input_text: str | None,
    printer: RecordPrinter,
    **options: Any,
) -> None:
    """Create a subscription, as in: ava subscriptions create 'order.*' wkr_a --match '{"data": {"paid": [true]}}'."""
    given = {field: value for field, value in options.items() if value is not None} | _rule(match_text, input_text)
    printer.record(client.subscriptions.create(event_type, worker_id, **given))


@subscriptions.command("pause")
@click.argument("subscription_id", type=SUBSCRIPTION_ID)
@output_options
@connected
def pause_subscription(client: Client, subscription_id: str, printer: RecordPrinter) -> None:
    """Disable a subscription: events start no jobs for it until it is resumed."""
    printer.record(client.subscriptions.update(subscription_id, enabled=False))


@subscriptions.command("resume")
@click.argument("subscription_id", type=SUBSCRIPTION_ID)
@output_options
@connected
def resume_subscription(client: Client, subscription_id: str, printer: RecordPrinter) -> None:
    """Enable a subscription for new events."""
    printer.record(client.subscriptions.update(subscription_id, enabled=True))


@subscriptions.command("delete")
@click.argument("subscription_ids", type=SUBSCRIPTION_ID, nargs=-1, required=True)
@connected
def delete_subscriptions(client: Client, subscription_ids: tuple[str, ...]) -> None:
    """Delete subscriptions. Their jobs continue."""
    for subscription_id in subscription_ids:
        client.subscriptions.delete(subscription_id)


# Events --------------------------------------------------------------------------------------------------------------


@click.group()
def events() -> None:
    """Send events, and show received ones."""


@events.command()
@click.argument("event_type")
@click.option("--data", "data_text", default="{}", help="The event's data: JSON, @FILE, or - (stdin).")
@click.option(
    "--id", "source_id", help="Your id of the event: within 24 hours, events with the same source and id are one event."
)
@click.option("--source", help="The sender of the event.  [default: /]")
@click.option("--subject", help="The subject of the event, such as an order number.")
@output_options
@connected
def send(
    client: Client, event_type: str, data_text: str, source_id: str | None, printer: RecordPrinter, **options: Any
) -> None:
    """Send an event, as in: ava events send order.paid --data '{"number": 7}'."""
    printer.record(client.events.send(event_type, read_json(data_text), id=source_id, **options))


@events.command("list")
@click.option("--type", help="Only events of this type.")
@click.option("--source", help="Only events from this source.")
@_limit
@output_options
@connected
def list_events(client: Client, limit: int, printer: RecordPrinter, **filters: Any) -> None:
    """List events, newest first."""
    found = islice(client.events.list(per_page=min(limit, 100), **filters), limit)
    printer.records(found, _EVENT_COLUMNS, empty="No events match.")


@events.command("show")
@click.argument("event_id")
@output_options
@connected
def show_event(client: Client, event_id: str, printer: RecordPrinter) -> None:
    """Show an event with the jobs that it created, and the jobs that waited for it."""
    printer.record(client.events.get(event_id))
