"""Arguments of commands: ids, completed by the shell from what the API has, tags and moments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.connection import connect
from ava.cli.screen.printing import clean
from ava.domain.text import parse_time

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ava.client import Client

#: Seconds for which a shell waits for ids, and how many it offers.
_PATIENCE_SECONDS = 2.0
_MAX_OFFERED = 50


class _RecordId(click.ParamType[str]):
    """An id; the shell offers the newest of its kind, each with what people know it by."""

    def __init__(self, name: str, find: Callable[[Client], Iterable[Any]], describe: Callable[[Any], str]) -> None:
        self.name = name
        self._find = find
        self._describe = describe

    def shell_complete(self, ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Returns the ids that begin with what is typed; none if the API cannot be asked."""
        return complete_from_api(ctx, incomplete, self._ids)

    def _ids(self, client: Client) -> Iterator[tuple[str, str]]:
        for record in islice(self._find(client), _MAX_OFFERED):
            # An id of a server that is not ours may hold what the shell would execute or the terminal obey.
            if record.id.replace("_", "").isalnum():
                yield record.id, self._describe(record)


def complete_from_api(
    ctx: click.Context, incomplete: str, find: Callable[[Client], Iterable[tuple[str, str]]]
) -> list[CompletionItem]:
    """Returns the completions of the incomplete word among the pairs of `find`: a text and its meaning.

    Returns an empty list if the API is out of reach.
    """
    from click.shell_completion import CompletionItem

    from ava.client import ClientError
    from ava.errors import AvaError

    with suppress(ClientError, AvaError), connect(ctx, timeout_seconds=_PATIENCE_SECONDS, retries=0) as client:
        return [
            CompletionItem(text, help=clean(meaning).replace(":", " "))
            for text, meaning in find(client)
            if text.startswith(incomplete)
        ]
    return []


class Pair(click.ParamType[tuple[str, str]]):
    """A name and its text, `KEY=VALUE`."""

    def __init__(self, name: str, example: str) -> None:
        self.name = name
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Returns the key and the value."""
        if isinstance(value, tuple):
            return value
        key, separator, text = str(value).partition("=")
        if not separator or not key or not text:
            self.fail(f"{value!r} is not {self.name.upper()}, as in {self._example}.", param, ctx)
        return key, text


class _Moment(click.ParamType[datetime]):
    """A moment in ISO 8601. Without an offset it is in the local zone, in which tables show times."""

    name = "moment"

    def __init__(self, *, may_be_ago: bool) -> None:
        """`may_be_ago`: it may also be how long ago it was, as in `10m`."""
        self._may_be_ago = may_be_ago

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Returns the moment, with a time zone."""
        if isinstance(value, datetime):
            return value
        if self._may_be_ago and (ago := _AGO.fullmatch(str(value))):
            return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        if (moment := parse_time(str(value), is_local=True)) is None:
            ago_form = ", nor as in 90s, 10m, 2h or 1d" if self._may_be_ago else ""
            self.fail(f"{value!r} is no time in ISO 8601, as in 2026-12-01T09:00{ago_form}.", param, ctx)
        return moment


_AGO = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
TAG = Pair("key=value", "team=security")
WHERE = Pair("path=value", "account.id=17")
#: What the help of an option says of a moment.
ISO_FORM = "ISO 8601, local without an offset"
PAST_FORM = f"{ISO_FORM}, or as in 10m, 2h, 1d ago"
MOMENT = _Moment(may_be_ago=False)
#: A moment at which something happened.
PAST_MOMENT = _Moment(may_be_ago=True)
JOB_ID = _RecordId(
    "job_id", lambda client: client.list(per_page=_MAX_OFFERED), lambda job: f"{job.status} {job.worker_id}"
)
WORKER_ID = _RecordId("worker_id", lambda client: client.workers(), lambda worker: str(worker.name))
SCHEDULE_ID = _RecordId(
    "schedule_id", lambda client: client.schedules.list(), lambda schedule: f"{schedule.name or schedule.worker_id}"
)
HOOK_ID = _RecordId("hook_id", lambda client: client.hooks.list(), lambda hook: str(hook.name))
SUBSCRIPTION_ID = _RecordId(
    "subscription_id", lambda client: client.subscriptions.list(), lambda found: str(found.event_type)
)
WEBHOOK_ID = _RecordId("webhook_id", lambda client: client.webhooks.list(), lambda webhook: str(webhook.url))
