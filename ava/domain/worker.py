"""The worker: a definition that can be run. Nodes run its handler, or programs claim its runs over HTTP (pull)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from ava.domain.jobs.retry import MAX_RETRIES, Retry
from ava.domain.jobs.trigger_options import MAX_EXPIRY_SECONDS
from ava.domain.limits.rates import Rate
from ava.domain.pause import Pause

#: Bounds of a retention in days: about 90 seconds and 100 years. The worker's retention takes precedence over the
#: tenant's, and that over the installation's.
MIN_RETENTION_DAYS = 0.001
MAX_RETENTION_DAYS = 36_500
#: The runtime of pull workers, and the queue name that clients see. No node consumes it.
PULL_RUNTIME = "pull"
PULL_QUEUE = "pull"
#: A worker is live for this long after a claim.
PULL_LIVE_SECONDS = 45
#: Heartbeat timeout of a run; then it is rescued.
PULLED_SILENT_SECONDS = 15.0
PULL_PROTOCOLS = ("1",)

#: Handlers cannot name such a queue: their queue names have no colon.
_PREFIX = f"{PULL_QUEUE}:"


@dataclass(frozen=True, kw_only=True, slots=True)
class PullQueue:
    """The queue of one worker's jobs of one tenant: the feed offers them to claims.

    Each tenant of a platform worker has its own queue, so that unclaimed jobs of one tenant do not block the others.
    """

    #: `*` is the platform.
    owner: str
    worker_id: str
    tenant_id: str

    @property
    def name(self) -> str:
        return f"{_PREFIX}{self.owner}:{self.worker_id}:{self.tenant_id}"

    @classmethod
    def parse(cls, name: str) -> PullQueue:
        """Parse a queue's name. Raise `ValueError` if it is not a pull queue's."""
        _, owner, worker_id, tenant_id = name.split(":")
        return cls(owner=owner, worker_id=worker_id, tenant_id=tenant_id)


def is_pulled(queue: str) -> bool:
    """Return True if jobs of the queue are claimed over HTTP and have no messages in the broker."""
    return queue.startswith(_PREFIX)


def shown_queue(queue: str) -> str:
    return queue.partition(":")[0]


class Scope(StrEnum):
    """The owner of a worker, of settings or of runs."""

    TENANT = "tenant"
    PLATFORM = "platform"


class WorkerStatus(StrEnum):
    """Jobs of a `paused` worker wait; a `deprecated` one takes no new jobs."""

    ACTIVE = "active"
    PAUSED = "paused"
    DEPRECATED = "deprecated"


class OnWorkerLost(StrEnum):
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
    #: Five fields, as in crontab(5).
    cron: str
    timezone: str
    tenant_id: str


def _about(description: str, **facts: Any) -> dict[str, Any]:
    return {"description": description, **facts}


_EXPIRES = (
    "Time in seconds until its unstarted jobs are cancelled, as the handler declares; a trigger or schedule can "
    "override it. Null: never."
)
_MCP = (
    "Its use as an MCP tool, as the handler declares: `answer` (a call waits for the end), `task` (a call returns a "
    "task) or `off`; null: set by AVA_MCP_WORKERS."
)
_MEMORY = (
    "MiB of memory above which a run is stopped and fails as `MemoryExceeded`, as the handler declares; null: the "
    "limit of its node (`AVA_MAX_MEMORY_MB`)."
)
_LIVE = (
    "True if a live node has its handler and consumes its queue, or its runs were claimed in the last "
    f"{PULL_LIVE_SECONDS} s."
)
_MAX_RUNNING = _about("Max number of its running jobs; null: no limit.", minimum=0, maximum=1_000_000)
_DECLARED = "The value that the handler declares."
_SCOPE = _about("The owner of the worker: the tenant or the platform.")
_OWN_CONFIG = _about("The tenant's own configuration.", payload="value")
_OWN_SECRETS = _about("The names of the tenant's own secrets.")
_OWN_APPROVAL = _about("The tenant's own approval before the first start of a job.", payload="value")


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    max_running: int | None = field(default=None, metadata=_MAX_RUNNING)
    #: A path is such as `input.account.id`.
    max_running_per: str | None = field(
        default=None,
        metadata=_about("The scope of `max_running`: `tenant`, a path in the input, or null: the whole worker."),
    )
    rate: Rate | None = field(default=None, metadata=_about("Max starts per period; null: no limit."))
    rate_per: str | None = field(default=None, metadata=_about("The scope of `rate`, like `max_running_per`."))


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    id: str
    name: str
    description: str
    timeout_seconds: float
    max_retries: int
    cancel_grace_seconds: float
    queue: str
    #: None: all.
    tenants: tuple[str, ...] | None
    on_worker_lost: OnWorkerLost
    #: None: it only runs when triggered.
    schedule: DeclaredSchedule | None = None
    #: Whether the standard output and error of its subprocesses go to the job's log.
    captures_subprocesses: bool = False
    #: Whether one statement may write the ends of several of its runs.
    shares_ends: bool = True
    limits: WorkerLimits = WorkerLimits()
    #: Serialized; None: any object is accepted.
    input_schema_json: str | None = None
    #: Retention of its final jobs in days; None: the setting of the tenant or the installation.
    retention_days: float | None = None
    #: Seconds until an unstarted job expires, unless its trigger or schedule sets them; None: never.
    expires_in_seconds: int | None = None
    #: Seconds until a job fails unless it is final, waits included; None: never.
    deadline_seconds: int | None = None
    #: Its use as an MCP tool; None: the installation's setting.
    mcp: McpUse | None = None
    #: None: the node's limit.
    max_memory_mb: int | None = None
    #: Whether a run may share its process and event loop with other runs.
    is_concurrent: bool = False
    #: The approval that its jobs need before their first start (`approval_rule`), as JSON.
    approval_json: str | None = None

    @property
    def input_schema_version(self) -> str | None:
        return _version(self.input_schema_json)


@dataclass(frozen=True, kw_only=True)
class PullWorkerSpec:
    """A pull worker (its runs are claimed over HTTP) as a client creates it; fields as in `WorkerSpec`."""

    id: str
    name: str
    timeout_seconds: float = field(default=300, metadata=_about("Max duration of one run in seconds.", maximum=3600))
    max_retries: int = 0
    #: None: the defaults. Its `max` is `max_retries`.
    retry: Retry | None = None
    max_running: int | None = field(default=None, metadata=_MAX_RUNNING)
    rate: Rate | None = None
    input_schema_json: str | None = None
    expires_in_seconds: int | None = field(
        default=None,
        metadata=_about(
            "Time in seconds until its unstarted jobs expire; null: never.", minimum=1, maximum=MAX_EXPIRY_SECONDS
        ),
    )
    deadline_seconds: int | None = None

    @property
    def input_schema_version(self) -> str | None:
        return _version(self.input_schema_json)


def _version(input_schema_json: str | None) -> str | None:
    return None if input_schema_json is None else hashlib.sha256(input_schema_json.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Worker(WorkerLimits):
    """A worker as clients see it."""

    id: str = field(metadata={"prefixes": ("wkr",)})
    name: str
    description: str
    runtime: str = field(metadata=_about("`python`: nodes run its handler. `pull`: its runs are claimed over HTTP."))
    status: WorkerStatus
    timeout_seconds: float
    max_retries: int = field(metadata={"maximum": MAX_RETRIES})
    queue: str
    created_at: datetime
    updated_at: datetime
    is_live: bool = field(metadata=_about(_LIVE, name="live"))
    #: Whether it belongs to the tenant, not the platform.
    is_own: bool = False
    #: The pause that the tenant's jobs of it wait for, the platform's first.
    paused: Pause | None = None
    #: The handler's declarations, which bound `timeout_seconds` and `max_retries`.
    handler_timeout_seconds: float = field(metadata=_about(_DECLARED))
    handler_max_retries: int = field(metadata=_about(_DECLARED, maximum=MAX_RETRIES))
    #: Retry delays from the settings, or of a pull worker from its creation.
    retry: Retry | None = field(
        default=None, metadata=_about("The retry settings, if they were set; null: as its handler declares.")
    )
    retention_days: float | None = field(
        default=None,
        metadata=_about(
            "Retention of its ended jobs in days, as the handler declares; null: the tenant's, or the installation's."
        ),
    )
    expires_in_seconds: int | None = field(
        default=None, metadata=_about(_EXPIRES, minimum=1, maximum=MAX_EXPIRY_SECONDS)
    )
    #: As in `WorkerSpec`.
    deadline_seconds: int | None = None
    mcp: McpUse | None = field(default=None, metadata=_about(_MCP))
    max_memory_mb: int | None = field(default=None, metadata=_about(_MEMORY, minimum=1, maximum=2**31))
    input_schema_json: str | None = field(
        default=None, metadata=_about("JSON Schema 2020-12; null: any object is accepted.")
    )
    handler_approval_json: str | None = field(
        default=None,
        metadata=_about("The approval that the handler declares; it precedes all others.", payload="value"),
    )
    #: None if there are none or they were not read.
    own: WorkerSettings | None = None
    #: The platform's settings, as above.
    platform: WorkerSettings | None = None

    @property
    def is_pulled(self) -> bool:
        return self.runtime == PULL_RUNTIME

    @property
    def scope(self) -> Annotated[Scope, _SCOPE]:
        return Scope.TENANT if self.is_own else Scope.PLATFORM

    @property
    def config(self) -> Annotated[dict[str, str], _OWN_CONFIG]:
        return {} if self.own is None else dict(self.own.config)

    @property
    def approval_json(self) -> Annotated[str | None, _OWN_APPROVAL]:
        """Return the tenant's own approval, which applies where the handler's and the platform's do not."""
        return None if self.own is None else self.own.approval_json

    @property
    def secrets(self) -> Annotated[list[str], _OWN_SECRETS]:
        return [] if self.own is None else self.own.secret_names


@dataclass(frozen=True, kw_only=True)
class WorkerTool:
    id: str
    name: str
    description: str
    status: WorkerStatus
    #: None: a task if the client supports tasks.
    mcp: McpUse | None
    input_schema_json: str | None


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The settings of a worker for one tenant, or by the platform for all. None: as the handler declares."""

    status: WorkerStatus | None = None
    #: The values of `env["KEY"]` by key.
    config: Mapping[str, str] = field(default_factory=dict, metadata={"payload": "value"})
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False, metadata={"name": "values", "internal": True})
    timeout_seconds: float | None = None
    max_retries: int | None = None
    #: Retry delays. Its `max` is `max_retries`.
    retry: Retry | None = None
    #: Limits that only the platform sets; the handler declares their scope.
    max_running: int | None = None
    rate: Rate | None = None
    #: As in `WorkerSpec`.
    approval_json: str | None = field(default=None, metadata={"payload": "value"})

    @property
    def secret_names(self) -> Annotated[list[str], {"name": "secrets"}]:
        return sorted(self.secrets)
