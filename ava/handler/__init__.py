"""What a handler's author imports: `worker`, `Env`, and the errors that are raised inside a handler."""

from ava.handler.env import Env
from ava.handler.errors import Interruption, JobCancelled, JobInterrupted, JobTimeout, RateLimited, RetryLater
from ava.handler.registry import worker

__all__ = [
    "Env",
    "Interruption",
    "JobCancelled",
    "JobInterrupted",
    "JobTimeout",
    "RateLimited",
    "RetryLater",
    "worker",
]
