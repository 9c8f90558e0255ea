"""The API for handler authors: `worker`, `Env`, and the exceptions in handlers."""

from ava.domain.approval import Decision
from ava.domain.jobs.retry import Retry
from ava.handler.children import ChildJob
from ava.handler.configured_client import configure
from ava.handler.env import Env
from ava.handler.errors import (
    CallNotAwaited,
    ChildFailed,
    ChildRefused,
    DuplicateName,
    GiveUp,
    Interruption,
    JobCancelled,
    JobFailed,
    JobInterrupted,
    JobTimeout,
    MemoryExceeded,
    NotConfigured,
    RateLimited,
    RetryLater,
    StepError,
    StepInterrupted,
    Suspended,
    TooManyWaiting,
    WaitInTask,
    WaitTimeout,
)
from ava.handler.handles import AsyncHandle, Handle
from ava.handler.registry import worker
from ava.handler.tasks import Task

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
