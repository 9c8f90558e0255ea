"""Nodes, queues and tenants with their jobs, and promotions of a standby, as clients see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from ava.domain.counts import MAX_COUNTED_OF_TENANT
from ava.domain.jobs import priority
from ava.domain.pause import Pause
from ava.domain.record import about


class NodeLiveness(StrEnum):
    LIVE = "live"
    #: Its heartbeats are missing.
    SILENT = "silent"
    #: After an orderly shutdown.
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class RunningJob:
    """A job that a node runs."""

    id: str = field(metadata={"prefix": "job"})
    worker_id: str
    attempt: int = field(metadata={"maximum": 6})
    started_at: datetime
    progress_json: str | None


_HIDDEN = {"description": "Null for the roles of a tenant."}


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """A node, and the jobs that it runs for one tenant."""

    id: str = field(metadata={"prefix": "node"})
    name: str = field(metadata=about("Celery's name; the id for the roles of a tenant."))
    host: str | None = field(metadata=_HIDDEN)
    pid: int | None = field(metadata=_HIDDEN)
    version: str
    code_version: str | None = field(
        metadata=about("The version of its handler modules, its `AVA_CODE_VERSION`; null: not set.")
    )
    queues: list[str] = field(metadata=about("The queues that it consumes."))
    refused_queues: list[str] = field(
        metadata=about("The queues that the broker refuses to it; it retries them every few seconds.")
    )
    refused_messages: list[str] = field(
        metadata=about(
            "Why it has rejected messages of the broker in the last minute. `unsigned`: its "
            "`AVA_MESSAGE_KEY` lacks the signing key, and their jobs wait; otherwise another program writes such "
            "messages. Empty for the roles of a tenant."
        )
    )
    workers: list[str]
    processes: int = field(metadata=about("Max number of jobs that it can run."))
    has_slots: bool = field(
        metadata=about("True if these are slots of one process, for the jobs of concurrent workers.")
    )
    busy: int = field(
        metadata=about("The number of running jobs of all tenants; for the roles of a tenant, only its own.")
    )
    #: Memory of the parent and its children; also None before the first heartbeat.
    memory_bytes: int | None = field(metadata=_HIDDEN)
    state: NodeLiveness
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None
    #: While it is paused it claims no new jobs and finishes its running jobs.
    paused: Pause | None
    #: Number of jobs that it runs for the tenant, and the oldest of them.
    busy_of_tenant: int = field(metadata={"internal": True})
    jobs: list[RunningJob] = field(metadata=about("The jobs of the caller's tenant that it is running."))


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue, and the jobs of one tenant."""

    queue: str
    queued: int = 0
    running: int = 0
    waiting: int = field(
        default=0,
        metadata=about("Jobs that wait for other jobs, an event or a time; not among the queued jobs."),
    )
    paused: Pause | None
    oldest_seconds: float | None = field(
        default=None,
        metadata=about("The waiting time of the oldest startable job; null if none could start."),
    )


@dataclass(frozen=True, kw_only=True)
class WorkerCount:
    """The numbers of waiting and running jobs of one worker."""

    worker_id: str
    queued: int
    running: int
    high_priority: int = field(metadata=about(f"Queued jobs of priority {priority.FIRST} to {priority.HIGH}."))


_WAITING_TOTAL = {
    "description": "Jobs that wait for other jobs, an event or a time. They are not included in the queued jobs."
}


@dataclass(frozen=True, kw_only=True)
class QueueCounts:
    """The number of a tenant's queued and running jobs by worker, at one time of the database's clock."""

    by_worker: list[WorkerCount]
    #: Jobs by worker that wait for other jobs, an event or a time; not included in the queued jobs.
    waiting: Mapping[str, int]
    sampled_at: datetime

    @property
    def total_queued(self) -> int:
        return sum(count.queued for count in self.by_worker)

    @property
    def total_running(self) -> int:
        return sum(count.running for count in self.by_worker)

    @property
    def total_waiting(self) -> Annotated[int, _WAITING_TOTAL]:
        return sum(self.waiting.values())


@dataclass(frozen=True, kw_only=True)
class QueuesInUse:
    """The queues of a tenant's workers, and the numbers of their jobs."""

    counts: QueueCounts = field(metadata={"flat": True})
    queues: Sequence[Queue]


_COUNTED = {"description": f"Exact up to {MAX_COUNTED_OF_TENANT:,}; never higher."}


_ENDED = {"description": "The jobs that ended in the last hour."}


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantLoad:
    tenant_id: str
    #: Queued jobs that do not wait for their trigger's date, and queued jobs that do.
    waiting: int = field(metadata=_COUNTED)
    scheduled: int = field(metadata=_COUNTED)
    running: int = field(metadata=_COUNTED)
    completed: int = field(metadata=_ENDED)
    failed: int = field(metadata=_ENDED)
    cancelled: int = field(metadata=_ENDED)
    share: float | None = field(
        metadata=about("Its share of the run time of all jobs that ended in the last hour, 0 to 1.")
    )

    @property
    def id(self) -> str:
        return self.tenant_id

    @property
    def has_jobs(self) -> bool:
        """Return True if it has jobs that wait, run, or ended in the last hour."""
        return self.waiting + self.scheduled + self.running + self.completed + self.failed + self.cancelled > 0


@dataclass(frozen=True, kw_only=True)
class Promotion:
    timeline: int = field(
        metadata={
            "description": "The PostgreSQL timeline that began with the promotion.",
            "minimum": 1,
            "maximum": 2**31,
        }
    )
    seen_at: datetime = field(metadata=about("When the active dispatcher detected the promotion."))
    running: int = field(
        metadata=about(
            "The number of runs in progress at the promotion. Their processes ask the new primary "
            "whether they still own them."
        )
    )
    is_lossy: bool = field(
        metadata={
            "description": "True if committed transactions are known to be lost. False: no loss was detected.",
            "name": "lossy",
        }
    )
