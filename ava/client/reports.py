"""What the API reports of the whole: the overview of a tenant, the nodes, the audit trail."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The tenant's jobs in total."""

    queued: int
    #: False: `queued` is a lower bound.
    queued_is_exact: bool
    #: Queued jobs that wait for the time that their trigger named.
    scheduled: int
    running: int
    #: `priority` and `queued` of each priority.
    by_priority: list[dict[str, int]]
    oldest_due_at: datetime | None = None
    #: How long the oldest due job has waited.
    backlog_age_seconds: float | None = None
    #: Percentiles of the newest jobs of the last hour: `start_p50_ms`, `start_p95_ms`, `run_p50_ms`, `run_p95_ms`.
    latency: dict[str, Any]
    #: How many jobs ended in each of the last 60 minutes, oldest first.
    minutes: list[dict[str, Any]]
    counted_until: datetime
    #: The newest failures: `id`, `worker_id`, `error`, `completed_at`.
    failures: list[dict[str, Any]]
    sampled_at: datetime


@dataclass(frozen=True, kw_only=True)
class Analytics:
    """What the jobs that ended in a period add up to."""

    period_days: int
    #: Midnight UTC.
    since: datetime
    #: `total`, `completed`, `failed`, `cancelled`, `expired` (some of the cancelled), `success_rate`,
    #: `avg_duration_ms`, `by_trigger`, `cpu_ms` and `wait_ms`.
    jobs: dict[str, Any]
    #: `total`, `completed`, `failed`, `expired`, `avg_duration_ms`, `cpu_ms` and `wait_ms` of each worker.
    by_worker: dict[str, dict[str, Any]]
    #: By hour or day, oldest first; None unless it was asked for.
    series: list[dict[str, Any]] | None = None
    #: `wait` and `run`, each with `p50_ms`, `p95_ms` and `p99_ms`; None unless they were asked for.
    percentiles: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """A process that runs jobs, with its children."""

    id: str
    name: str
    #: None for the roles of a tenant.
    host: str | None = None
    pid: int | None = None
    version: str
    queues: list[str]
    #: Why it has refused messages of the broker in the last minute, as in `["unsigned"]`; empty if it has not.
    refused_messages: list[str] = field(default_factory=list)
    workers: list[str]
    #: How many jobs it can run at once.
    processes: int
    #: Whether these are slots of one process.
    has_slots: bool = False
    #: How many jobs it runs, of all tenants; for the roles of a tenant, its own.
    busy: int
    #: None for the roles of a tenant.
    memory_bytes: int | None = None
    #: `live`, `silent` or `stopped`.
    state: str
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None = None
    #: Since when it takes no more jobs, and who asked for it; None if it takes jobs.
    drained_at: datetime | None = None
    drained_by: str | None = None
    #: The jobs of the caller's tenant that it runs.
    jobs: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A standby of PostgreSQL that became the primary."""

    #: The server's timeline since then.
    timeline: int
    #: When the active dispatcher saw it.
    seen_at: datetime
    #: The runs that were under way; each was asked for again.
    running: int
    #: True if commits are known to be lost.
    lossy: bool


@dataclass(frozen=True, kw_only=True)
class TenantLoad:
    """The jobs of one tenant: what waits and runs, and what ended in the last hour."""

    tenant_id: str
    #: Queued jobs without those that wait for the time that their trigger named, and these; exact up to 1,000 together.
    waiting: int
    scheduled: int
    running: int
    completed: int
    failed: int
    cancelled: int
    #: Its part, from 0 to 1, of the time that all jobs which ended then have run; None if none has.
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class JobRuns:
    """The runs of a job, with how long it waited and ran in total."""

    #: Until its first start; None if it has not started.
    waited_ms: int | None = None
    #: The sum of the runs that have ended.
    ran_ms: int | None = None
    #: `started_at`, `ended_at`, `outcome`, `duration_ms`, `cpu_ms`, `peak_memory_mb` and `wait_ms` of each.
    runs: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """A request that changed something, or was refused."""

    id: str
    at: datetime
    tenant_id: str
    user_id: str
    role: str
    #: As in `jobs.cancel`.
    action: str
    #: The id of what was changed.
    target: str | None = None
    #: The status of the response.
    status: int
    address: str
    request_id: str
    #: How many refusals it stands for, if it is their sample.
    occurrences: int | None = None
    #: `{field: [old, new]}`.
    changes: dict[str, Any] | None = None
    #: The API key that was used, or had started the session; None if none was.
    key_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class TenantRules:
    """What operators have set for a tenant; None: as the installation says."""

    tenant_id: str
    #: How many of its jobs run at once; 0: none.
    max_running: int | None
    #: Its share of the turns, beside the weights of others, which are 1 by default.
    weight: float | None
    #: The smallest priority number of its jobs.
    most_urgent_priority: int | None
    updated_by: str | None
    updated_at: datetime | None
    #: Days that its final jobs are kept.
    retention_days: float | None = None
