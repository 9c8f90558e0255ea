"""What calls of the client send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

from ava.client.times import sent_time


class TriggerOptions(TypedDict, total=False):
    """What a trigger says of its job, beside its worker and its input; what is left out, or None, is the usual."""

    #: `manual` (the usual), `scheduled`, `webhook` or `event`.
    trigger: str | None
    #: 1 (first) to 10 (last).
    priority: int | None
    #: When the job starts; without it at once. A datetime needs a time zone, and a text without an offset is UTC.
    scheduled_at: datetime | str | None
    tags: Mapping[str, str] | None
    #: Seconds after its date, or its creation, at which it is cancelled unless it has started; or the moment.
    expires_in: int | None
    start_before: datetime | str | None
    #: The most further attempts, if that is fewer than the worker has.
    max_retries: int | None
    #: Seconds after its date, or its creation, at which it fails unless it is final, waits included.
    deadline_seconds: int | None
    #: Of an entry of a bulk: its name, the names of those that it comes after, and how they must have ended
    #: (`completed`, `ended`, `failed`).
    name: str | None
    after: Sequence[str] | None
    when: str | None
    #: `{"key": …, "mode": "return" | "replace" | "refuse"}`: one unfinished job at most has the key.
    dedupe: Mapping[str, Any] | None
    #: `{"key": …, "seconds": …, "max_seconds": …, "keep": "last" | "first"}`: one job of triggers that follow each
    #: other, so many seconds after the last one.
    debounce: Mapping[str, Any] | None


def trigger_entry(given: dict[str, Any]) -> dict[str, Any]:
    """Returns what a trigger sends of its options: those that are given."""
    for name in ("scheduled_at", "start_before"):
        given[name] = sent_time(given.get(name))
    plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()}
    return {name: value for name, value in plain.items() if value is not None}


class JobChanges(TypedDict, total=False):
    """What a call changes of a queued job; what is left out stays."""

    priority: int
    #: None: at once.
    scheduled_at: datetime | str | None
    #: Seconds from now, or from a later date; None: it does not expire.
    expires_in: int | None
    #: In place of the earlier ones.
    tags: Mapping[str, str]


class WorkerChanges(TypedDict, total=False):
    """The settings of a worker that a call changes; those that are left out stay."""

    #: `active`, `paused` or `deprecated`.
    status: str | None
    #: Entries to set; None deletes one.
    config: Mapping[str, str | None]
    #: Likewise; they are never shown again.
    secrets: Mapping[str, str | None]
    #: At most what the handler declares.
    timeout_seconds: float | None
    max_retries: int | None
    #: In place of it: `max`, and `delays`, or `first`, `factor` and `ceiling`, in seconds, and `jitter`.
    retry: Mapping[str, Any] | None
    #: The limits of the worker (`100/minute`), with scope `platform` only.
    max_running: int | None
    rate: str | None
    #: `platform` for all tenants, by platform-admin or above; `tenant` otherwise.
    scope: str
