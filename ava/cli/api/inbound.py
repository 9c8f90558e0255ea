"""`ava hooks …`, `ava subscriptions …`, `ava events …`: commands about incoming webhooks and events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ava.cli.api.webhooks import read_secret
from ava.cli.options.arguments import HOOK_ID, SUBSCRIPTION_ID, WORKER_ID
from ava.cli.options.connection import connected
from ava.cli.options.inputs import JSON_OBJECT, JSON_VALUE
from ava.cli.options.resources import (
    RecordOption,
    Resource,
    changed_fields,
    new_paused_option,
    paused_option,
    priority_option,
    time_range_options,
    unset_option,
    with_options,
)
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column

if TYPE_CHECKING:
    from ava.client import Client

_HOOK_COLUMNS = (
    Column(title="ID", value=lambda hook: hook.id),
    Column(title="NAME", value=lambda hook: hook.name, min_width=8),
    Column(title="PROVIDER", value=lambda hook: hook.provider, min_width=8),
    Column(title="MAKES", value=lambda hook: hook.worker_id or hook.event_type or "events", min_width=8),
    Column(title="PAUSED", value=lambda hook: hook.paused is not None),
    Column(title="CREATED", value=lambda hook: hook.created_at, is_wide=True),
)
_SUBSCRIPTION_COLUMNS = (
    Column(title="ID", value=lambda subscription: subscription.id),
    Column(title="EVENTS", value=lambda subscription: subscription.event_type, min_width=8),
    Column(title="WORKER", value=lambda subscription: subscription.worker_id, min_width=8),
    Column(title="NAME", value=lambda subscription: subscription.name, min_width=8, is_optional=True),
    Column(title="PAUSED", value=lambda subscription: subscription.paused is not None),
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
_match = click.option(
    "--match", type=JSON_OBJECT, help="A pattern that the event must match: JSON, @FILE, or - (stdin)."
)
_template = click.option("--input", type=JSON_OBJECT, help="A template for the job's input: JSON, @FILE, or - (stdin).")


# Hooks ---------------------------------------------------------------------------------------------------------------

_hooks = Resource(
    name="hooks",
    help="Create, change and test hooks, which receive webhooks of other services.",
    noun="hook",
    example="hk_01…",
    id_type=HOOK_ID,
    columns=_HOOK_COLUMNS,
)
_hooks.add_list("List hooks, newest first.", paused_option, empty="No hooks match.")
_hooks.add_show("Show a hook.")
_hooks.add_pauses(
    pause="Pause hooks: they accept deliveries and store them as skipped, to be replayed.", resume="Resume hooks."
)
_hooks.add_delete("Delete hooks with their secrets. Their jobs and events stay.")
hooks = _hooks.group

_settings = with_options(
    click.option(
        "--worker",
        "worker_id",
        type=WORKER_ID,
        help="Each delivery starts a job of this worker instead of creating an event.",
    ),
    click.option("--event-type", cls=RecordOption, if_omitted="the provider's type", help="The event type."),
    click.option(
        "--verifier", type=JSON_OBJECT, help="How to verify requests to a custom hook: JSON, @FILE, or - (stdin)."
    ),
    click.option(
        "--dedupe", type=click.Choice(("id", "body", "both", "none")), help="How to detect duplicate deliveries."
    ),
    click.option(
        "--tolerance-seconds",
        cls=RecordOption,
        if_omitted="300",
        type=click.IntRange(1),
        help="Max age of a signed request.",
    ),
    _match,
    _template,
    priority_option,
)


@hooks.command()
@click.argument("name")
@click.option("--provider", type=click.Choice(_PROVIDERS), required=True, help="The service that sends the webhooks.")
@click.option("--secret-file", help="A file with the secret, or - (stdin).  [default: generated, or set later]")
@new_paused_option
@_settings
@output_options
@connected
def create(
    client: Client, name: str, provider: str, *, secret_file: str | None, printer: RecordPrinter, **options: Any
) -> None:
    """Create a hook. Its URL, and the secret if one is generated, are printed only once.

    \b
    ava hooks create pulls --provider github
    """
    given = {field: value for field, value in options.items() if value is not None}
    if secret_file is not None:
        given["secret"] = read_secret(secret_file)
    printer.record(client.hooks.create(name, provider, **given))


@hooks.command()
@click.argument("hook_id", type=HOOK_ID)
@click.option("--name", help="New name.")
@click.option("--secret-file", help="A file with a new secret, or - (stdin).")
@click.option("--new-secret", is_flag=True, help="Prompt for a new secret.")
@click.option(
    "--keep-secret-seconds",
    type=click.IntRange(0),
    help="With a new secret: for how long earlier ones stay valid.  [default: 86400]",
)
@_settings
@unset_option("worker", "event-type", "match", "input")
@output_options
@connected
def update(
    client: Client, hook_id: str, *, secret_file: str | None, new_secret: bool, printer: RecordPrinter, **given: Any
) -> None:
    """Change a hook, or give it a new secret. Earlier secrets stay valid for a while.

    \b
    ava hooks update hk_01… --new-secret
    ava hooks update hk_01… --event-type order.paid --unset worker
    """
    if new_secret or secret_file is not None:
        given["secret"] = read_secret(secret_file)
    printer.record(client.hooks.update(hook_id, **changed_fields(given)))


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
    """Give a hook a new URL, which is printed only once.

    \b
    ava hooks rotate hk_01… --keep-seconds 3600
    """
    printer.record(client.hooks.rotate(hook_id, keep_seconds=keep_seconds))


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
    """Send a test request to a hook, in its provider's format. It starts the same jobs as a real one.

    \b
    ava hooks test hk_01… --mode tampered
    """
    given = {name.strip(): value.strip() for name, _, value in (header.partition(":") for header in headers)}
    printer.record(client.hooks.test(hook_id, mode=mode, body=body, headers=given or None))


# Subscriptions -------------------------------------------------------------------------------------------------------

_subscriptions = Resource(
    name="subscriptions",
    help="Create and change subscriptions, which start jobs for events.",
    noun="subscription",
    example="sub_01…",
    id_type=SUBSCRIPTION_ID,
    columns=_SUBSCRIPTION_COLUMNS,
)
_subscriptions.add_list(
    "List subscriptions, newest first.",
    click.option("--worker", "worker_id", type=WORKER_ID, help="Only subscriptions of this worker."),
    click.option("--event-type", help="Only subscriptions with exactly this event type."),
    paused_option,
)
_subscriptions.add_show("Show a subscription.")
_subscriptions.add_pauses(
    pause="Pause subscriptions: events start no jobs for them until they are resumed.",
    resume="Resume subscriptions for new events.",
)
_subscriptions.add_delete("Delete subscriptions. Their jobs continue.")
subscriptions = _subscriptions.group

_rule = with_options(click.option("--name", help="Display name."), _match, _template, priority_option)


@subscriptions.command("create")
@click.argument("event_type")
@click.argument("worker_id", type=WORKER_ID)
@new_paused_option
@_rule
@output_options
@connected
def create_subscription(
    client: Client, event_type: str, worker_id: str, printer: RecordPrinter, **options: Any
) -> None:
    """Create a subscription: each matching event of EVENT_TYPE starts a job of WORKER_ID.

    \b
    ava subscriptions create 'order.*' wkr_book --match '{"data": {"paid": [true]}}'
    """
    given = {field: value for field, value in options.items() if value is not None}
    printer.record(client.subscriptions.create(event_type, worker_id, **given))


@subscriptions.command("update")
@click.argument("subscription_id", type=SUBSCRIPTION_ID)
@click.option("--event-type", help="New event type, exact or ending with .*")
@click.option("--worker", "worker_id", type=WORKER_ID, help="New worker.")
@_rule
@unset_option("name", "match", "input")
@output_options
@connected
def update_subscription(client: Client, subscription_id: str, printer: RecordPrinter, **given: Any) -> None:
    """Change a subscription, for the events from now on.

    \b
    ava subscriptions update sub_01… --event-type order.paid --unset match
    """
    printer.record(client.subscriptions.update(subscription_id, **changed_fields(given)))


# Events --------------------------------------------------------------------------------------------------------------


_events = Resource(
    name="events", help="Send events, and show received ones.", noun="event", example="evt_01…", columns=_EVENT_COLUMNS
)
_events.add_list(
    "List events, newest first.",
    click.option("--type", help="Only events of this type."),
    click.option("--source", help="Only events from this source."),
    time_range_options,
)
_events.add_show("Show an event with the jobs that it created, and the jobs that waited for it.")
events = _events.group


@events.command()
@click.argument("event_type")
@click.option(
    "--data", type=JSON_VALUE, default="{}", show_default=True, help="The event's data: JSON, @FILE, or - (stdin)."
)
@click.option(
    "--id", "source_id", help="Your id of the event: within 24 hours, events with the same source and id are one event."
)
@click.option("--source", help="The sender of the event.  [default: /]")
@click.option("--subject", help="The subject of the event, such as an order number.")
@output_options
@connected
def send(
    client: Client, event_type: str, data: Any, source_id: str | None, printer: RecordPrinter, **options: Any
) -> None:
    """Send an event.

    \b
    ava events send order.paid --data '{"number": 7}'
    """
    printer.record(client.events.send(event_type, data, id=source_id, **options))
