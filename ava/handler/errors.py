"""The errors that are raised inside a handler."""

from __future__ import annotations

__all__ = ["Interruption", "JobCancelled", "JobInterrupted", "JobTimeout"]


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
