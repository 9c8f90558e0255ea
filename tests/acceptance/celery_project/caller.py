"""Sends every task to plain Celery and prints how each has ended, as JSON: a process of its own beside the tests'."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from tests.acceptance.celery_project.celery import app

#: Seconds until all have ended.
_SECONDS = 90.0


def main(calls: dict[str, Any], silent: list[str]) -> None:
    """`calls`: the arguments of each task, by its name. `silent`: the tasks of which Celery says no end."""
    sent = {name: app.send_task(name, args, kwargs) for name, (args, kwargs) in calls.items()}
    until = time.monotonic() + _SECONDS
    while not all(each.ready() for name, each in sent.items() if name not in silent):
        assert time.monotonic() < until, {name: each.state for name, each in sent.items() if not each.ready()}
        time.sleep(0.1)
    print(json.dumps({name: _end(each) for name, each in sent.items()}))  # noqa: T201 - the test reads it


def _end(result: Any) -> tuple[str, Any]:
    value = result.result
    return result.state, f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else value


if __name__ == "__main__":
    main(*json.load(sys.stdin))
