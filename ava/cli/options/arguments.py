"""Arguments of commands: ids, which the shell completes from the API, tags and times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.connection import connect
from ava.cli.screen.printing import clean
from ava.domain.strings import parse_time

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ava.client import Client

#: Max seconds that a shell waits for ids, and max ids that it offers.
_PATIENCE_SECONDS = 2.0
_MAX_OFFERED = 50


class _RecordId(click.ParamType[str]):
    """An id; the shell offers the newest records of its kind with a description."""

    def __init__(self, name: str, find: Callable[[Client], Iterable[Any]], describe: Callable[[Any], str]) -> None:
        self.name = name
        self._find = find
        self._describe = describe

    def shell_complete(self, ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the ids that begin with the typed word; none if the API is unreachable."""
        return complete_from_api(ctx, incomplete, self._ids)

    def _ids(self, client: Client) -> Iterator[tuple[str, str]]:
        for record in islice(self._find(client), _MAX_OFFERED):
            # An id from a foreign server may contain characters that the shell executes or the terminal obeys.
            if record.id.replace("_", "").isalnum():
                yield record.id, self._describe(record)


def complete_from_api(
    ctx: click.Context, incomplete: str, find: Callable[[Client], Iterable[tuple[str, str]]]
) -> list[CompletionItem]:
    """Return the completions of the incomplete word among the pairs of `find`: a string and its description.

    Returns an empty list if the API is unreachable.
    """
    from click.shell_completion import CompletionItem

    from ava.client import ClientError
    from ava.errors import AvaError

    with suppress(ClientError, AvaError), connect(ctx, timeout_seconds=_PATIENCE_SECONDS, retries=0) as client:
        return [
            CompletionItem(candidate, help=clean(meaning).replace(":", " "))
            for candidate, meaning in find(client)
            if candidate.startswith(incomplete)
        ]
    return []


class Pair(click.ParamType[tuple[str, str]]):
    """A name and its value, `KEY=VALUE`."""

    def __init__(self, name: str, example: str) -> None:
        self.name = name
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return the key and the value."""
        if isinstance(value, tuple):
            return value
        key, separator, string = str(value).partition("=")
        if not separator or not key or not string:
            self.fail(f"{value!r} is not {self.name.upper()}, such as {self._example}.", param, ctx)
        return key, string


class _Timestamp(click.ParamType[datetime]):
    """A time in ISO 8601. Without an offset it is local, like the times in tables."""

    name = "moment"

    def __init__(self, *, may_be_ago: bool) -> None:
        """`may_be_ago`: also accept a duration before now, such as `10m`."""
        self._may_be_ago = may_be_ago

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time, with a time zone."""
        if isinstance(value, datetime):
            return value
        if self._may_be_ago and (ago := _AGO.fullmatch(str(value))):
            return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        if (timestamp := parse_time(str(value), is_local=True)) is None:
            ago_form = ", nor an age such as 90s, 10m, 2h or 1d" if self._may_be_ago else ""
            self.fail(f"{value!r} is not an ISO 8601 time such as 2026-12-01T09:00{ago_form}.", param, ctx)
        return timestamp


_AGO = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
TAG = Pair("key=value", "team=security")
WHERE = Pair("path=value", "account.id=17")
#: The form of a time in an option's help.
ISO_FORM = "ISO 8601, in local time unless it has an offset"
PAST_FORM = f"{ISO_FORM}, or an age such as 10m, 2h or 1d"
TIMESTAMP = _Timestamp(may_be_ago=False)
PAST_TIMESTAMP = _Timestamp(may_be_ago=True)


def _ids(resource: str, *described: str) -> _RecordId:
    """Return the ids of a resource's records; the shell shows the fields `described` of each."""

    def find(client: Client) -> Iterable[Any]:
        return getattr(client, resource).list(per_page=_MAX_OFFERED)  # type: ignore[no-any-return]

    def describe(record: Any) -> str:
        return " ".join(str(value) for name in described if (value := getattr(record, name)))

    return _RecordId(f"{resource.removesuffix('s')}_id", find, describe)


JOB_ID, WORKER_ID, HOOK_ID = _ids("jobs", "status", "worker_id"), _ids("workers", "name"), _ids("hooks", "name")
ID_TYPES = (
    *(JOB_ID, WORKER_ID, HOOK_ID, _ids("webhooks", "url"), _ids("notices", "name"), _ids("schedules", "name")),
    *(_ids("subscriptions", "event_type"), _ids("operations", "kind", "state"), _ids("approvals", "title")),
    *(_ids("containments", "state", "reason"), _ids("errors", "message"), _ids("keys", "name")),
)
DELIVERER_ID = _RecordId(
    "owner_id",
    lambda client: chain(client.webhooks.list(), client.hooks.list(), client.notices.list()),
    lambda found: str(getattr(found, "name", None) or found.url),
)
#: Ids in the examples of the help.
EXAMPLES = {
    "job_id": "job_01…",
    "worker_id": "wkr_report",
    "schedule_id": "sch_01…",
    "hook_id": "hk_01…",
    "webhook_id": "wh_01…",
    "notice_id": "ntc_01…",
    "subscription_id": "sub_01…",
    "operation_id": "op_01…",
    "containment_id": "con_01…",
    "error_id": "err_01…",
    "approval_id": "apr_01…",
    "key_id": "key_01…",
    "event_id": "evt_01…",
    "node_id": "node_01…",
    "queue": "default",
    "tenant_id": "ten_acme",
}
