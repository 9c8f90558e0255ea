"""The API for handler authors: `worker`, `Env`, and the exceptions in handlers."""

from ava.domain.jobs.retry import Retry
from ava.handler.children import ChildJob
from ava.handler.env import Env
from ava.handler.errors import (
    CallNotAwaited,
    ChildFailed,
    ChildRefused,
    DuplicateName,
    GiveUp,
    Interruption,
    JobCancelled,
    JobInterrupted,
    JobTimeout,
    MemoryExceeded,
    RateLimited,
    RetryLater,
    StepError,
    StepInterrupted,
    Suspended,
    TooManyWaiting,
    WaitInTask,
    WaitTimeout,
)
from ava.handler.registry import worker

__all__ = [
    "CallNotAwaited",
    "ChildFailed",
    "ChildJob",
    "ChildRefused",
    "DuplicateName",
    "Env",
    "GiveUp",
    "Interruption",
    "JobCancelled",
    "JobInterrupted",
    "JobTimeout",
    "MemoryExceeded",
    "RateLimited",
    "Retry",
    "RetryLater",
    "StepError",
    "StepInterrupted",
    "Suspended",
    "TooManyWaiting",
    "WaitInTask",
    "WaitTimeout",
    "worker",
]
