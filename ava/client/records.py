"""The API's records. Written by `make records` from the schemas of the API.

A record may lack a field that has a default. One generated file, because nobody edits it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ava.client.reading import JobProperties, OpenEnum, OperationProperties, TreeProperties


class JobStatus(OpenEnum):
    """The values of a field; a newer server may return others."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobTrigger(OpenEnum):
    """The values of a field; a newer server may return others."""

    MANUAL = "manual"
    SCHEDULED = "scheduled"
    WEBHOOK = "webhook"
    EVENT = "event"


class JobWaitsFor(OpenEnum):
    """The values of a field; a newer server may return others."""

    SCHEDULE = "schedule"
    RETRY = "retry"
    DEFERRED = "deferred"
    DEBOUNCE = "debounce"
    CHILDREN = "children"
    JOBS = "jobs"
    EVENT = "event"
    APPROVAL = "approval"
    SLEEP = "sleep"
    PERMIT = "permit"
    NODE = "node"
    WORKER = "worker"
    QUEUE = "queue"
    CONTAINED = "contained"
    UNKNOWN = "unknown"


class LogLineLevel(OpenEnum):
    """The values of a field; a newer server may return others."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class OperationKind(OpenEnum):
    """The values of a field; a newer server may return others."""

    RETRY = "retry"
    CANCEL = "cancel"
    LIFT = "lift"


class OperationState(OpenEnum):
    """The values of a field; a newer server may return others."""

    RUNNING = "running"
    DONE = "done"
    ABORTED = "aborted"


class WorkerStatus(OpenEnum):
    """The values of a field; a newer server may return others."""

    ACTIVE = "active"
    PAUSED = "paused"
    DEPRECATED = "deprecated"


class WorkerScope(OpenEnum):
    """The values of a field; a newer server may return others."""

    TENANT = "tenant"
    PLATFORM = "platform"


class WorkerMcp(OpenEnum):
    """The values of a field; a newer server may return others."""

    ANSWER = "answer"
    TASK = "task"
    OFF = "off"


class ActorKind(OpenEnum):
    """The values of a field; a newer server may return others."""

    USER = "user"
    KEY = "key"
    JOB = "job"
    SYSTEM = "system"


class ActorVia(OpenEnum):
    """The values of a field; a newer server may return others."""

    HEADERS = "headers"
    OIDC = "oidc"
    KEY = "key"
    HANDLER = "handler"


class ScheduleOverlap(OpenEnum):
    """The values of a field; a newer server may return others."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    CANCEL_RUNNING = "cancel_running"


class ScheduleCatchUp(OpenEnum):
    """The values of a field; a newer server may return others."""

    LAST = "last"
    NONE = "none"
    ALL = "all"


class ScheduleSlotNote(OpenEnum):
    """The values of a field; a newer server may return others."""

    GAP = "gap"
    OVERLAP = "overlap"


class FiringOutcome(OpenEnum):
    """The values of a field; a newer server may return others."""

    FIRED = "fired"
    SKIPPED = "skipped"
    MISSED = "missed"


class ApiKeyRole(OpenEnum):
    """The values of a field; a newer server may return others."""

    WORKER = "worker"
    TENANT_USER = "tenant-user"
    TENANT_ADMIN = "tenant-admin"
    TENANT_SYSTEM_ADMIN = "tenant-system-admin"
    PLATFORM_ADMIN = "platform-admin"
    PLATFORM_SYSTEM_ADMIN = "platform-system-admin"


class ErrorGroupStatus(OpenEnum):
    """The values of a field; a newer server may return others."""

    OPEN = "open"
    IGNORED = "ignored"
    RESOLVED = "resolved"


class HookProvider(OpenEnum):
    """The values of a field; a newer server may return others."""

    GITHUB = "github"
    STRIPE = "stripe"
    SLACK = "slack"
    STANDARD = "standard"
    SHOPIFY = "shopify"
    CUSTOM = "custom"
    NONE = "none"


class HookDedupe(OpenEnum):
    """The values of a field; a newer server may return others."""

    ID = "id"
    BODY = "body"
    BOTH = "both"
    NONE = "none"


class WebhookStatus(OpenEnum):
    """The values of a field; a newer server may return others."""

    ACTIVE = "active"
    DEGRADED = "degraded"


class NoticeChannel(OpenEnum):
    """The values of a field; a newer server may return others."""

    SLACK = "slack"
    TEAMS = "teams"
    EMAIL = "email"
    WEBHOOK = "webhook"


class DeliveryDirection(OpenEnum):
    """The values of a field; a newer server may return others."""

    IN = "in"
    OUT = "out"


class DeliveryStatus(OpenEnum):
    """The values of a field; a newer server may return others."""

    PENDING = "pending"
    DELIVERED = "delivered"
    ABANDONED = "abandoned"
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    SKIPPED = "skipped"


class NodeState(OpenEnum):
    """The values of a field; a newer server may return others."""

    LIVE = "live"
    SILENT = "silent"
    STOPPED = "stopped"


class ApprovalStatus(OpenEnum):
    """The values of a field; a newer server may return others."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class JournalEntryKind(OpenEnum):
    """The values of a field; a newer server may return others."""

    STEP = "step"
    CHILD = "child"
    SLEEP = "sleep"
    WAIT = "wait"
    EVENT = "event"
    APPROVAL = "approval"


class JournalEntryState(OpenEnum):
    """The values of a field; a newer server may return others."""

    BEGAN = "began"
    DONE = "done"
    WAITS = "waits"
    TIMED_OUT = "timed_out"


class JobWaitCondition(OpenEnum):
    """The values of a field; a newer server may return others."""

    COMPLETED = "completed"
    ENDED = "ended"
    FAILED = "failed"
    ANY = "any"
    EVENT = "event"
    APPROVAL = "approval"
    TIME = "time"


class ContainmentState(OpenEnum):
    """The values of a field; a newer server may return others."""

    ACTIVE = "active"
    LIFTED = "lifted"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Job(JobProperties):
    """A job: one execution of a worker with one input."""

    id: str
    worker_id: str
    tenant_id: str
    status: JobStatus  # `queued`, `running`, `completed`, `failed`, `cancelled`.
    trigger: JobTrigger  # `manual`, `scheduled`, `webhook`, `event`.
    priority: int  # 1 to 10.
    #: The payload; None if it is too large for the list, or the caller has no payload permission.
    input: dict[str, Any] | None = None
    triggered_by: str  # The user or API key that triggered the job, or the schedule that created it.
    created_at: datetime
    #: Start of the current or last run; if the job has waited, of the first run of its last attempt.
    started_at: datetime | None = None
    completed_at: datetime | None = None  # When it ended.
    duration_ms: int | None = None  # Total duration in milliseconds of the runs of its last attempt, without waits.
    output: Any = None  # The return value of its handler.
    #: `Kind: reason` in one line, if the job failed or the system cancelled it (`Expired`, `Replaced`,
    #: `OverlapCancelled`); None if a caller cancelled it.
    error: str | None = None
    scheduled_at: datetime | None = None
    attempt: int  # The number of the current or last attempt; 0 before the first.
    max_attempts: int  # 1 to 26.
    cancel_requested_at: datetime | None = None
    #: The user or API key that cancelled the job, the schedule with `cancel_running`, or the job that replaced it
    #: (`dedupe`).
    cancelled_by: str | None = None
    progress: dict[str, Any] | None = None  # The last progress that its handler reported: fraction and message.
    retry_of: str | None = None  # The original of this retry.
    tags: dict[str, str]  # The tags that its caller set.
    expires_at: datetime | None = None  # When it is cancelled if it has not started; None: never.
    parent_id: str | None = None  # The job that created it from its handler.
    tree_id: str | None = None  # The root of its tree; None for a job without a tree.
    #: The wait of a queued job: `jobs` (the first 100 ids), `event` (its `type` and `match`; of several events the
    #: first), `approval` (its id; of several the first), and `until`, the timeout.
    waiting_for: dict[str, Any] | None = None
    deadline_at: datetime | None = None  # When it fails if it has not ended; None: never.
    #: Resource usage of its runs; None before the first start: `cpu_ms`, `peak_memory_mb`, `wait_ms`.
    usage: dict[str, Any] | None = None
    #: The reason that a queued job may not start yet, apart from the jobs ahead of it; None for other jobs.
    waits_for: JobWaitsFor | None = None
    #: The identity that caused its creation: its caller, the creator of its schedule or hook, or the sender of its
    #: event.
    origin: Actor
    payload_hidden: bool = False  # True if the caller may not see payloads: they are None or replaced.
    input_bytes: int | None = None  # Size in bytes of an omitted input.
    output_bytes: int | None = None  # Size in bytes of an omitted output.


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a job's log."""

    ts: datetime  # Always with milliseconds.
    level: LogLineLevel  # `info`, `warn`, `error`.
    msg: str


@dataclass(frozen=True, kw_only=True)
class Operation(OperationProperties):
    """An operation on all jobs that a filter finds."""

    id: str
    kind: OperationKind  # `retry`, `cancel`, `lift`.
    filter: dict[str, Any]  # The filter, as it was sent.
    state: OperationState  # `aborted`: it handles no further jobs; jobs that it has handled stay changed.
    total: int  # The number of matching jobs at the start of the operation, as far as they are counted.
    done: int  # Retried, cancelled or released jobs.
    failed: int  # Jobs that could not be retried; `reason` explains why.
    created_by: str  # The user or API key that created it.
    created_at: datetime
    completed_at: datetime | None = None
    #: For a cancel: `cancelled` counts the queued jobs, `signalled` the running jobs that were requested to stop.
    result: dict[str, Any] | None = None
    reason: str | None = None  # Why jobs failed, or why the operation is waiting; otherwise None.


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker: a definition of jobs, with the settings that apply to the tenant."""

    id: str
    name: str
    description: str
    runtime: str  # `python`: nodes run its handler.
    status: WorkerStatus  # `active`, `paused`, `deprecated`.
    timeout_seconds: float
    max_retries: int  # 0 to 25.
    queue: str
    created_at: datetime
    updated_at: datetime
    live: bool  # True if a live node has its handler and consumes its queue, or its runs were claimed in the last 45 s.
    scope: WorkerScope  # The owner of the worker: the tenant or the platform.
    paused: Pause | None = None  # Its pause; None: it is not paused.
    handler_timeout_seconds: float  # The value that the handler declares.
    handler_max_retries: int  # The value that the handler declares.
    retry: dict[str, Any] | None = None  # The retry settings, if they were set; None: as its handler declares.
    #: Retention of its ended jobs in days, as the handler declares; None: the tenant's, or the installation's.
    retention_days: float | None = None
    #: Time in seconds until its unstarted jobs are cancelled, as the handler declares; a trigger or schedule can
    #: override it.
    expires_in_seconds: int | None = None
    #: Seconds from its creation or `scheduled_at` until an unfinished job fails, waits included, as the handler
    #: declares; None: never.
    deadline_seconds: int | None = None
    #: Its use as an MCP tool, as the handler declares: `answer` (a call waits for the end), `task` (a call returns a
    #: task) or `off`; None: set by AVA_MCP_WORKERS.
    mcp: WorkerMcp | None = None
    #: MiB of memory above which a run is stopped and fails as `MemoryExceeded`, as the handler declares; None: the
    #: limit of its node (`AVA_MAX_MEMORY_MB`).
    max_memory_mb: int | None = None
    max_running: int | None = None  # Max number of its running jobs; None: no limit.
    #: The scope of `max_running`: `tenant`, a path in the input, or None: the whole worker.
    max_running_per: str | None = None
    rate: str | None = None  # Max starts per period; None: no limit.
    rate_per: str | None = None  # The scope of `rate`, like `max_running_per`.
    input_schema: dict[str, Any] | None = None  # JSON Schema 2020-12; None: any object is accepted.
    config: dict[str, Any] | None = None  # The tenant's own configuration.
    secrets: list[str] = field(default_factory=list)  # The names of the tenant's own secrets.
    approval: dict[str, Any] | None = None  # The tenant's own approval before the first start of a job.
    handler_approval: dict[str, Any] | None = None  # The approval that the handler declares; it precedes all others.
    #: The settings of all tenants; a tenant's settings override them: `status`, `config`, `secrets` (their names),
    #: `timeout_seconds`, `max_retries`, `retry`, `max_running`, `rate`, `approval`.
    platform: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerLimit:
    """A worker with a limit, and the tenant's use of it."""

    worker_id: str
    max_running: int | None = None  # Max number of running jobs; None: no limit.
    max_running_per: str | None = None  # `tenant`, a path in the input, or None: the whole worker.
    rate: str | None = None  # Max starts per period, such as `100/minute`.
    rate_per: str | None = None
    running: int  # The tenant's running jobs of the worker.
    waiting: int  # Jobs waiting for a permit, among the first 1,000 queued jobs of the worker.
    waiting_is_exact: bool  # False: `waiting` is a lower bound.


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who did something."""

    id: str | None = None  # The user (`usr_…`), API key (`key_…`) or job (`job_…`); None for the system.
    kind: ActorKind  # `user`, `key`, `job`, `system`.
    via: ActorVia | None = None  # How it proved its identity; None for the system.
    label: str | None = None  # With an API key: the user that the request named, if any.


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Who paused something, when and why."""

    by: Actor | None = None  # Who paused it; None for the roles of a tenant if an operator did.
    at: datetime
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class QueueCount:
    """The numbers of waiting and running jobs of one worker."""

    worker_id: str
    queued: int
    running: int
    high_priority: int  # Queued jobs of priority 1 to 3.


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue, and the tenant's own jobs of the workers that use it."""

    queue: str
    queued: int
    running: int
    waiting: int  # Jobs that wait for other jobs, an event or a time; not among the queued jobs.
    paused: Pause | None = None  # Its pause; None: it is not paused.
    oldest_seconds: float | None = None  # The waiting time of the oldest startable job; None if none could start.


@dataclass(frozen=True, kw_only=True)
class Queues:
    """The numbers of waiting and running jobs, and the queues."""

    total_queued: int
    total_running: int
    total_waiting: int  # Jobs that wait for other jobs, an event or a time.
    by_worker: list[QueueCount]
    sampled_at: datetime
    queues: list[Queue]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit of this installation, and the tenant's use of it."""

    name: str  # The name in errors, such as `bulk_jobs`.
    value: int | None = None  # None: there is no limit.
    unit: str  # The counted unit, such as `bytes`.
    used: int | None = None  # The tenant's usage; None: not counted.
    used_is_exact: bool | None = None  # False: `used` is a lower bound.
    setting: str | None = None  # The environment variable that sets the limit; None: it is fixed.
    #: The HTTP status when a request exceeds the limit; None: the response ends early instead.
    status: int | None = None
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a job is in its state."""

    job_id: str
    status: JobStatus  # `queued`, `running`, `completed`, `failed`, `cancelled`.
    sentence: str
    #: `queue`, `worker_active`, `processes`, `busy`, `queue_refused`, `ahead`, `estimate_seconds`, `run_at`, `attempt`,
    #: `max_attempts`, `node`, `started_at`, `cancel_requested_at`.
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule: a worker, and the cron pattern or the interval that starts it."""

    id: str
    worker_id: str  # ID of the worker to run.
    tenant_id: str
    name: str | None = None  # A display name.
    #: Five fields as in crontab(5): minute, hour, day of month, month, day of week; with names, `L` and `#`.
    cron: str | None = None
    timezone: str | None = None  # The IANA name of the schedule's time zone, such as Europe/Berlin.
    input: dict[str, Any] | None = None  # The input of its jobs.
    priority: int  # The priority of the created jobs, 1 (highest) to 10 (lowest).
    enabled: bool
    #: The effect of a firing while the last job of this schedule is not final: `allow` creates a job, `skip` creates
    #: none, `queue_one` creates a job that starts when the last job is final (unless one is already waiting),
    #: `cancel_running` cancels the last job first.
    overlap: ScheduleOverlap
    #: How to catch up firings that were missed because nothing could fire for more than a minute: `last` creates one
    #: job for the newest, `none` creates none, `all` creates one job for each, at most 100.
    catch_up: ScheduleCatchUp
    catch_up_seconds: int  # Missed firings older than this are not caught up.
    spread_seconds: int  # Max delay of its firings in seconds.
    starts_at: datetime | None = None  # The schedule does not fire before this time.
    ends_at: datetime | None = None  # The schedule does not fire from this time on.
    next_run_at: datetime | None = None  # The next firing, including the delay; None if it is paused or has ended.
    last_run_at: datetime | None = None  # When it last created a job.
    last_job_id: str | None = None  # The last job that it created.
    created_by: str  # The user or API key that created it.
    created_at: datetime
    updated_at: datetime  # When it was last changed or paused; a firing does not change it.
    paused: Pause | None = None  # Its pause; None: it is not paused.
    #: In place of `cron` and `timezone`: it fires at the multiples of this interval since the Unix epoch.
    every_seconds: int | None = None
    #: The decision of persons that each job needs before its first start, unless an approval of its worker applies.
    approval: dict[str, Any] | None = None
    expires_in_seconds: int | None = None  # Seconds from its slot until a job that has not started is cancelled.


@dataclass(frozen=True, kw_only=True)
class ScheduleSlot:
    """A local time of a pattern, and its instant."""

    slot: datetime  # The local time, without an offset.
    at: datetime
    #: `gap`: clocks go forward and skip this local time; `overlap`: clocks go back and this local time occurs twice.
    note: ScheduleSlotNote | None = None


@dataclass(frozen=True, kw_only=True)
class SchedulePreview:
    """A pattern in words, and its next slots."""

    description: str  # The cron pattern, or the interval, in words.
    next: list[ScheduleSlot]


@dataclass(frozen=True, kw_only=True)
class Firing:
    """A past slot, and its outcome."""

    slot: datetime  # The local time, without an offset.
    at: datetime
    outcome: FiringOutcome  # `fired`, `skipped`, `missed`.
    reason: str | None = None  # Why the firing was skipped or missed; None if it fired.
    job_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """An API key."""

    id: str
    name: str  # A display name.
    role: ApiKeyRole  # The permissions of the key, at most the role of the caller.
    prefix: str  # The 16 characters of the token after the dot.
    created_by: str  # The user or API key that created it.
    created_at: datetime
    expires_at: datetime | None = None  # When the key expires; None: never.
    last_used_at: datetime | None = None  # The time of the last use, at most a minute old.
    payloads: bool  # False: payloads are hidden from its holder: None or `(hidden)`, with `payload_hidden: true`.
    #: For the role `worker`: the workers that the key may claim runs of; None for other roles.
    workers: list[str] | None = None
    triggers: list[str]  # Claimed runs may create children of these workers; `*`: all.
    #: The token: `ava_`, two characters that name the installation, a dot, the 16 characters of `prefix`, and 43 secret
    #: characters.
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class ErrorGroup:
    """Failed jobs of one worker with errors of one kind that the same line of the handler raised."""

    id: str
    worker_id: str
    kind: str  # The type of the exception, such as ValueError; also Timeout and WorkerLost.
    message: str  # The first message, with `*` in place of numbers, ids and addresses.
    variants: list[str] | None = None  # The first 10 different messages, in the form of `message`.
    count: int  # The number of jobs that failed in the time range.
    first_seen_at: datetime
    last_seen_at: datetime
    status: ErrorGroupStatus  # `open`, `ignored`, `resolved`.
    sample_job_id: str  # The most recent job of the group.
    daily: list[dict[str, Any]]  # The days of the time range on which jobs failed: `day`, `jobs`.


@dataclass(frozen=True, kw_only=True)
class SentEvent:
    """A sent event, with the jobs that it created."""

    id: str
    job_ids: list[str]
    refused: list[dict[str, Any]]  # `subscription_id`, `reason`, `payload_hidden`.
    more_count: int  # The number of further jobs, created within the next 5 seconds.
    duplicate: bool  # True if an earlier event has the same source and id.


@dataclass(frozen=True, kw_only=True)
class ReceivedEvent:
    """An event, as patterns, templates and handlers see it, with the jobs that it created."""

    id: str
    source_id: str | None = None  # The sender's own id of the event.
    type: str  # The type of the event, such as `order.paid`.
    source: str  # The sender of the event, a URI reference.
    subject: str | None = None  # The subject of the event, such as the id of an order.
    time: datetime | None = None  # When it happened.
    data: Any = None  # Any JSON value.
    extensions: dict[str, Any] | None = None
    headers: dict[str, Any] | None = None  # The headers of the request that a hook received; otherwise None.
    created_at: datetime
    delivery_id: str | None = None  # The hook delivery that contained the event; otherwise None.
    job_ids: list[str]
    refused: list[dict[str, Any]]  # `subscription_id`, `reason`, `payload_hidden`.
    more_count: int  # The number of further jobs, created within the next 5 seconds.
    woken_job_ids: list[str]  # The waiting jobs (`env.wait_event`) that received the event, at most 100.


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A subscription: a rule that creates a worker's job for each matching event."""

    id: str
    tenant_id: str
    #: The exact type of the events, or a prefix with a final `.*` for one or more further parts:
    #: `github.pull_request.*`.
    event_type: str
    worker_id: str  # The worker.
    name: str | None = None  # A display name.
    #: A pattern over the whole event, as in Amazon EventBridge: lists of values, `prefix`, `suffix`, `anything-but`,
    #: `numeric`, `exists`, `cidr`, nested objects.
    match: dict[str, Any] | None = None
    #: A template of the job's input: `{"$get": "data.number", "default": 0}` anywhere in it is replaced by a value of
    #: the event.
    input: dict[str, Any] | None = None
    priority: int  # The priority of the created jobs, 1 (highest) to 10 (lowest).
    paused: Pause | None = None  # Its pause; None: it is not paused.
    created_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class TriedSubscription:
    """The job that a subscription would create for an event."""

    matches: bool
    reason: str | None = None  # The path that does not match and why, or why no input can be created.
    input: dict[str, Any] | None = None  # The input of the job; None if it does not match.


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A hook: a URL that receives a provider's webhooks."""

    id: str
    tenant_id: str
    name: str  # A name.
    provider: HookProvider  # The provider that sends the requests.
    verifier: dict[str, Any]  # How the requests are authenticated.
    secrets: int  # The number of valid secrets.
    worker_id: str | None = None  # Each delivery creates a job of this worker, and no event.
    event_type: str | None = None  # The type of the events.
    match: dict[str, Any] | None = None  # A pattern over the event, as in a subscription.
    input: dict[str, Any] | None = None  # A template of the job's input.
    priority: int  # The priority of the created jobs, 1 (highest) to 10 (lowest).
    dedupe: HookDedupe  # How to detect a duplicate delivery, which starts nothing.
    tolerance_seconds: int  # Max difference in seconds between the signed time and now, in either direction.
    paused: Pause | None = None  # Its pause; None: it is not paused.
    prefix: str  # The part of its token that is not secret.
    previous_token_until: datetime | None = None  # When the previous URL, before the last rotation, stops working.
    created_by: str
    created_at: datetime
    updated_at: datetime
    #: The URL of the hook, shown only in the response that creates or rotates it; otherwise None.
    url: str | None = field(default=None, repr=False)
    #: The generated secret, shown only in the response that creates it.
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class HookTest:
    """The response that the sender of a test would get."""

    status: int  # 200 to 599.
    reason: str | None = None  # Why the delivery was refused or skipped, or created no job.
    delivery_id: str | None = None
    duplicate: bool
    job_ids: list[str]


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A webhook: a URL that receives events."""

    id: str
    url: str
    events: list[str]
    status: WebhookStatus  # `degraded`: a delivery was abandoned and none has succeeded since; events are still sent.
    created_at: datetime
    updated_at: datetime
    paused: Pause | None = None  # Its pause; None: it is not paused.
    #: Until then, requests are also signed with the previous secret; None: they are not.
    previous_secret_until: datetime | None = None
    roots_only: bool  # True if it receives no events of jobs that a handler created.


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A notice: messages about events to a channel."""

    id: str
    name: str
    channel: NoticeChannel  # `slack`, `teams`, `email`, `webhook`.
    target: str  # The host or the mail domains of the target, which is never shown.
    on: list[dict[str, Any]]  # The events that the notice is about.
    status: WebhookStatus  # `degraded`: a delivery was abandoned and none has succeeded since.
    paused: Pause | None = None  # Its pause; None: it is not paused.
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A delivery: a request that a hook received (`in`), or an event that a webhook sends (`out`)."""

    id: str
    direction: DeliveryDirection  # `in`, `out`.
    hook_id: str | None = None
    webhook_id: str | None = None
    notice_id: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    job_ids: list[str]  # In: the jobs that the delivery started.
    status: DeliveryStatus  # Out: `pending`, `delivered` or `abandoned`.
    reason: str | None = None  # In: why it was refused or skipped.
    created_at: datetime
    completed_at: datetime | None = None  # Out: when it was delivered or abandoned.
    next_attempt_at: datetime | None = None  # Out: when the next request is due, while pending.
    attempts: list[dict[str, Any]] | None = None  # Out: the last 50 requests, oldest first.
    source_id: str | None = None  # In: the sender's own id of the delivery.
    duplicate_of: str | None = None  # In: the first delivery, if this one is a duplicate.
    replay_of: str | None = None  # In: the original delivery, if this one is a replay.
    address: str | None = None  # In: the address of the sender.
    response_status: int | None = None  # The HTTP status of the response: in to the sender, out to the last request.
    headers: dict[str, Any] | None = None  # In: secrets are masked.
    body: str | None = None  # The body: a string, or base64 if it is not UTF-8.
    body_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The tenant's jobs in total."""

    queued: int
    queued_is_exact: bool  # False if `queued` is a lower bound.
    scheduled: int  # Queued jobs with a `scheduled_at` in the future.
    running: int
    by_priority: list[dict[str, Any]]  # `priority`, `queued`, `scheduled`.
    oldest_due_at: datetime | None = None
    backlog_age_seconds: float | None = None  # The waiting time of the oldest due job.
    latency: dict[str, Any]  # `sampled`, `start_p50_ms`, `start_p95_ms`, `run_p50_ms`, `run_p95_ms`.
    minutes: list[dict[str, Any]]  # The last 60 minutes, oldest first: `minute`, `completed`, `failed`, `cancelled`.
    counted_until: datetime  # The time until which ended jobs are counted in `minutes`.
    #: The 5 most recent failures, newest first: `id`, `worker_id`, `error`, `completed_at`, `payload_hidden`.
    failures: list[dict[str, Any]]
    sampled_at: datetime


@dataclass(frozen=True, kw_only=True)
class Analytics:
    """Statistics of the jobs that ended in a period."""

    period_days: int  # 1 to 90.
    since: datetime  # Midnight UTC.
    #: `total`, `completed`, `failed`, `cancelled`, `expired`, `success_rate`, `avg_duration_ms`, `by_trigger`,
    #: `cpu_ms`, `wait_ms`.
    jobs: dict[str, Any]
    #: `total`, `completed`, `failed`, `expired`, `avg_duration_ms`, `cpu_ms`, `wait_ms`.
    by_worker: dict[str, dict[str, Any]]
    #: Only with `group_by`: one entry for each hour or day, oldest first, without gaps: `starts_at`, `total`,
    #: `completed`, `failed`, `cancelled`, `expired`, `avg_duration_ms`, `cpu_ms`, `wait_ms`.
    series: list[dict[str, Any]] | None = None
    percentiles: dict[str, Any] | None = None  # Only with `percentiles=true`: `wait`, `run`.


@dataclass(frozen=True, kw_only=True)
class Series:
    """Series with one value for each step from `since` to `until`."""

    since: datetime  # The start of the first step: a multiple of the step in UTC.
    until: datetime  # The end of the last step.
    step_seconds: int  # 60 to 86400.
    counted_until: datetime  # The time until which ended jobs are counted.
    ended: dict[str, Any]  # `completed`, `failed`, `cancelled`.
    start: dict[str, Any]  # From a job's due time to its start, on its first attempt: `p50_ms`, `p95_ms`, `p99_ms`.
    run: dict[str, Any]  # From a handler's start to its end: `p50_ms`, `p95_ms`, `p99_ms`.
    running: list[float | None]  # Running jobs: the highest sample of each step, one per minute; None: no sample.
    #: The concurrency limit of the worker or tenant; of all tenants together, the processes of live nodes.
    max_running: list[float | None]
    backlog: list[dict[str, Any]]  # The largest first: `queue`, `priority`, `jobs`.
    failures: list[dict[str, Any]]  # The most frequent first: `kind`, `jobs`.
    marks: list[dict[str, Any]]  # Oldest first: `type`, `name`, `starts_at`, `ends_at`.


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node: one Celery worker process with its children."""

    id: str
    name: str  # Celery's name; the id for the roles of a tenant.
    host: str | None = None  # None for the roles of a tenant.
    pid: int | None = None  # None for the roles of a tenant.
    version: str
    code_version: str | None = None  # The version of its handler modules, its `AVA_CODE_VERSION`; None: not set.
    queues: list[str]  # The queues that it consumes.
    refused_queues: list[str]  # The queues that the broker refuses to it; it retries them every few seconds.
    refused_messages: list[str]  # Why it has rejected messages of the broker in the last minute.
    workers: list[str]
    processes: int  # Max number of jobs that it can run.
    has_slots: bool  # True if these are slots of one process, for the jobs of concurrent workers.
    busy: int  # The number of running jobs of all tenants; for the roles of a tenant, only its own.
    memory_bytes: int | None = None  # None for the roles of a tenant.
    state: NodeState  # `live`, `silent`, `stopped`.
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None = None
    paused: Pause | None = None  # Its pause; None: it is not paused.
    #: The jobs of the caller's tenant that it is running: `id`, `worker_id`, `attempt`, `started_at`, `progress`.
    jobs: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class ApprovalDecision:
    """The decision of one person."""

    by: Actor  # Who decided.
    approved: bool
    comment: str | None = None
    data: Any = None  # The answer, as `schema` describes it.
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A decision of persons that a job waits for."""

    id: str
    job_id: str
    worker_id: str
    name: str | None = None  # Its name in the job's journal; None: before the first start.
    title: str
    payload: Any = None  # The content to decide about, any JSON value.
    #: `sha256:` and the SHA-256 in hex of `{title, payload, schema}` in the form of RFC 8785, before secrets were
    #: masked.
    payload_hash: str
    schema: dict[str, Any] | None = None
    roles: list[str]
    users: list[str] | None = None  # If given, only these users may decide, whatever their role.
    not_by: bool
    count: int
    decisions: list[ApprovalDecision]
    status: ApprovalStatus  # `pending`, `approved`, `denied`, `expired`, `cancelled`.
    requested_at: datetime
    expires_at: datetime
    decided_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A PostgreSQL standby that became the primary."""

    timeline: int  # The PostgreSQL timeline that began with the promotion.
    seen_at: datetime  # When the active dispatcher detected the promotion.
    running: int  # The number of runs in progress at the promotion.
    lossy: bool  # True if committed transactions are known to be lost.


@dataclass(frozen=True, kw_only=True)
class TenantLoad:
    """The jobs of one tenant."""

    tenant_id: str
    waiting: int  # Exact up to 1,000; never higher.
    scheduled: int  # Exact up to 1,000; never higher.
    running: int  # Exact up to 1,000; never higher.
    completed: int  # The jobs that ended in the last hour.
    failed: int  # The jobs that ended in the last hour.
    cancelled: int  # The jobs that ended in the last hour.
    share: float | None = None  # Its share of the run time of all jobs that ended in the last hour, 0 to 1.


@dataclass(frozen=True, kw_only=True)
class TenantRules:
    """The limits that operators have set for a tenant; None: the installation's default."""

    tenant_id: str
    max_running: int | None = None  # Max number of its running jobs; 0: none.
    weight: float | None = None  # Its weight in fair queueing (default 1), relative to the weights of other tenants.
    #: The smallest priority number that its jobs may have; a smaller number is raised to it.
    most_urgent_priority: int | None = None
    #: Retention of its ended jobs and their log lines, in days; a worker's own `retention_days` takes precedence.
    retention_days: float | None = None
    updated_by: str | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """A request for a change."""

    id: str
    at: datetime
    tenant_id: str
    actor: Actor  # Who sent the request.
    role: str
    action: str
    target: str | None = None
    status: int  # The HTTP status of the response.
    address: str  # The address of the peer, and in `for` the addresses of x-forwarded-for.
    request_id: str
    #: The number of refusals that the entry stands for, if it is a sample of similar refusals.
    occurrences: int | None = None
    changes: dict[str, Any] | None = None  # The changed fields, as `{field: [old, new]}`.


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One run of a job's handler."""

    attempt: int  # The attempt that the run belongs to.
    started_at: datetime
    ended_at: datetime | None = None  # None while the run lasts.
    #: `completed`, `failed`, `cancelled`, `lost`, `interrupted`, `deferred` (the handler deferred the job), or `waits`
    #: (the handler waited).
    outcome: str | None = None
    duration_ms: int | None = None
    cpu_ms: int | None = None  # CPU time; None during the run, and if it is not known.
    #: Peak memory in MiB, as measured by the node; None for a run that ended before the first measurement.
    peak_memory_mb: int | None = None
    wait_ms: int | None = None  # The time from when it could start to its start.


@dataclass(frozen=True, kw_only=True)
class TreeJob(Job):
    """A job of a tree: its record without input and output, and its position in the tree."""

    name: str | None = None  # Its name in its bulk, or among the children of its parent.
    is_detached: bool  # True if a cancel of its parent does not cancel it.
    #: Start of the first run of its attempt, also while the job waits; None before.
    first_run_at: datetime | None = None
    waits: list[dict[str, Any]]  # The latest 100 waits, oldest first: `began_at`, `ended_at`.


@dataclass(frozen=True, kw_only=True)
class TreeEdge:
    """An edge: job `to` runs after job `from` of its bulk, or is its child."""

    from_id: str = field(metadata={"name": "from"})
    to_id: str = field(metadata={"name": "to"})
    kind: str  # `completed`, `ended` or `failed`: the value of `when`; or `child`.


@dataclass(frozen=True, kw_only=True)
class Tree(TreeProperties):
    """The jobs of a tree, with their edges."""

    tree_id: str
    jobs: list[TreeJob]
    edges: list[TreeEdge]


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """A named step, child or wait of a handler."""

    kind: JournalEntryKind  # `step`, `child`, `sleep`, `wait`, `event`, `approval`.
    name: str
    #: `began`: a step that runs at most once; `done`; `waits`: a sleep, or a wait with a timeout; `timed_out`.
    state: JournalEntryState
    attempt: int  # The last attempt that used it.
    value: Any = None  # The return value of a step, or the state of an approval; None if it is large.
    value_bytes: int | None = None  # Size in bytes of a value over 16 KiB.
    #: The child; for `wait_any` the child that it returned: `id`, `worker_id`, `status`, `error`, `payload_hidden`.
    child: dict[str, Any] | None = None
    until: datetime | None = None  # The end of a sleep, or the timeout of a wait.
    written_at: datetime


@dataclass(frozen=True, kw_only=True)
class JobWait:
    """A wait of a job."""

    condition: JobWaitCondition  # `completed`, `ended`, `failed`, `any`, `event`, `approval`, `time`.
    jobs: list[str]  # The jobs that it waits for, at most 100.
    began_at: datetime
    ended_at: datetime | None = None  # When the handler was entered again after the wait; None before.


@dataclass(frozen=True, kw_only=True)
class ContainedRun:
    """A running job of the scope."""

    job_id: str
    node: str | None = None  # The node, or the name that a program gave itself when it claimed the run.
    since: datetime
    #: When the run is lost unless its node or its program sends another heartbeat.
    lease_ends_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Containment:
    """A containment: no job of its scope starts while it is active."""

    id: str
    scope: dict[str, Any]  # The contained jobs, as `scope` was sent.
    reason: str
    state: ContainmentState  # `active`, `lifted`, `ended`.
    effective_at: datetime | None = None  # From this time on no handler of the scope is entered; None: not yet reached.
    complete_at: datetime | None = None  # From this time on no run of the scope can write; None: not yet reached.
    by: Actor | None = None  # Who created it; None for the roles of a tenant if an operator did.
    held_count: int  # Jobs that it holds now, or held when it was lifted.
    stopped_count: int  # Running jobs that it has asked to stop.
    running: list[ContainedRun]  # Up to 100 running jobs of the scope, until it is complete.
    running_count: int  # The number of running jobs of the scope.
    lifted_at: datetime | None = None
    lifted_by: Actor | None = None  # Who lifted it; None before, and for the roles of a tenant if an operator did.


@dataclass(frozen=True, kw_only=True)
class RehearsedWorker:
    """The jobs of one tenant and worker."""

    tenant_id: str
    worker_id: str
    held_count: int
    running_count: int


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """The jobs that a containment would hold and stop now."""

    held_count: int  # Jobs to hold.
    running_count: int  # Running jobs to stop.
    by_worker: list[RehearsedWorker]  # The same by tenant and worker.


@dataclass(frozen=True, kw_only=True)
class Proofs:
    """The signed records of a containment, each a compact JWS."""

    complete: str | None = None  # Of the time when it became complete; None: it did not.
    lifted: str | None = None  # Of the time when it was lifted or ended; None: it is active.
