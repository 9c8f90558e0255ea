"""When the event loop of a node's parent last turned, and when it last tried to reach the broker."""

from __future__ import annotations

import time

_FRESH_SECONDS = 3.0
_turned_at = time.monotonic()
_tried_at = time.monotonic()


def record_turn() -> None:
    """The loop has turned."""
    global _turned_at, _tried_at  # noqa: PLW0603 - a process has one loop
    _turned_at = _tried_at = time.monotonic()


def record_attempt() -> None:
    """The broker is away and the loop does not turn, but the process has just tried to connect."""
    global _tried_at  # noqa: PLW0603
    _tried_at = time.monotonic()


def is_turning() -> bool:
    """Returns True if the loop turns, so that what children report is read."""
    return time.monotonic() - _turned_at < _FRESH_SECONDS


def silent_seconds() -> float:
    """Returns the seconds since the last turn or attempt."""
    return time.monotonic() - _tried_at
