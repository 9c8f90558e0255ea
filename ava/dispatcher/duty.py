"""What a duty of the dispatcher is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Duty"]


class Duty(Protocol):
    """Something that the active dispatcher does again and again."""

    #: What it is called in logs and metrics.
    name: str
    #: Seconds from one time to the next.
    every_seconds: float

    def run_once(self, now: float) -> int:
        """Do it once, and return how much was changed. `now` is the loop's stopwatch, in seconds.

        Raises `DatabaseUnavailable` or `BrokerUnavailable` where it could not; nothing is then half-done.
        """
        ...
