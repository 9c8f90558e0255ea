"""Exceptions in handlers."""

from __future__ import annotations

from typing import Any

#: Max seconds of a handler's deferral: 30 days.
_LONGEST_SECONDS = 30 * 86_400.0


class Interruption(BaseException):
    """The handler must stop; not an `Exception`, so that a broad `except` does not catch it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else (self.__doc__ or "").strip()


class JobCancelled(Interruption):
    """The job was cancelled; clean up and return."""


class JobTimeout(Interruption):
    """The job exceeded its time-out; clean up and return."""


class MemoryExceeded(Interruption):
    """The job has more memory than its worker allows; clean up and return."""


class JobInterrupted(Interruption):
    """The worker node is shutting down; the job runs again elsewhere. Clean up and return."""


class RetryLater(Exception):
    """Raised by a handler to defer its job by `seconds`. The attempt does not count."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        """Raise `ValueError` if `seconds` is not from 0 to 30 days."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST_SECONDS:
            raise ValueError(f"seconds must be a number from 0 to {_LONGEST_SECONDS:g}")
        super().__init__(reason)
        self.seconds = float(seconds)
        self.reason = str(reason)


class GiveUp(Exception):
    """Raised by a handler, with the reason, if no further attempt would help: the job fails immediately."""


class RateLimited(RetryLater):
    """Like `RetryLater`, for the whole key of the worker's rate limit: no job with the key starts in that time."""


class Suspended(BaseException):
    """The handler waits: its run ends, and a later run enters it again from its top once the wait is satisfied.

    Not an `Exception`, so that a broad `except` does not catch it. `finally` blocks and context managers run.
    """

    def __init__(self, message: str = "") -> None:
        """`message`: a description of the wait."""
        super().__init__(message)


class SuspensionSwallowed(Exception):
    """The handler went on after it was suspended, because it caught `ava.Suspended`; let it pass."""

    def __str__(self) -> str:
        return (self.__doc__ or "").strip()


class WaitTimeout(Exception):
    """A wait timed out."""


class JobFailed(Exception):
    """A job did not complete."""

    def __init__(self, message: str, job: Any = None) -> None:
        super().__init__(message)
        #: The job, with its `id`, `status` and `error`.
        self.job = job


class ChildFailed(JobFailed):
    """A child did not complete."""

    @property
    def child(self) -> Any:
        """Return the child, with its `id`, `status` and `error`."""
        return self.job


class NotConfigured(Exception):
    """There is no client for a trigger outside of a handler."""


class ChildRefused(Exception):
    """A child cannot be created: its worker is unknown or deprecated, its input invalid, or a limit is reached."""


class DuplicateName(Exception):
    """Two calls of one run have the same name in the journal; give one call another `key=`."""


class StepError(Exception):
    """A step does not fit into the journal: too large, too many, not JSON, or with a nested journal call."""


class StepInterrupted(Exception):
    """A step that runs at most once had begun when its process died; whether it took effect is unknown."""


class CallNotAwaited(Exception):
    """An async handler returned without awaiting a call; write `await env.trigger(…)`."""


class TooManyWaiting(Exception):
    """The tenant has reached its limit of waiting jobs (`waiting_jobs`), so the handler cannot wait now."""


class WaitInTask(Exception):
    """A call in a separate task or thread cannot suspend the handler; make branches that wait with `env.gather`."""
