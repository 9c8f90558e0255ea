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
    """What happens to a job whose process was lost."""

    REQUEUE = "requeue"
    FAIL = "fail"


class McpUse(StrEnum):
    """How a worker is a tool of MCP, if its handler says so: `ava.api.mcp` reads it."""

    #: A call waits for the job's end, also where the client knows tasks.
    ANSWER = "answer"
    #: A call always returns a task; a client that knows none is refused.
    TASK = "task"
    #: It is no tool.
    OFF = "off"


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
    #: The JSON Schema of the input as JSON text; None if any object is accepted.
    input_schema_json: str | None = None
    #: Days that its final jobs are kept; None: those of their tenants, or of the installation.
    retention_days: float | None = None
    #: Seconds after which its unstarted jobs expire, unless their trigger or schedule says otherwise; None: never.
    expires_in: int | None = None
    #: Seconds after which its jobs fail unless they are final, waits included; None: never.
    deadline_seconds: int | None = None
    #: How it is a tool of MCP; None: as the installation says.
    mcp: McpUse | None = None
    #: The most MiB of memory of a run; None: what its node allows.
    max_memory_mb: int | None = None
    #: Whether its runs may share a process and its event loop with others.
    is_concurrent: bool = False

    @property
    def input_schema_version(self) -> str | None:
        """Returns what changes with the schema; None without one."""
        return _version(self.input_schema_json)


@dataclass(frozen=True, kw_only=True)
class PullWorkerSpec:
    """A worker whose runs are claimed over HTTP, as a client makes it."""

    #: `wkr_` and the slug.
    id: str
    name: str
    timeout_seconds: float = 300
    max_retries: int = 0
    #: After which delays a failed attempt is repeated; None: the default ones. Its `max` is `max_retries`.
    retry: Retry | None = None
    #: How many of its jobs run at once, and start in a span of time; None: any number.
    max_running: int | None = None
    rate: Rate | None = None
    #: The JSON Schema of the input as JSON text; None if any object is accepted.
    input_schema_json: str | None = None
    #: Seconds after which its unstarted jobs expire, and after which its jobs fail; None if they do not.
    expires_in: int | None = None
    deadline_seconds: int | None = None

    @property
    def input_schema_version(self) -> str | None:
        """Returns what changes with the schema; None without one."""
        return _version(self.input_schema_json)


def _version(input_schema_json: str | None) -> str | None:
    return None if input_schema_json is None else hashlib.sha256(input_schema_json.encode()).hexdigest()[:32]


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
    #: Whether a live node has its handler and consumes its queue, or its runs were claimed lately.
    is_live: bool
    #: Whether it is the tenant's own; else it is the platform's.
    is_own: bool = False
    limits: WorkerLimits = WorkerLimits()
    #: Who set the status, and when; None if neither the tenant nor the platform has.
    status_by: str | None = None
    status_at: datetime | None = None
    #: The bounds of the two settings above, as its handler declares them.
    handler_timeout_seconds: float
    handler_max_retries: int
    #: Days that its final jobs are kept, as its handler declares; None: those of the tenant, or of the installation.
    retention_days: float | None = None
    #: Seconds after which its unstarted jobs expire, and after which its jobs fail, as its handler declares; None:
    #: never.
    expires_in: int | None = None
    deadline_seconds: int | None = None
    #: How it is a tool of MCP, as its handler declares; None: as the installation says.
    mcp: McpUse | None = None
    #: The most MiB of memory of a run, as its handler declares; None: what its node allows.
    max_memory_mb: int | None = None
    #: After which delays a failed attempt is repeated, as was set or, of one whose runs are pulled, made; None: as its
    #: handler declares.
    retry: Retry | None = None
    #: The JSON Schema of its jobs' input as JSON text; None if any object is accepted.
    input_schema_json: str | None = None
    #: The tenant's own settings; None if it has none, or if they were not read.
    own: WorkerSettings | None = None
    #: Those of the platform, likewise.
    platform: WorkerSettings | None = None

    @property
    def is_pulled(self) -> bool:
        """Returns True if its runs are claimed over HTTP."""
        return self.runtime == pull.RUNTIME

    @property
    def scope(self) -> str:
        """Returns whose worker it is, `tenant` or `platform`."""
        return "tenant" if self.is_own else "platform"

    @property
    def config(self) -> dict[str, str]:
        """Returns the tenant's own configuration."""
        return {} if self.own is None else dict(self.own.config)

    @property
    def secrets(self) -> list[str]:
        """Returns the names of the tenant's own secrets."""
        return [] if self.own is None else sorted(self.own.secrets)


@dataclass(frozen=True, kw_only=True)
class WorkerTool:
    """A worker as a tool of MCP."""

    id: str
    name: str
    description: str
    status: WorkerStatus
    #: How it is a tool, as its handler declares; None: as a task where the client knows tasks.
    mcp: McpUse | None
    #: The JSON Schema of its jobs' input as JSON text; None if any object is accepted.
    input_schema_json: str | None


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a tenant, or the platform for all tenants, has set of a worker. None means: as declared."""

    status: WorkerStatus | None = None
    status_by: str | None = None
    status_at: datetime | None = None
    #: What `env["KEY"]` returns, by key.
    config: Mapping[str, str] = field(default_factory=dict)
    #: The sealed secrets by name.
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float | None = None
    max_retries: int | None = None
    #: After which delays a failed attempt is repeated. Its `max` is `max_retries`.
    retry: Retry | None = None
    #: The limits of the worker, which the platform alone sets; what they are per is the handler's.
    max_running: int | None = None
    rate: Rate | None = None
