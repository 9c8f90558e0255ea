"""Cursors: places in a list, opaque to clients, in the look of the ids."""

from __future__ import annotations

from uuid import UUID

from ava.domain import ids

__all__ = ["of_job", "of_line", "of_worker", "to_job_id", "to_line", "to_worker_id"]

_PREFIX = "cur"
_LOG_PREFIX = "log"
_LOW = 2**64 - 1


def of_job(job_id: str) -> str:
    """The place after a job in a list of jobs."""
    return f"{_PREFIX}_{job_id.removeprefix('job_')}"


def to_job_id(cursor: str) -> str | None:
    """The job after which to go on; None where this is no cursor of jobs."""
    value = ids.decode(_PREFIX, cursor)
    return None if value is None else ids.encode("job", value)


def of_worker(worker_id: str) -> str:
    """The place after a worker in a list of workers."""
    return f"{_PREFIX}_{worker_id.removeprefix('wkr_')}"


def to_worker_id(cursor: str) -> str | None:
    """The worker after which to go on; None where this is no cursor of workers."""
    return f"wkr_{cursor.removeprefix('cur_')}" if ids.is_client_id(_PREFIX, cursor) else None


def of_line(job_id: str, seq: int) -> str:
    """The place after a line of a job's log. It holds the random half of the job's id, so it fits no other job."""
    return ids.encode(_LOG_PREFIX, UUID(int=_half(job_id) << 64 | seq + 1))


def to_line(job_id: str, cursor: str) -> int | None:
    """The `seq` after which to go on; None where this is no cursor of this job's log."""
    value = ids.decode(_LOG_PREFIX, cursor)
    if value is None or value.int >> 64 != _half(job_id):
        return None
    seq = (value.int & _LOW) - 1
    return seq if -1 <= seq < 2**63 - 1 else None


def _half(job_id: str) -> int:
    value = ids.decode("job", job_id)
    return 0 if value is None else value.int & _LOW
