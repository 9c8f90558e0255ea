"""The interface of a duty of the dispatcher."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["Duty", "WakeableDuty"]


class Duty(Protocol):
    """Work that the active dispatcher repeats. It is idempotent and bounded per call."""

    #: The name in logs and metrics.
    name: str
    #: What `run_once` counts, as in "jobs published"; the log of the duty's changes says it.
    changes: str

    @property
    def every_seconds(self) -> float:
        """Returns the seconds until the next call."""
        ...

    def run_once(self, now: float) -> int:
        """Do the work once. Returns the number of changes. `now` is the loop's monotonic clock, in seconds.

        Raises `DatabaseUnavailable` or `BrokerUnavailable` if it cannot be done now; nothing is then half-done.
        """
        ...


@runtime_checkable
class WakeableDuty(Duty, Protocol):
    """A duty that waits for its next call itself, because something may make it due earlier."""

    def wait(self, seconds: float) -> None:
        """Wait so long at most. It does not raise."""
        ...
