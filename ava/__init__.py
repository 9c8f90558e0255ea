"""AVA Jobs: what the author of a handler imports."""

from ava.errors import JobCancelled, JobInterrupted, JobTimeout
from ava.handler.env import Env
from ava.handler.registry import worker

__all__ = ["Env", "JobCancelled", "JobInterrupted", "JobTimeout", "worker"]
