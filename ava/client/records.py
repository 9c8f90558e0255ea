"""The API's records as dataclasses. Fields that a newer server adds are ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

Record = TypeVar("Record")

FINAL = ("completed", "failed", "cancelled")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One execution of a worker with one input."""

    id: str
    worker_id: str
    tenant_id: str
    #: `queued`, `running`, `completed`, `failed` or `cancelled`.
    status: str
    #: `manual`, `scheduled`, `webhook` or `event`.
    trigger: str
    #: 1 (first) to 10 (last).
    priority: int
    #: None in a list that leaves it out because it is large (`input_bytes`).
    input: dict[str, Any] | None
    triggered_by: str
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: int | None = None
    #: What the handler returned.
    output: Any = None
    #: `Kind: reason`, if the job failed or the system cancelled it.
    error: str | None = None
    scheduled_at: datetime | None = None
    attempt: int = 0
    max_attempts: int = 1
    cancel_requested_at: datetime | None = None
    cancelled_by: str | None = None
    progress: dict[str, Any] | None = None
    retry_of: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    #: When it is cancelled unless it has started.
    expires_at: datetime | None = None
    #: The job whose handler made it, and the first of those that belong together.
    parent_id: str | None = None
    tree_id: str | None = None
    #: What a queued one waits for: `jobs`, `event` and `until`.
    waiting_for: dict[str, Any] | None = None
    #: When it fails unless it is final by then.
    deadline_at: datetime | None = None
    #: What its runs have used: `cpu_ms`, `peak_memory_mb` and `wait_ms`; None before it has started.
    usage: dict[str, Any] | None = None
    #: What a queued one waits for, such as `retry`; None once its turn may come.
    waits_for: str | None = None
    #: Whether its input, output and error are hidden, because the caller does not see payloads.
    payload_hidden: bool = False
    #: The bytes of an input or output that a list leaves out because it is large; the field is None then.
    input_bytes: int | None = None
    output_bytes: int | None = None

    @property
    def is_final(self) -> bool:
        """Returns True if the status cannot change any more."""
        return self.status in FINAL


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a job's log."""

    ts: datetime
    #: `info`, `warn` or `error`.
    level: str
    msg: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress that the handler reported."""

    #: 0 to 1.
    fraction: float
    message: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of a job; exactly one field is set."""

    line: LogLine | None = None
    progress: Progress | None = None
    #: The new status.
    status: str | None = None
    #: The final record; it is the last event.
    ended: Job | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerLimit:
    """A worker with a limit, and what the tenant uses of it."""

    worker_id: str
    max_running: int | None
    max_running_per: str | None
    rate: str | None
    rate_per: str | None
    running: int
    #: Jobs that wait for a place; exact up to 1,000.
    waiting: int
    waiting_is_exact: bool


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A definition that can be run."""

    id: str
    name: str
    description: str
    runtime: str
    #: `active`, `paused` (its jobs wait) or `deprecated` (it takes no new jobs).
    status: str
    timeout_seconds: float
    max_retries: int
    queue: str
    created_at: datetime
    updated_at: datetime
    #: Whether a live node serves its queue, or its runs were claimed in the last 45 s.
    live: bool
    #: Whose worker it is, `tenant` or `platform`.
    scope: str = "platform"
    #: Who set the status (`platform`: the platform, for all tenants), and when.
    status_by: str | None = None
    status_at: datetime | None = None
    #: What the handler declares; the bounds of the two settings above.
    handler_timeout_seconds: float | None = None
    handler_max_retries: int | None = None
    #: Days that its final jobs are kept, as its handler declares; None: those of the tenant, or of the installation.
    retention_days: float | None = None
    #: Seconds after which its jobs fail unless they are final, waits included; None: never.
    deadline_seconds: int | None = None
    #: Seconds after which its unstarted jobs are cancelled, as its handler declares; None: never.
    expires_in: int | None = None
    #: How it is a tool of MCP, as its handler declares: `answer`, `task` or `off`; None: as the installation says.
    mcp: str | None = None
    #: MiB of memory above which a run is stopped, as its handler declares; None: what its node allows.
    max_memory_mb: int | None = None
    #: After which delays a failed attempt is repeated, as was set; None: as its handler declares.
    retry: dict[str, Any] | None = None
    #: How many of its jobs run at once, and start in a span of time (`100/minute`); None: any number. `per`: for each
    #: `tenant` or value of a path in the input; None: in all.
    max_running: int | None = None
    max_running_per: str | None = None
    rate: str | None = None
    rate_per: str | None = None
    #: The JSON Schema of the input; None if any object is accepted. A list has none of these.
    input_schema: dict[str, Any] | None = None
    #: The tenant's own configuration, and the names of its secrets.
    config: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    #: The settings for all tenants, which hold where the tenant has none of its own.
    platform: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class QueueCount:
    """How many jobs of one worker are queued and running."""

    worker_id: str
    queued: int
    running: int
    high_priority: int


@dataclass(frozen=True, kw_only=True)
class PausedQueue:
    """A queue of which nothing starts until it is resumed."""

    queue: str
    #: The user who paused it; None for the roles of a tenant.
    paused_by: str | None = None
    paused_at: datetime


@dataclass(frozen=True, kw_only=True)
class Queues:
    """How many jobs are queued and running."""

    total_queued: int
    total_running: int
    #: Those that wait for other jobs, an event or a time.
    total_waiting: int = 0
    by_worker: list[QueueCount]
    sampled_at: datetime
    #: The queues of which nothing starts.
    paused_queues: list[PausedQueue] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit of the installation, and what the tenant uses of it."""

    name: str
    #: None: there is no limit.
    value: int | None
    #: What is counted, such as `bytes`.
    unit: str
    #: None: it is not counted.
    used: int | None
    #: False: `used` is a lower bound.
    used_is_exact: bool | None
    #: The variable of the environment that sets it; None: it is fixed.
    setting: str | None
    #: The HTTP status of a request beyond it; None: the response ends early instead.
    status: int | None
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a job has its status."""

    job_id: str
    status: str
    sentence: str
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A cron pattern in a time zone that makes jobs of a worker."""

    id: str
    worker_id: str
    tenant_id: str
    name: str | None
    #: Five fields, as in crontab(5).
    cron: str
    #: An IANA name, such as `Europe/Berlin`.
    timezone: str
    input: dict[str, Any]
    priority: int
    enabled: bool
    #: `allow`, `skip`, `queue_one` or `cancel_running`.
    overlap: str
    #: `last`, `none` or `all`.
    catch_up: str
    catch_up_seconds: int
    spread_seconds: int
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    #: None if it is disabled or has no more firings.
    next_run_at: datetime | None = None
    last_run_at: datetime | None = None
    last_job_id: str | None = None
    created_by: str
    created_at: datetime
    updated_at: datetime
    #: Seconds from its slot after which an unstarted job is cancelled; None: as its worker says.
    expires_in: int | None = None


@dataclass(frozen=True, kw_only=True)
class ScheduleSlot:
    """A firing to come."""

    #: The local time, without a zone.
    slot: datetime
    #: The instant.
    at: datetime
    #: `gap` if the local time does not exist, `overlap` if it exists twice.
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class SchedulePreview:
    """What a cron pattern in a time zone means."""

    #: The pattern in words.
    description: str
    next: list[ScheduleSlot]


@dataclass(frozen=True, kw_only=True)
class Firing:
    """A slot of a schedule that is past."""

    slot: datetime
    at: datetime
    #: `fired`, `skipped` or `missed`.
    outcome: str
    #: Why it was skipped or missed.
    reason: str | None = None
    job_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A token that stands for a tenant and a role."""

    id: str
    name: str
    role: str
    #: The 16 characters of the token that are no secret.
    prefix: str
    #: The user, or the key, that created it.
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    #: At most a minute behind.
    last_used_at: datetime | None = None
    #: Whether its holder sees payloads.
    payloads: bool = True
    #: Of the role `worker`: the workers whose runs it may claim.
    workers: Sequence[str] | None = None
    #: The token itself; None but in the answer that creates the key.
    token: str | None = None


@dataclass(frozen=True, kw_only=True)
class ErrorGroup:
    """Failed jobs of one worker whose errors differ in numbers, ids and addresses only."""

    id: str
    worker_id: str
    #: The type of the exception.
    kind: str
    #: The message; `*` stands for numbers, ids and addresses.
    message: str
    #: The jobs that failed in the period.
    count: int
    first_seen_at: datetime
    last_seen_at: datetime
    #: `open`, `ignored` or `resolved`.
    status: str
    #: The last of its jobs.
    sample_job_id: str
    #: `day` and `jobs` of the days on which jobs failed.
    daily: list[dict[str, Any]]


def read(kind: type[Record], data: Mapping[str, Any]) -> Record:
    """Returns the record that a response's JSON holds."""
    known = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: _value(known[name], value) for name, value in data.items() if name in known})


def _value(kind: str, value: Any) -> Any:
    if kind.startswith("datetime") and value is not None:
        return datetime.fromisoformat(value)
    if kind == "list[QueueCount]":
        return [read(QueueCount, count) for count in value]
    if kind == "list[PausedQueue]":
        return [read(PausedQueue, queue) for queue in value]
    if kind == "list[ScheduleSlot]":
        return [read(ScheduleSlot, slot) for slot in value]
    return value
