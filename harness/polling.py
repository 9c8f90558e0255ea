"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

#: The least and the most seconds between two calls of a condition. Between them it is called after a tenth of the time
#: that has passed, because a condition is often a request or a query, which takes the processor from what is awaited.
_MIN_PAUSE, _MAX_PAUSE = 0.02, 0.2


def wait_until(condition: Callable[[], Value], *, seconds: float = 30, what: str | Callable[[], str] = "") -> Value:
    """Call `condition` until its result is true, and return the result. Fails after `seconds`, naming `what`."""
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        passed = time.monotonic() - began
        if passed > seconds:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what or condition}")
        time.sleep(min(_MAX_PAUSE, max(_MIN_PAUSE, passed / 10)))
