"""The trigger of one call of a task, from the options of Celery's `apply_async`."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery
from celery.utils.time import maybe_make_aware
from kombu.utils.json import dumps

from ava.client.slugs import slug_of

_log = logging.getLogger(__name__)

#: The tag with the `task_id` that a caller has chosen. Children inherit tags, so a lookup omits jobs with a parent.
TASK_ID = "task_id"
#: The tag with the id of a call's group.
GROUP_ID = "group_id"
#: Max characters of a tag's value, and the form of its key.
_MAX_VALUE = 64
_KEY = re.compile(r"[a-z0-9_.-]{1,32}")
#: Max tags of a job, without TASK_ID, GROUP_ID and the outbox's tag.
_MAX_TAGS = 7
_IGNORED = ("time_limit", "soft_time_limit", "queue", "exchange", "routing_key")
#: Transports with 0 as the first priority; on the others 9 is the first.
_ZERO_FIRST = ("redis", "rediss", "sentinel", "valkey")
#: The tasks and ignored options that were logged as a warning.
_warned: set[tuple[str, str]] = set()


@dataclass(kw_only=True)
class Call:
    """One call of a task, as a job to trigger."""

    worker_id: str
    input: dict[str, Any]
    #: Options of `client.jobs.trigger`, without the input.
    options: dict[str, Any] = field(default_factory=dict)
    #: The `task_id` that the caller has chosen; None: the job's id.
    task_id: str | None = None


def call_of(app: Celery, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Call:
    """Return the call of a task. Raises `TypeError` or `ValueError` if a job cannot have its arguments or options."""
    input = json.loads(dumps({"args": list(args), "kwargs": dict(kwargs)}))
    if request := _request(options):
        input["request"] = json.loads(dumps(request))
    for option in _IGNORED:
        if options.get(option) is not None and (name, option) not in _warned:
            _warned.add((name, option))
            _log.warning("%s: the option %s is ignored, because its worker decides", name, option)
    found = {**_times(app, options), "priority": _priority(app, options.get("priority")), "tags": _tags(options)}
    task_id = options.get("task_id")
    given = {name: value for name, value in found.items() if value is not None}
    return Call(
        worker_id=f"wkr_{slug_of(name)}",
        input=input,
        options=given,
        task_id=None if task_id is None else str(task_id),
    )


def _times(app: Celery, options: Mapping[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC)
    eta, countdown, expires = options.get("eta"), options.get("countdown"), options.get("expires")
    at = now + timedelta(seconds=countdown) if countdown else None
    if eta is not None:
        at = _time(app, eta)
    if expires is None:
        return {"scheduled_at": at}
    seconds = expires if isinstance(expires, int | float) else (_time(app, expires) - now).total_seconds()
    if at is None or at <= now:
        return {"scheduled_at": at, "expires_in_seconds": max(1, math.ceil(seconds))}
    # An expiry counts from the start time, and Celery's from the call.
    left = (now + timedelta(seconds=seconds) - at).total_seconds()
    return {"scheduled_at": at, "expires_in_seconds": max(1, math.ceil(left))}


def _time(app: Celery, given: Any) -> datetime:
    found = datetime.fromisoformat(given) if isinstance(given, str) else given
    return maybe_make_aware(found, app.timezone).astimezone(UTC)  # type: ignore[no-any-return]


def _priority(app: Celery, given: Any) -> int | None:
    """Convert Celery's priority, 0 to 9 in the transport's direction, to a job's, 1 (first) to 10."""
    if given is None:
        return None
    number = min(9, max(0, int(given)))
    return number + 1 if _is_zero_first(app) else 10 - number


def priority_of(app: Celery, priority: int) -> int:
    """Return the priority of a job as Celery's, 0 to 9, as a call would give it."""
    return priority - 1 if _is_zero_first(app) else 10 - priority


def _is_zero_first(app: Celery) -> bool:
    return str(app.conf.broker_url or "").partition("://")[0] in _ZERO_FIRST


def _tags(options: Mapping[str, Any]) -> dict[str, str] | None:
    headers = options.get("headers") or {}
    fitting = {
        str(key).lower(): value
        for key, value in headers.items()
        if _KEY.fullmatch(str(key).lower()) and isinstance(value, str) and 0 < len(value) <= _MAX_VALUE
    }
    tags = dict(list(fitting.items())[:_MAX_TAGS])
    for key in (TASK_ID, GROUP_ID):
        if (value := options.get(key)) is not None:
            if not 0 < len(str(value)) <= _MAX_VALUE:
                raise ValueError(f"{key} has {len(str(value))} characters; at most {_MAX_VALUE} are accepted")
            tags[key] = str(value)
    return tags or None


def _request(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `self.request` that the job itself does not tell."""
    stamped = options.get("stamped_headers") or []
    found = {
        "id": options.get("task_id"),
        "group": options.get("group_id"),
        "headers": options.get("headers"),
        "errbacks": [dict(each) for each in as_list(options.get("link_error"))],
        "stamped_headers": list(stamped),
        "stamps": {name: options[name] for name in stamped if name in options},
        "shadow": options.get("shadow"),
        "ignore_result": options.get("ignore_result"),
        "replaced_task_nesting": options.get("replaced_task_nesting"),
    }
    return {name: value for name, value in found.items() if value}


def as_list(given: Any) -> list[Any]:
    """Return an option of one signature or several as a list."""
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]
