"""`ava notices …`: the operator's commands about notices, which call the public API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ava.cli.api.webhooks import add_test, read_secret
from ava.cli.options.arguments import NOTICE_ID
from ava.cli.options.connection import connected
from ava.cli.options.resources import RecordOption, Resource, changed_fields, new_paused_option, paused_option
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.domain.notices.notice import Channel, NoticeEvent

if TYPE_CHECKING:
    from ava.client import Client


def _event_of(rule: Any) -> str:
    # A foreign server may return anything.
    return str(rule.get("event") if isinstance(rule, dict) else rule)


_COLUMNS = (
    Column(title="ID", value=lambda notice: notice.id),
    Column(title="STATUS", value=lambda notice: "paused" if notice.paused else notice.status),
    Column(title="NAME", value=lambda notice: notice.name, min_width=8),
    Column(title="CHANNEL", value=lambda notice: notice.channel, min_width=7),
    Column(title="TARGET", value=lambda notice: notice.target, min_width=7),
    Column(title="ON", value=lambda notice: ", ".join(map(_event_of, notice.on)), min_width=7),
    Column(title="CREATED", value=lambda notice: notice.created_at, is_wide=True),
)


class _RuleType(click.ParamType[dict[str, Any]]):
    """A rule: the name of an event, or a JSON object with its conditions."""

    name = "rule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Return the rule as the API takes it."""
        if isinstance(value, dict):
            return value
        if not str(value).startswith("{"):
            return {"event": str(value)}
        try:
            rule: dict[str, Any] = json.loads(value)
        except ValueError:
            self.fail(f"{value!r} is not JSON.", param, ctx)
        return rule


_on: Callable[..., Any] = click.option(
    "--on",
    "rules",
    type=_RuleType(),
    multiple=True,
    help=f"An event ({', '.join(event for event in NoticeEvent)}), or a rule as JSON; repeatable.",
)
_target_file: Callable[..., Any] = click.option(
    "--target-file",
    cls=RecordOption,
    if_omitted="prompt",
    type=click.Path(allow_dash=True),
    help="A file with the target, or - (stdin).",
)
_CHANNELS = click.Choice([str(each) for each in Channel])

_notices = Resource(
    name="notices",
    help="Create, change and test notices, which send messages to Slack, Teams, mail addresses or a URL.",
    noun="notice",
    example="ntc_01…",
    id_type=NOTICE_ID,
    columns=_COLUMNS,
)
_notices.add_list(
    "List notices, newest first.", paused_option, empty="No notices match: create one with `ava notices create`."
)
_notices.add_show("Show a notice.")
_notices.add_pauses(pause="Pause notices: nothing is sent, and deliveries wait.", resume="Resume notices.")
_notices.add_delete("Delete notices, with their targets and deliveries.")
notices = _notices.group


@notices.command()
@click.argument("name")
@click.option("--channel", type=_CHANNELS, required=True, help="Kind of the target.")
@_on
@new_paused_option
@_target_file
@output_options
@connected
def create(
    client: Client,
    name: str,
    *,
    channel: str,
    rules: tuple[dict[str, Any], ...],
    paused: bool,
    target_file: str | None,
    printer: RecordPrinter,
) -> None:
    """Create a notice, by default about failed jobs.

    The target (an address of Slack or Teams, mail addresses, a URL) is not an argument, because every process of the
    machine can read the arguments of the others.

    \b
    ava notices create on-call --channel slack --on job.failed
    ava notices create late --channel email --on '{"event": "backlog", "queue": "default", "older_than_seconds": 600}'
    """
    chosen = rules or ({"event": NoticeEvent.JOB_FAILED.value},)
    target = read_secret(target_file, prompt="Target", option="--target-file")
    printer.record(client.notices.create(name, channel, target, chosen, paused=paused))


@notices.command()
@click.argument("notice_id", type=NOTICE_ID)
@click.option("--name", help="New name.")
@click.option("--channel", type=_CHANNELS, help="New channel; needs a target.")
@_on
@_target_file
@click.option("--new-target", is_flag=True, help="Prompt for a new target.")
@output_options
@connected
def update(
    client: Client,
    notice_id: str,
    *,
    name: str | None,
    channel: str | None,
    rules: tuple[dict[str, Any], ...],
    target_file: str | None,
    new_target: bool,
    printer: RecordPrinter,
) -> None:
    """Change the name, the channel, the target or the rules of a notice.

    \b
    ava notices update ntc_01… --on job.failed --on schedule.disabled
    """
    has_target = new_target or target_file or channel
    target = read_secret(target_file, prompt="Target", option="--target-file") if has_target else None
    given = {"name": name, "channel": channel, "target": target, "on": rules}
    printer.record(client.notices.update(notice_id, **changed_fields(given)))


add_test(notices, "notice", NOTICE_ID, lambda client: client.notices)
