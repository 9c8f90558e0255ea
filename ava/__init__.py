"""AVA Jobs: what the author of a handler imports."""

from ava.handler import Env, JobCancelled, JobInterrupted, JobTimeout, worker

__all__ = ["Env", "JobCancelled", "JobInterrupted", "JobTimeout", "worker"]
