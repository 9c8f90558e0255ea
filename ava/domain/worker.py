"""The worker: a definition that can be run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ava.domain.rates import Rate

__all__ = ["DeclaredSchedule", "OnWorkerLost", "Worker", "WorkerLimits", "WorkerSpec", "WorkerStatus"]


class WorkerStatus(StrEnum):
    """`paused` workers take no jobs."""

    ACTIVE = "active"
    PAUSED = "paused"


class OnWorkerLost(StrEnum):
    """What happens to a job whose process was lost."""

    REQUEUE = "requeue"
    FAIL = "fail"


@dataclass(frozen=True)
class DeclaredSchedule:
    """A schedule as the author of a handler declares it."""

    #: Five fields, as in crontab(5).
    cron: str
    #: An IANA name.
    timezone: str
    #: The tenant for which it makes jobs.
    tenant_id: str


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """How many jobs of a worker may run at once, and how many may start in a span of time."""

    max_running: int | None = None
    #: What `max_running` is per: None for the worker as a whole, `tenant`, or a path in the input, `input.account.id`.
    max_running_per: str | None = None
    rate: Rate | None = None
    #: Likewise for the rate.
    rate_per: str | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """A worker as the author of its handler declares it."""

    #: `wkr_` and the slug.
    id: str
    name: str
    description: str
    timeout_seconds: float
    max_retries: int
    cancel_grace_seconds: float
    #: The Celery queue that its jobs go through.
    queue: str
    #: The tenants that may run it; None means all.
    tenants: tuple[str, ...] | None
    on_worker_lost: OnWorkerLost
    #: When it runs by itself; None if it does not.
    schedule: DeclaredSchedule | None = None
    #: Whether what its subprocesses write to the standard streams goes to the job's log.
    captures_subprocesses: bool = False
    limits: WorkerLimits = WorkerLimits()


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker as a client sees it."""

    id: str
    name: str
    description: str
    runtime: str
    status: WorkerStatus
    timeout_seconds: float
    max_retries: int
    queue: str
    created_at: datetime
    updated_at: datetime
    #: Whether a live node has its handler and consumes its queue.
    is_live: bool
    limits: WorkerLimits = WorkerLimits()
