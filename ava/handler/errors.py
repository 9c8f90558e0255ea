"""The errors that are raised inside a handler."""

from __future__ import annotations

from typing import Any

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


class MemoryExceeded(Interruption):
    """The job has more memory than its worker allows; clean up and return."""


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


class GiveUp(Exception):
    """A handler raises it with the reason why no further attempt would help: the job fails at once."""


class RateLimited(RetryLater):
    """Like `RetryLater`, for the whole key of the worker's rate: no job of it starts in the meantime."""


class Suspended(BaseException):
    """The handler waits: its run ends, and it is entered again from its top once the wait is over.

    Not an `Exception`, so that a broad `except` does not catch it. `finally` runs, and context managers are left.
    """

    def __init__(self, text: str = "") -> None:
        """`text`: what the handler waits for."""
        super().__init__(text)


class SuspensionSwallowed(Exception):
    """The handler went on after it was suspended, because it caught `ava.Suspended`; let it pass."""

    def __str__(self) -> str:
        return (self.__doc__ or "").strip()


class WaitTimeout(Exception):
    """The time of a wait was over before what it was for had come."""


class ChildFailed(Exception):
    """A child did not complete."""

    def __init__(self, message: str, child: Any = None) -> None:
        super().__init__(message)
        #: The child, with its `id`, `status` and `error`.
        self.child = child


class ChildRefused(Exception):
    """A child cannot be made: its worker is unknown or deprecated, its input wrong, or a limit is reached."""


class DuplicateName(Exception):
    """Two calls of one run have the same name in the journal; give one of them another `key=`."""


class StepError(Exception):
    """A step is not what a journal takes: too large, too many, not JSON, or with a call of the journal inside."""


class StepInterrupted(Exception):
    """A step that runs at most once had begun when its process died; whether it took effect is not known."""


class CallNotAwaited(Exception):
    """An async handler has returned although it has not awaited one of its calls, as in `await env.trigger(…)`."""


class TooManyWaiting(Exception):
    """The tenant has as many waiting jobs as it may have (`waiting_jobs`), so the handler does not wait now."""


class WaitInTask(Exception):
    """A wait in a task or thread beside the handler cannot suspend it; make branches that wait with `env.gather`."""
