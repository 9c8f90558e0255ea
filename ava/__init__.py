"""AVA Jobs. Exports the names that handler authors import from `ava.handler`.

They are loaded on first use (PEP 562), so that `import ava.client` loads no module of the server.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ava.handler import (
        AsyncHandle,
        CallNotAwaited,
        ChildFailed,
        ChildJob,
        ChildRefused,
        Decision,
        DuplicateName,
        Env,
        GiveUp,
        Handle,
        Interruption,
        JobCancelled,
        JobFailed,
        JobInterrupted,
        JobTimeout,
        MemoryExceeded,
        NotConfigured,
        RateLimited,
        Retry,
        RetryLater,
        StepError,
        StepInterrupted,
        Suspended,
        Task,
        TooManyWaiting,
        WaitInTask,
        WaitTimeout,
        configure,
        worker,
    )

__all__ = [
    "AsyncHandle",
    "CallNotAwaited",
    "ChildFailed",
    "ChildJob",
    "ChildRefused",
    "Decision",
    "DuplicateName",
    "Env",
    "GiveUp",
    "Handle",
    "Interruption",
    "JobCancelled",
    "JobFailed",
    "JobInterrupted",
    "JobTimeout",
    "MemoryExceeded",
    "NotConfigured",
    "RateLimited",
    "Retry",
    "RetryLater",
    "StepError",
    "StepInterrupted",
    "Suspended",
    "Task",
    "TooManyWaiting",
    "WaitInTask",
    "WaitTimeout",
    "configure",
    "worker",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ava import handler

    return getattr(handler, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
