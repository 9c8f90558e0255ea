"""The pulse of a node's parent: when Celery's event loop last turned, or last tried to reach the broker."""

from __future__ import annotations

import time

__all__ = ["is_turning", "record_attempt", "record_turn", "silent_seconds"]

_FRESH_SECONDS = 3.0
_turned_at = time.monotonic()
_tried_at = time.monotonic()


def record_turn() -> None:
    """The loop has turned."""
    global _turned_at, _tried_at  # noqa: PLW0603 - a process has one loop
    _turned_at = _tried_at = time.monotonic()


def record_attempt() -> None:
    """There is no loop, for the broker is away; but it is tried."""
    global _tried_at  # noqa: PLW0603
    _tried_at = time.monotonic()


def is_turning() -> bool:
    """Whether the loop turns, so that what children report is heard."""
    return time.monotonic() - _turned_at < _FRESH_SECONDS


def silent_seconds() -> float:
    """For how long there has been no sign of life at all."""
    return time.monotonic() - _tried_at
