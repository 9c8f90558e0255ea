"""AVA Jobs: what the author of a handler imports."""

from ava.errors import JobCancelled, JobInterrupted, JobTimeout
from ava.execution.env import Env
from ava.execution.registry import worker

__all__ = ["Env", "JobCancelled", "JobInterrupted", "JobTimeout", "worker"]
