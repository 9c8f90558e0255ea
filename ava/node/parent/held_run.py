"""A run that a child of this node has been given, as the node's parent knows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ava.node.outcome import Stop

__all__ = ["HeldRun"]


@dataclass(kw_only=True, eq=False)
class HeldRun:
    """A run that a child of this node has been given."""

    task_id: str
    job_id: str
    run_no: int
    pid: int
    timeout_seconds: float
    grace_seconds: float
    #: When it was claimed, once the database has said so; a claim may have to wait for the database.
    claimed_at: float | None = None
    #: Why it was asked to stop, and when it is killed if it has not.
    stop: Stop | None = None
    kill_at: float | None = None
    is_hurried: bool = False
    is_killed: bool = False
    #: When the child took its message, in Unix nanoseconds.
    began_ns: int = field(default_factory=time.time_ns)
