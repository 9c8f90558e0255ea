"""The errors that are raised inside a handler."""

from __future__ import annotations

__all__ = ["Interruption", "JobCancelled", "JobInterrupted", "JobTimeout", "RateLimited", "RetryLater"]

#: The longest time for which a handler may put its job off, in seconds: 30 days.
_LONGEST_SECONDS = 30 * 86_400.0


class Interruption(BaseException):
    """The handler must stop; not an `Exception`, so that a broad `except` does not catch it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else (self.__doc__ or "").strip()


class JobCancelled(Interruption):
    """The job was cancelled; clean up and return."""


class JobTimeout(Interruption):
    """The job exceeded its time-out; clean up and return."""


class JobInterrupted(Interruption):
    """The worker node is shutting down; the job runs again elsewhere. Clean up and return."""


class RetryLater(Exception):
    """A handler raises it to run again in so many seconds. The attempt does not count."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        """Raises `ValueError` if `seconds` is not from 0 to 30 days."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST_SECONDS:
            raise ValueError(f"seconds must be a number from 0 to {_LONGEST_SECONDS:g}")
        super().__init__(reason)
        self.seconds = float(seconds)
        self.reason = str(reason)


class RateLimited(RetryLater):
    """Like `RetryLater`, for the whole key of the worker's rate: no job of it starts in the meantime."""
