"""`ava deliveries …`: the requests that webhooks have sent, and those that hooks have received."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import DELIVERER_ID, HOOK_ID, PAST_FORM, PAST_TIMESTAMP, WEBHOOK_ID
from ava.cli.options.connection import connected
from ava.cli.options.resources import limit_option
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.errors import CallFailed

if TYPE_CHECKING:
    from datetime import datetime

    from ava.client import Client, Delivery


def _last(delivery: Delivery) -> str | None:
    """Return the outcome of a delivery's last request."""
    if not delivery.attempts:
        return None
    last = delivery.attempts[-1]
    return str(last.get("error") or last.get("status"))


_OUTGOING = (
    Column(title="ID", value=lambda delivery: delivery.id),
    Column(title="EVENT", value=lambda delivery: delivery.event_type.removeprefix("ava."), min_width=9),
    Column(title="STATUS", value=lambda delivery: delivery.status),
    Column(title="JOB", value=lambda delivery: delivery.job_id, is_wide=True),
    Column(title="CREATED", value=lambda delivery: delivery.created_at),
    Column(title="NEXT", value=lambda delivery: delivery.next_attempt_at, is_wide=True),
    Column(title="REQUESTS", value=lambda delivery: len(delivery.attempts), is_wide=True),
    Column(title="LAST", value=_last, min_width=8, is_optional=True),
)

_INCOMING = (
    Column(title="ID", value=lambda delivery: delivery.id),
    Column(title="VERDICT", value=lambda delivery: delivery.verdict),
    Column(title="STATUS", value=lambda delivery: delivery.status),
    Column(title="TYPE", value=lambda delivery: delivery.event_type, min_width=8, is_optional=True),
    Column(title="JOBS", value=lambda delivery: len(delivery.job_ids)),
    Column(title="REASON", value=lambda delivery: delivery.reason, min_width=8, is_wide=True),
    Column(title="CREATED", value=lambda delivery: delivery.created_at, is_wide=True),
)
_SENT = ("pending", "delivered", "abandoned")
_RECEIVED = ("accepted", "duplicate", "refused")
_owner = click.argument("owner_id", metavar="HOOK_OR_WEBHOOK_ID", type=DELIVERER_ID)


@click.group()
def deliveries() -> None:
    """List and show deliveries of hooks and webhooks; redeliver or replay them."""


@deliveries.command("list")
@_owner
@click.option(
    "--status",
    type=click.Choice((*_SENT, *_RECEIVED)),
    help=f"Only with this status: {', '.join(_SENT)} of a webhook, {', '.join(_RECEIVED)} of a hook.",
)
@click.option("--event-type", help="Only events of this type, of a webhook.")
@limit_option
@output_options
@connected
def list_deliveries(
    client: Client, owner_id: str, status: str | None, event_type: str | None, limit: int, printer: RecordPrinter
) -> None:
    """List the deliveries of a hook or a webhook, newest first.

    \b
    ava deliveries list wh_01… --status abandoned
    ava deliveries list hk_01… --status refused
    """
    per_page = min(limit, 100)
    if _is_hook(owner_id):
        if event_type is not None:
            raise click.UsageError("--event-type selects deliveries of a webhook.")
        received = client.hooks.deliveries(owner_id, verdict=status, per_page=per_page)
        printer.records(islice(received, limit), _INCOMING, empty="No deliveries match.")
    else:
        sent = client.webhooks.deliveries(owner_id, status=status, event=event_type, per_page=per_page)
        printer.records(islice(sent, limit), _OUTGOING, empty="No deliveries match.")


@deliveries.command()
@_owner
@click.argument("delivery_id")
@output_options
@connected
def show(client: Client, owner_id: str, delivery_id: str, printer: RecordPrinter) -> None:
    """Show a delivery of a hook, or the body of a delivery of a webhook, at most 65,536 characters.

    \b
    ava deliveries show hk_01… del_01…
    """
    if _is_hook(owner_id):
        printer.record(client.hooks.delivery(owner_id, delivery_id))
        return
    found = client.webhooks.delivery_body(owner_id, delivery_id)
    if found.body is None:
        raise CallFailed(
            "Your role may not see the bodies of deliveries; use a role in AVA_PAYLOAD_ROLES or another API key."
        )
    if printer.is_for_people:
        printing.print_text(found.body)
    else:
        printer.record(found)


@deliveries.command()
@click.argument("webhook_id", type=WEBHOOK_ID)
@click.argument("delivery_ids", nargs=-1)
@click.option("--since", type=PAST_TIMESTAMP, help=f"Resend every abandoned delivery created since then: {PAST_FORM}.")
@click.option("--until", type=PAST_TIMESTAMP, help="With --since: only deliveries created before then.")
@click.option(
    "--status", type=click.Choice(["abandoned", "delivered"]), help="With --since: deliveries with this status."
)
@click.option("--event-type", "event", help="With --since: only events of this type.")
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
    """Resend deliveries of a webhook, with the same ids and bytes.

    \b
    ava deliveries redeliver wh_01… dlv_01…
    ava deliveries redeliver wh_01… --since 2h --status abandoned
    """
    if bool(delivery_ids) == bool(since):
        raise click.UsageError("Give either DELIVERY_IDS or --since.")
    chosen = {name: value for name, value in filters.items() if value}
    if chosen and not since:
        raise click.UsageError("--until, --status and --event-type need --since.")
    for delivery_id in delivery_ids:
        printer.record(client.webhooks.redeliver(webhook_id, delivery_id))
    if since:
        count = client.webhooks.redeliver_many(webhook_id, since, **chosen)
        printing.print_text(f"{count:,} deliveries are queued again.")


@deliveries.command()
@click.argument("hook_id", type=HOOK_ID)
@click.argument("delivery_ids", nargs=-1)
@click.option("--since", type=PAST_TIMESTAMP, help=f"Replay every delivery received since then: {PAST_FORM}.")
@click.option("--until", type=PAST_TIMESTAMP, help="With --since: only deliveries received before then.")
@click.option(
    "--status", type=click.Choice(["accepted", "refused"]), help="With --since: only deliveries with this status."
)
@connected
def replay(
    client: Client,
    hook_id: str,
    delivery_ids: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    status: str | None,
) -> None:
    """Process deliveries of a hook again, with the current subscriptions.

    \b
    ava deliveries replay hk_01… del_01…
    ava deliveries replay hk_01… --since 2h --status refused
    """
    if bool(delivery_ids) == (since is not None):
        raise click.UsageError("Give either DELIVERY_IDS or --since.")
    if since is not None:
        total = client.hooks.replay_many(hook_id, since, until, verdict=status)
        printing.print_text(f"{total} replayed")
    elif until or status:
        raise click.UsageError("--until and --status need --since.")
    for delivery_id in delivery_ids:
        receipt = client.hooks.replay(hook_id, delivery_id)
        printing.print_text(f"{len(receipt.job_ids)} jobs")


def _is_hook(owner_id: str) -> bool:
    """Return True for a hook's id, and False for a webhook's. Raises `BadParameter` for another."""
    prefix = owner_id.partition("_")[0]
    if prefix not in ("hk", "wh"):
        raise click.BadParameter("give the id of a hook (hk_…) or of a webhook (wh_…).")
    return prefix == "hk"
