"""The states and the result of a task, as the progress and the output of its job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from celery import states
from celery.result import ResultBase
from kombu.utils.json import object_hook

from ava.handler.env import Env

#: Max characters of a message that shows a state's meta data.
_MAX_META = 900


def as_json(value: Any) -> Any:
    """Return a result with strings in place of dates, times, decimals and UUIDs, which Celery's JSON takes as they are.

    The result of a call becomes its tuple, as in Celery's backends. Keys that are numbers, booleans or None become
    strings, as `json.dumps` writes them.
    """
    if isinstance(value, Mapping):
        return {_key(key): as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(part) for part in value]
    if isinstance(value, ResultBase):
        return as_json(value.as_tuple())
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    return value


def decoded(value: Any) -> Any:
    """Return an argument with the dates, decimals and UUIDs that Celery's JSON marks by their type."""
    if isinstance(value, list):
        return [decoded(part) for part in value]
    if isinstance(value, dict):
        found = {key: decoded(part) for key, part in value.items()}
        return object_hook(found) if found.keys() == {"__type__", "__value__"} else found
    return value


def _key(key: Any) -> Any:
    return json.dumps(key) if key is None or isinstance(key, bool | int | float) else key


class TaskIgnored(Exception):
    """The task has set the state of a failure and then raised `Ignore`."""


class StateReport:
    """The states of one run."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._state, self._meta, self._fraction = "", None, 0.0

    def record(self, state: str, meta: Any) -> None:
        """Report a state that the task has set as progress."""
        self._state, self._meta = state, meta
        self._fraction = _fraction(meta, self._fraction)
        self._env.progress(self._fraction, f"{state} {_shown(meta)}".strip())

    def ignored(self) -> Any:
        """Return the output of a run that raised `Ignore`: the meta data of the state SUCCESS, otherwise None.

        Raises `TaskIgnored` if the task had set the state of a failure.
        """
        if self._state in (states.FAILURE, states.REVOKED):
            raise TaskIgnored(f"{self._state}{'' if self._meta is None else f' {self._meta}'}")
        return as_json(self._meta) if self._state == states.SUCCESS else None


def _shown(meta: Any) -> str:
    if meta is None:
        return ""
    try:
        return json.dumps(as_json(meta), ensure_ascii=False)[:_MAX_META]
    except (TypeError, ValueError, RecursionError):
        return repr(meta)[:_MAX_META]


def _fraction(meta: Any, before: float) -> float:
    """Return the progress of a task that reports `current` and `total`, as in Celery's manual; otherwise `before`."""
    if not isinstance(meta, Mapping):
        return before
    current, total = meta.get("current", meta.get("done")), meta.get("total")
    if isinstance(current, int | float) and isinstance(total, int | float) and total > 0:
        return min(1.0, max(0.0, current / total))
    return before
