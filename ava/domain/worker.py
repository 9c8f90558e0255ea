"""The worker: a definition that can be run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ava.domain.jobs import pull
from ava.domain.jobs.retry import Retry
from ava.domain.limits.rates import Rate


class WorkerStatus(StrEnum):
    """Jobs of a `paused` worker wait; a `deprecated` one takes no new jobs."""

    ACTIVE = "active"
    PAUSED = "paused"
    DEPRECATED = "deprecated"


class OnWorkerLost(StrEnum):
    """The consequence of a lost process for its job."""

    REQUEUE = "requeue"
    FAIL = "fail"


class McpUse(StrEnum):
    """How a worker serves as an MCP tool, as its handler declares; `ava.api.mcp` reads it."""

    #: A call waits for the job's end, even if the client supports tasks.
    ANSWER = "answer"
    #: A call always returns a task; clients without task support are refused.
    TASK = "task"
    #: The worker is no tool.
    OFF = "off"


@dataclass(frozen=True)
class DeclaredSchedule:
    """A schedule as a handler declares it."""

    #: Five fields, as in crontab(5).
    cron: str
    #: An IANA name.
    timezone: str
    #: Its jobs belong to this tenant.
    tenant_id: str


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """A worker's concurrency limit and its rate limit."""

    max_running: int | None = None
    #: The scope of `max_running`: None for the whole worker, `tenant`, or a path in the input, `input.account.id`.
    max_running_per: str | None = None
    rate: Rate | None = None
    #: The scope of `rate`, as above.
    rate_per: str | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """A worker as its handler declares it."""

    #: `wkr_` + slug.
    id: str
    name: str
    description: str
    timeout_seconds: float
    max_retries: int
    cancel_grace_seconds: float
    #: The Celery queue of its jobs' messages.
    queue: str
    #: The tenants that may run it; None: all.
    tenants: tuple[str, ...] | None
    on_worker_lost: OnWorkerLost
    #: Its own schedule; None: it only runs when triggered.
    schedule: DeclaredSchedule | None = None
    #: Whether the standard output and error of its subprocesses go to the job's log.
    captures_subprocesses: bool = False
    limits: WorkerLimits = WorkerLimits()
    #: The JSON Schema of the input, serialized; None: any object is accepted.
    input_schema_json: str | None = None
    #: Retention of its final jobs in days; None: the setting of the tenant or the installation.
    retention_days: float | None = None
    #: Seconds until an unstarted job expires, unless its trigger or schedule sets them; None: never.
    expires_in: int | None = None
    #: Seconds until a job fails unless it is final, waits included; None: never.
    deadline_seconds: int | None = None
    #: Its use as an MCP tool; None: the installation's setting.
    mcp: McpUse | None = None
    #: Max memory of a run in MiB; None: the node's limit.
    max_memory_mb: int | None = None
    #: Whether a run may share its process and event loop with other runs.
    is_concurrent: bool = False

    @property
    def input_schema_version(self) -> str | None:
        """Return a hash of the schema; None without a schema."""
        return _version(self.input_schema_json)


@dataclass(frozen=True, kw_only=True)
class PullWorkerSpec:
    """A pull worker (its runs are claimed over HTTP) as a client creates it; fields as in `WorkerSpec`."""

    id: str
    name: str
    timeout_seconds: float = 300
    max_retries: int = 0
    #: Retry delays; None: the defaults. Its `max` is `max_retries`.
    retry: Retry | None = None
    #: The concurrency limit and the rate limit; None: unlimited.
    max_running: int | None = None
    rate: Rate | None = None
    input_schema_json: str | None = None
    expires_in: int | None = None
    deadline_seconds: int | None = None

    @property
    def input_schema_version(self) -> str | None:
        """Return a hash of the schema; None without a schema."""
        return _version(self.input_schema_json)


def _version(input_schema_json: str | None) -> str | None:
    return None if input_schema_json is None else hashlib.sha256(input_schema_json.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker as clients see it."""

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
    #: Whether a live node has its handler and consumes its queue, or a program claimed its runs recently.
    is_live: bool
    #: Whether it belongs to the tenant, not the platform.
    is_own: bool = False
    limits: WorkerLimits = WorkerLimits()
    #: Who set the status, and when; None: neither the tenant nor the platform did.
    status_by: str | None = None
    status_at: datetime | None = None
    #: The handler's declarations, which bound `timeout_seconds` and `max_retries`; the next fields are as in
    #: `WorkerSpec`.
    handler_timeout_seconds: float
    handler_max_retries: int
    retention_days: float | None = None
    expires_in: int | None = None
    deadline_seconds: int | None = None
    mcp: McpUse | None = None
    max_memory_mb: int | None = None
    #: Retry delays from the settings, or of a pull worker from its creation; None: the handler's.
    retry: Retry | None = None
    input_schema_json: str | None = None
    #: The tenant's settings; None if there are none or they were not read.
    own: WorkerSettings | None = None
    #: The platform's settings, as above.
    platform: WorkerSettings | None = None

    @property
    def is_pulled(self) -> bool:
        """Return True if its runs are claimed over HTTP."""
        return self.runtime == pull.RUNTIME

    @property
    def scope(self) -> str:
        """Return the owner: `tenant` or `platform`."""
        return "tenant" if self.is_own else "platform"

    @property
    def config(self) -> dict[str, str]:
        """Return the tenant's configuration."""
        return {} if self.own is None else dict(self.own.config)

    @property
    def secrets(self) -> list[str]:
        """Return the names of the tenant's secrets."""
        return [] if self.own is None else sorted(self.own.secrets)


@dataclass(frozen=True, kw_only=True)
class WorkerTool:
    """A worker as an MCP tool."""

    id: str
    name: str
    description: str
    status: WorkerStatus
    #: The handler's declaration; None: a task if the client supports tasks.
    mcp: McpUse | None
    input_schema_json: str | None


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The settings of a worker for one tenant, or by the platform for all. None: as the handler declares."""

    status: WorkerStatus | None = None
    status_by: str | None = None
    status_at: datetime | None = None
    #: The values of `env["KEY"]` by key.
    config: Mapping[str, str] = field(default_factory=dict)
    #: Sealed secrets by name.
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float | None = None
    max_retries: int | None = None
    #: Retry delays. Its `max` is `max_retries`.
    retry: Retry | None = None
    #: Limits that only the platform sets; the handler declares their scope.
    max_running: int | None = None
    rate: Rate | None = None
