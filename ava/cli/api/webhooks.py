"""`ava webhooks …`: the operator's commands about webhooks, which call the public API."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import WEBHOOK_ID
from ava.cli.options.connection import connected
from ava.cli.options.resources import RecordOption, Resource, changed_fields, new_paused_option, paused_option
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column

if TYPE_CHECKING:
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
