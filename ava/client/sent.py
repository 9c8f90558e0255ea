"""What calls send: options and changes, times, and ids in paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict
from urllib.parse import quote

from ava.client.errors import ApiNotFound


def sent_time(value: Any) -> Any:
    """Return a datetime in ISO 8601 with its offset, and any other value unchanged.

    Raises `ValueError` for a datetime without a time zone: the API would read a local time as UTC, and start a job
    immediately that is due in an hour.
    """
    if not isinstance(value, datetime):
        return value
    if value.utcoffset() is None:
        raise ValueError(
            f"{value!r} has no time zone; use datetime.now(UTC), or value.astimezone() if it is a local time"
        )
    return value.isoformat()


def time_range(since: datetime | str | None, until: datetime | str | None) -> dict[str, Any]:
    """Return the parameters of a time range: from `since` to before `until`. None: unbounded."""
    return {"since": sent_time(since), "until": sent_time(until)}


class TriggerOptions(TypedDict, total=False):
    """Optional fields of a trigger; an omitted field, or None, means the default."""

    #: `manual` (the default), `scheduled`, `webhook` or `event`.
    trigger: str | None
    #: 1 (first) to 10 (last).
    priority: int | None
    #: Start time; None: immediately. A datetime must have a time zone, and a string without an offset is UTC.
    scheduled_at: datetime | str | None
    tags: Mapping[str, str] | None
    #: Cancel the job unless it started within these seconds after its start time or creation; or by this time.
    expires_in_seconds: int | None
    start_before: datetime | str | None
    #: Max further attempts, at most the worker's.
    max_retries: int | None
    #: Fail the job unless it is final these seconds after its start time or creation, waits included.
    deadline_seconds: int | None
    #: `{"title": …, "when": …}`: the decision that it needs before its first start, if none of its worker applies.
    approval: Mapping[str, Any] | None
    #: In an entry of a bulk: its name, the names of its predecessors, and their required outcome (`completed`, `ended`,
    #: `failed`).
    name: str | None
    after: Sequence[str] | None
    when: str | None
    #: `{"key": …, "mode": "return" | "replace" | "refuse"}`: at most one unfinished job has the key.
    dedupe: Mapping[str, Any] | None
    #: `{"key": …, "seconds": …, "max_seconds": …, "keep": "last" | "first"}`: one job per burst of triggers, `seconds`
    #: after the last one.
    debounce: Mapping[str, Any] | None


def trigger_entry(given: dict[str, Any]) -> dict[str, Any]:
    """Return the given options of a trigger in the API's form."""
    for name in ("scheduled_at", "start_before"):
        given[name] = sent_time(given.get(name))
    plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()}
    return {name: value for name, value in plain.items() if value is not None}


class JobChanges(TypedDict, total=False):
    """Changes of a queued job; omitted fields stay unchanged."""

    priority: int
    #: None: immediately.
    scheduled_at: datetime | str | None
    #: Seconds from now, or from a later start time; None: never.
    expires_in_seconds: int | None
    #: Replace all tags.
    tags: Mapping[str, str]


class WorkerChanges(TypedDict, total=False):
    """Changes of a worker's settings; omitted fields stay unchanged."""

    #: `active`, `paused` or `deprecated`.
    status: str | None
    #: Entries to set; None deletes one.
    config: Mapping[str, str | None]
    #: Secrets to set, which are never shown again; None deletes one.
    secrets: Mapping[str, str | None]
    #: Max the handler's declared value.
    timeout_seconds: float | None
    max_retries: int | None
    #: Replaces the retries: `max`, `jitter`, and `delays_seconds` or `first_seconds`, `factor`, `max_delay_seconds`.
    retry: Mapping[str, Any] | None
    #: The worker's limits (`100/minute`), only with scope `platform`.
    max_running: int | None
    rate: str | None
    #: `{"title": …, "when": …}`: the decision that new jobs need before their first start.
    approval: Mapping[str, Any] | None
    #: `platform` for all tenants, by platform-admin or above; `tenant` otherwise.
    scope: str


def segment(id: str) -> str:
    """Return an id as one path segment. Raises `ApiNotFound` for a string that could call another route.

    Quoting is not enough: a server decodes `%2F` before it selects the route, and a client removes `..`.
    """
    string = str(id)
    if "/" in string or not string.strip("."):
        raise ApiNotFound(f"{string!r} is not an id.", status=404, code="resource_not_found")
    return quote(string, safe="", errors="replace")
