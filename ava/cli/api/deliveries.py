"""`ava deliveries …`, and `test` of webhooks and notices: commands about deliveries of several resources."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.api.factory import GROUPS, Send, columns, command
from ava.cli.options.arguments import DELIVERER_ID, HOOK_ID, PAST_FORM, PAST_TIMESTAMP
from ava.cli.options.connection import connected
from ava.cli.options.resources import limit_option, time_range_options
from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter, output_options
from ava.domain.delivery import RECEIVED, REDELIVERABLE, REPLAYABLE, SENT

if TYPE_CHECKING:
    from datetime import datetime

    from ava.client import Client, Delivery


#: Max seconds that `test --wait` waits: an endpoint has ten seconds to respond.
_TEST_SECONDS = 15.0


def _add_test(noun: str) -> None:
    """Add `test ID…`, which sends a test of a webhook or a notice."""
    help_text = "Wait for the response; exit 0 only if it was delivered."

    @command(f"{noun}s.test", click.option("--wait", is_flag=True, help=help_text))
    def run(client: Client, send: Send, wait: bool, printer: RecordPrinter, **given: Any) -> None:
        (owner_ids,) = given.values()
        for owner_id in owner_ids:
            delivery = send(**{f"{noun}_id": owner_id})
            if wait:
                delivery = _await_request(getattr(client, f"{noun}s"), owner_id, delivery)
            printer.record(delivery)
            if wait and delivery.status != "delivered":
                sys.exit(1)


def _await_request(calls: Any, owner_id: str, delivery: Delivery) -> Delivery:
    """Return a delivery once its first request has ended, or unchanged after `_TEST_SECONDS`."""
    import time

    deadline = time.monotonic() + _TEST_SECONDS
    while not delivery.attempts and time.monotonic() < deadline:
        time.sleep(0.3)
        delivery = calls.deliveries.get(owner_id, delivery.id)
    return delivery


_add_test("webhook")
_add_test("notice")


deliveries = GROUPS["deliveries"]


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
@limit_option()
@output_options
@connected
def list_deliveries(client: Client, owner_id: str, limit: int, printer: RecordPrinter, **filters: Any) -> None:
    """List the deliveries of a hook, a webhook or a notice, newest first.

    \b
    ava deliveries list wh_01… --status abandoned
    ava deliveries list hk_01… --since 2h
    """
    found = _calls_about(client, owner_id).list(owner_id, per_page=min(limit, 100), **filters)
    printer.records(islice(found, limit), columns("hooks.deliveries.list"), empty="No deliveries match.")


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
