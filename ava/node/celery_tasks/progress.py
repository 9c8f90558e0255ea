"""The states that a task sets with `update_state`, as the progress of its job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from celery import states

from ava.handler.env import Env
from ava.node.celery_tasks.results import as_json

#: The characters of a message that shows a state's meta data.
_MAX_META = 500


class TaskIgnored(Exception):
    """The task has set the state of a failure and then raised `Ignore`."""


class StateReport:
    """The states of one run."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._state, self._meta, self._fraction = "", None, 0.0

    def note(self, state: str, meta: Any) -> None:
        """The task has set its state."""
        self._state, self._meta = state, meta
        self._fraction = _fraction(meta, self._fraction)
        self._env.progress(self._fraction, f"{state} {_text(meta)}".strip())

    def ignored(self) -> Any:
        """Returns the output of a run that raised `Ignore`: the meta data of the state SUCCESS, else None.

        Raises `TaskIgnored` if the task had set the state of a failure.
        """
        if self._state in (states.FAILURE, states.REVOKED):
            raise TaskIgnored(f"{self._state}{'' if self._meta is None else f' {self._meta}'}")
        return as_json(self._meta) if self._state == states.SUCCESS else None


def _text(meta: Any) -> str:
    if meta is None:
        return ""
    try:
        return json.dumps(as_json(meta), ensure_ascii=False)[:_MAX_META]
    except (TypeError, ValueError, RecursionError):
        return repr(meta)[:_MAX_META]


def _fraction(meta: Any, before: float) -> float:
    """Returns how far a task is that names `current` and `total`, as in Celery's manual; else what was known before."""
    if not isinstance(meta, Mapping):
        return before
    current, total = meta.get("current", meta.get("done")), meta.get("total")
    if isinstance(current, int | float) and isinstance(total, int | float) and total > 0:
        return min(1.0, max(0.0, current / total))
    return before
