"""Record when the event loop of a node's parent last ran, and when it last tried to reach the broker."""

from __future__ import annotations

import time

_FRESH_SECONDS = 3.0
_turned_at = time.monotonic()
_tried_at = time.monotonic()


def record_turn() -> None:
    global _turned_at, _tried_at  # noqa: PLW0603 - a process has one loop
    _turned_at = _tried_at = time.monotonic()


def record_attempt() -> None:
    """Record an attempt to connect while the broker is unreachable and the loop does not run."""
    global _tried_at  # noqa: PLW0603
    _tried_at = time.monotonic()


def is_turning() -> bool:
    """Return True if the loop runs, so that reports of children are read."""
    return time.monotonic() - _turned_at < _FRESH_SECONDS


def silent_seconds() -> float:
    """Return the seconds since the last iteration or attempt."""
    return time.monotonic() - _tried_at
