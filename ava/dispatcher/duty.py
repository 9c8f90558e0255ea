"""The interface of a duty of the dispatcher."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Duty"]


class Duty(Protocol):
    """Work that the active dispatcher repeats. It is idempotent and bounded per call."""

    #: The name in logs and metrics.
    name: str
    #: What `run_once` counts, as in "jobs published"; the log of the duty's changes says it.
    changes: str
    #: Seconds between two calls.
    every_seconds: float

    def run_once(self, now: float) -> int:
        """Do the work once. Returns the number of changes. `now` is the loop's monotonic clock, in seconds.

        Raises `DatabaseUnavailable` or `BrokerUnavailable` if it cannot be done now; nothing is then half-done.
        """
        ...
