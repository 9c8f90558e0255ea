"""The API's records. Written by `make records` from the schemas of the API.

A record may lack a field that has a default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ava.client.reading import JobStatus, OperationState, TreeStatus


@dataclass(frozen=True, kw_only=True)
class Job(JobStatus):
    """A job: one execution of a worker with one input."""

    id: str
    worker_id: str
    tenant_id: str
    status: str  # `queued`, `running`, `completed`, `failed`, `cancelled`.
    trigger: str  # `manual`, `scheduled`, `webhook`, `event`.
    priority: int  # 1 to 10.
    input: dict[str, Any] | None = None  # The payload; None if it was left out, or if its caller does not see payloads.
    triggered_by: str  # The user or API key that triggered it, or the schedule that made it.
    created_at: datetime
    #: When its current or last run started; of a job that has waited, the first run of its last attempt.
    started_at: datetime | None = None
    completed_at: datetime | None = None  # When it became final.
    duration_ms: int | None = None  # Milliseconds that the runs of its last attempt took, without its waits.
    output: Any = None  # What its handler returned.
    #: `Kind: reason` in one line, if the job failed or the system cancelled it (`Expired`, `Replaced`,
    #: `OverlapCancelled`); None of a job that a caller cancelled.
    error: str | None = None
    scheduled_at: datetime | None = None
    attempt: int  # The number of the current or last attempt; 0 before the first.
    max_attempts: int  # 1 to 26.
    cancel_requested_at: datetime | None = None
    #: The user or API key that cancelled it; the schedule whose next firing did (`cancel_running`); the job that
    #: replaced it (`dedupe`).
    cancelled_by: str | None = None
    progress: dict[str, Any] | None = None  # What its handler reported last: fraction and message.
    retry_of: str | None = None  # The job that this one repeats.
    tags: dict[str, str]  # What its caller has it found by.
    expires_at: datetime | None = None  # When it is cancelled unless it has started; None if it is not.
    parent_id: str | None = None  # The job whose handler made it.
    tree_id: str | None = None  # The first of all jobs that belong together; None of a job that belongs to nothing.
    #: What a queued job waits for: `jobs` (the first 100 ids), `event` (its `type` and `match`; of several the first),
    #: and `until` when at most.
    waiting_for: dict[str, Any] | None = None
    deadline_at: datetime | None = None  # When it fails unless it is final by then.
    #: What its runs have used; None of a job that has not started: `cpu_ms`, `peak_memory_mb`, `wait_ms`.
    usage: dict[str, Any] | None = None
    waits_for: str | None = None  # What a queued job waits for before its turn can come; None of others.
    payload_hidden: bool = False  # Whether its input, output and error are hidden from the caller.
    input_bytes: int | None = None  # The bytes of an input that was left out.
    output_bytes: int | None = None  # The bytes of an output that was left out.


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a job's log."""

    ts: datetime  # Always with milliseconds.
    level: str  # `info`, `warn`, `error`.
    msg: str


@dataclass(frozen=True, kw_only=True)
class Operation(OperationState):
    """An operation on all jobs that a filter finds."""

    id: str
    kind: str  # `retry`, `cancel`.
    filter: dict[str, Any]  # The filter, as it was sent.
    state: str  # `aborted`: it takes no more jobs; those that it has taken stay as they are.
    total: int  # How many jobs matched when it was made, as far as they are counted.
    done: int  # Jobs that were retried or cancelled.
    failed: int  # Jobs that could not be retried; see `reason`.
    created_by: str  # The user, or the API key, that made it.
    created_at: datetime
    completed_at: datetime | None = None
    #: Of a cancel: `cancelled` counts the jobs that were queued, `signalled` those that ran and were asked to stop.
    result: dict[str, Any] | None = None
    reason: str | None = None  # Why jobs failed, or why the operation waits; None otherwise.


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker: a definition of jobs, with the settings that apply to the tenant."""

    id: str
    name: str
    description: str
    runtime: str  # `python`: nodes run its handler.
    status: str  # `active`, `paused`, `deprecated`.
    timeout_seconds: float
    max_retries: int  # 0 to 25.
    queue: str
    created_at: datetime
    updated_at: datetime
    live: bool  # True if a live node has its handler and consumes its queue, or its runs were claimed in the last 45 s.
    scope: str  # Whose worker it is.
    status_by: str | None = None  # The user who set the status, or `platform`; None if it was not set.
    status_at: datetime | None = None  # When the status was set.
    handler_timeout_seconds: float  # What the handler declares.
    handler_max_retries: int  # What the handler declares.
    #: After which delays a failed attempt is repeated, as was set; None: as its handler declares.
    retry: dict[str, Any] | None = None
    #: Days that its final jobs are kept, as the handler declares; None: those of the tenant, or of the installation.
    retention_days: float | None = None
    #: Seconds after which its unstarted jobs are cancelled, unless their trigger or schedule says otherwise, as the
    #: handler declares; None: never.
    expires_in: int | None = None
    #: Seconds from its creation, or its date, after which a job fails unless it is final, waits included, as the
    #: handler declares; None: never.
    deadline_seconds: int | None = None
    #: How it is a tool of MCP, as the handler declares: `answer` (a call waits for the end), `task` (a call returns a
    #: task) or `off`; None: as AVA_MCP_WORKERS says.
    mcp: str | None = None
    #: MiB of memory above which a run is stopped and fails as `MemoryExceeded`, as the handler declares; None: what its
    #: node allows (`AVA_MAX_MEMORY_MB`).
    max_memory_mb: int | None = None
    max_running: int | None = None  # How many of its jobs run at once; None: any number.
    #: What that is per: `tenant`, a path in the input, or None: the worker as a whole.
    max_running_per: str | None = None
    rate: str | None = None  # How many of its jobs start in a span of time; None: any number.
    rate_per: str | None = None  # What the rate is per.
    input_schema: dict[str, Any] | None = None  # JSON Schema 2020-12; None: any object is accepted.
    config: dict[str, Any] = field(default_factory=dict)  # The tenant's own configuration.
    secrets: list[str] = field(default_factory=list)  # The names of the tenant's own secrets.
    #: The settings for all tenants, which hold where the tenant has none of its own: `status`, `config`, `secrets`
    #: (their names), `timeout_seconds`, `max_retries`, `retry`, `max_running`, `rate`.
    platform: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerLimit:
    """A worker with a limit, and the tenant's use of it."""

    worker_id: str
    max_running: int | None = None  # Jobs that run at once; None: any number.
    max_running_per: str | None = None  # `tenant`, a path in the input, or None: the worker as a whole.
    rate: str | None = None  # Jobs that start in a span of time, such as `100/minute`.
    rate_per: str | None = None
    running: int  # The tenant's running jobs of the worker.
    waiting: int  # Its jobs that wait for a place, among its first 1,000 queued ones of the worker.
    waiting_is_exact: bool  # False: `waiting` is a lower bound.


@dataclass(frozen=True, kw_only=True)
class QueueCount:
    """The numbers of waiting and running jobs of one worker."""

    worker_id: str
    queued: int
    running: int
    high_priority: int  # Queued jobs of priority 1 to 3.


@dataclass(frozen=True, kw_only=True)
class PausedQueue:
    """A paused queue; its jobs do not start until it is resumed."""

    queue: str
    paused_by: str | None = None  # The user or API key that paused it; None for the roles of a tenant.
    paused_at: datetime


@dataclass(frozen=True, kw_only=True)
class Queues:
    """The numbers of waiting and running jobs, and the paused queues."""

    total_queued: int
    total_running: int
    total_waiting: int  # Jobs that wait for other jobs, an event or a time.
    by_worker: list[QueueCount]
    sampled_at: datetime
    paused_queues: list[PausedQueue]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit of this installation, and the tenant's use of it."""

    name: str  # The name that errors use, such as `bulk_jobs`.
    value: int | None = None  # None: there is no limit.
    unit: str  # What is counted, such as `bytes`.
    used: int | None = None  # What the tenant uses; None: not counted.
    used_is_exact: bool | None = None  # False: `used` is a lower bound.
    setting: str | None = None  # The variable that sets it; None: it is fixed.
    status: int | None = None  # The status of a request beyond it; None: the response ends early instead.
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a job is in its state."""

    job_id: str
    status: str  # `queued`, `running`, `completed`, `failed`, `cancelled`.
    sentence: str
    #: `queue`, `worker_active`, `processes`, `busy`, `queue_refused`, `ahead`, `estimate_seconds`, `run_at`, `attempt`,
    #: `max_attempts`, `node`, `started_at`, `cancel_requested_at`.
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule: a worker and the cron pattern that starts it."""

    id: str
    worker_id: str
    tenant_id: str
    name: str | None = None
    cron: str
    timezone: str
    input: dict[str, Any]
    priority: int  # The priority of its jobs, 1 (highest) to 10 (lowest).
    enabled: bool
    overlap: str  # `allow`, `skip`, `queue_one`, `cancel_running`.
    catch_up: str  # `last`, `none`, `all`.
    catch_up_seconds: int  # No missed firing that is older is made up for.
    spread_seconds: int  # The most by which its firings are delayed; the delay is constant, and follows from its id.
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    next_run_at: datetime | None = None  # When it fires next, its delay included; None if it is disabled or over.
    last_run_at: datetime | None = None  # When it last made a job.
    last_job_id: str | None = None  # The job that it made last.
    created_by: str  # The user, or the API key, that made it.
    created_at: datetime
    updated_at: datetime  # When it was last changed or disabled; firing changes nothing here.
    expires_in: int | None = None  # Seconds from its slot after which an unstarted job is cancelled.


@dataclass(frozen=True, kw_only=True)
class ScheduleSlot:
    """A local time of a pattern, and its instant."""

    slot: datetime  # The local time, without an offset.
    at: datetime
    #: `gap`: clocks go forward, and the local time does not exist; `overlap`: clocks go back, and it exists twice.
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class SchedulePreview:
    """A pattern in words, and its next slots."""

    description: str  # The pattern in words.
    next: list[ScheduleSlot]


@dataclass(frozen=True, kw_only=True)
class Firing:
    """A past slot, and its outcome."""

    slot: datetime  # The local time, without an offset.
    at: datetime
    outcome: str  # `fired`, `skipped`, `missed`.
    reason: str | None = None  # Why it was skipped or missed; None if it fired.
    job_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """An API key."""

    id: str
    name: str
    #: `worker`, `tenant-user`, `tenant-admin`, `tenant-system-admin`, `platform-admin`, `platform-system-admin`.
    role: str
    prefix: str  # The 16 characters of its token that follow the dot.
    created_by: str  # The user, or the key, that created it.
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None  # At most a minute behind.
    payloads: bool  # Whether its holder sees payloads.
    workers: list[str] | None = None  # Of the role `worker`: the workers whose runs it may claim; None of other roles.
    #: `ava_`, two characters that name the installation, a dot, the 16 of `prefix`, and 43 that are secret.
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class ErrorGroup:
    """Failed jobs of one worker whose errors differ only in numbers, ids and addresses."""

    id: str
    worker_id: str
    kind: str  # The type of the exception, such as ValueError; Timeout; WorkerLost.
    message: str  # The message; `*` stands for numbers, ids and addresses.
    count: int  # Jobs that failed in the period.
    first_seen_at: datetime
    last_seen_at: datetime
    status: str  # `open`, `ignored`, `resolved`.
    sample_job_id: str  # The last of its jobs.
    daily: list[dict[str, Any]]  # The days of the period on which jobs failed: `day`, `jobs`.


@dataclass(frozen=True, kw_only=True)
class SentEvent:
    """A sent event, with the jobs that it created."""

    id: str
    job_ids: list[str]
    refused: list[dict[str, Any]]  # `subscription_id`, `reason`.
    more: int  # Jobs that are made within the next 5 seconds, beside these.
    duplicate: bool  # Whether an earlier event had the same source and id; this is that one.


@dataclass(frozen=True, kw_only=True)
class ReceivedEvent:
    """An event, as patterns, templates and handlers see it, with the jobs that it created."""

    id: str
    source_id: str | None = None  # The sender's own id of it.
    type: str
    source: str
    subject: str | None = None
    time: datetime | None = None
    data: Any = None  # Any JSON value.
    extensions: dict[str, Any]
    headers: dict[str, Any] | None = None  # The headers of the request to a hook; else None.
    created_at: datetime
    delivery_id: str | None = None  # The delivery of a hook that it came with.
    job_ids: list[str]
    refused: list[dict[str, Any]]  # `subscription_id`, `reason`.
    more: int  # Above 0 while the jobs of further subscriptions are made.
    woken_job_ids: list[str]  # The jobs whose handlers waited for it (`env.wait_event`) and got it, at most 100.


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A subscription: a rule that creates a worker's job for each matching event."""

    id: str
    tenant_id: str
    event_type: str
    worker_id: str
    name: str | None = None
    #: A pattern over the whole event in the manner of Amazon EventBridge: lists of values, `prefix`, `suffix`,
    #: `anything-but`, `numeric`, `exists`, `cidr`, nested objects.
    match: dict[str, Any] | None = None
    #: A template of the job's input: `{"$get": "data.number", "default": 0}` anywhere in it is a value of the event.
    input: dict[str, Any] | None = None
    priority: int  # The priority of its jobs, 1 (highest) to 10 (lowest).
    enabled: bool
    created_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class TriedSubscription:
    """The job that a subscription would create for an event."""

    matches: bool
    reason: str | None = None  # Where it does not match, the path and why; where no input can be made, why.
    input: dict[str, Any] | None = None  # The input of the job; None if it does not match.


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A hook: a URL that receives a provider's webhooks."""

    id: str
    tenant_id: str
    name: str
    provider: str  # `github`, `stripe`, `slack`, `standard`, `shopify`, `custom`, `none`.
    verifier: dict[str, Any]  # How it verifies.
    secrets: int  # How many are valid.
    worker_id: str | None = None
    event_type: str | None = None
    #: A pattern over the event, as of a subscription; other deliveries are accepted and start nothing.
    match: dict[str, Any] | None = None
    input: dict[str, Any] | None = None  # A template of the job's input, where there is a `worker_id`.
    priority: int  # The priority of its jobs, 1 (highest) to 10 (lowest).
    #: By what a delivery is a repetition of an earlier one, which starts nothing: the sender's `id` of it, within 24
    #: hours; its `body`, as long as its signed time is accepted, or within 24 hours where none is signed; either of
    #: `both`; or `none`.
    dedupe: str
    tolerance_seconds: int  # Seconds that a signed time may be in the past or in the future.
    enabled: bool
    prefix: str  # The part of its token that is not secret.
    previous_token_until: datetime | None = None  # Until when the address before the last rotation is valid.
    created_by: str
    created_at: datetime
    updated_at: datetime
    url: str | None = field(default=None, repr=False)  # The address; in the answer that makes it, else None.
    secret: str | None = field(default=None, repr=False)  # The secret that was made up, in the answer that makes it.


@dataclass(frozen=True, kw_only=True)
class HookDelivery:
    """A request that a hook has received."""

    id: str
    hook_id: str
    verdict: str  # `accepted`, `duplicate`, `refused`.
    status: int  # The status of the answer.
    reason: str | None = None  # Why it was refused.
    created_at: datetime
    event_id: str | None = None
    event_type: str | None = None
    source_id: str | None = None  # The sender's own id of it.
    job_ids: list[str]
    duplicate_of: str | None = None  # The delivery that it repeats.
    replay_of: str | None = None  # The delivery that it replays.
    address: str
    headers: dict[str, Any]  # Secrets are masked.
    body: str | None = None  # As it is, or in base64 if it is no UTF-8; in a list None above 16 KiB.
    body_bytes: int  # Bytes of the whole body.


@dataclass(frozen=True, kw_only=True)
class HookReceipt:
    """The outcome of a replayed delivery."""

    delivery_id: str  # The new delivery.
    job_ids: list[str]


@dataclass(frozen=True, kw_only=True)
class HookTest:
    """The response that the sender of a test would get."""

    status: int  # 200 to 599.
    reason: str | None = None  # Why it was refused, or made no job.
    delivery_id: str | None = None
    duplicate: bool
    job_ids: list[str]


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A webhook: a URL that receives events."""

    id: str
    url: str
    events: list[str]
    status: str  # `degraded`: a delivery was abandoned and none has succeeded since; events are still sent.
    created_at: datetime
    updated_at: datetime
    disabled_reason: str | None = None  # `client`, or `gone` if the endpoint answered 410.
    previous_secret_until: datetime | None = None  # Until when requests are signed with the previous secret as well.
    roots_only: bool  # Whether it receives no events of jobs that a handler has made.


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A delivery: one event for one webhook, with its requests."""

    id: str
    webhook_id: str
    event_id: str
    event_type: str
    job_id: str | None = None
    status: str  # `pending`, `delivered`, `abandoned`.
    created_at: datetime
    completed_at: datetime | None = None
    next_attempt_at: datetime | None = None
    attempts: list[dict[str, Any]]  # The requests that were made, oldest first; the last 50.


@dataclass(frozen=True, kw_only=True)
class DeliveryBody:
    """The body of a delivery's requests."""

    body: str | None = None  # The first 65,536 characters of the body, which is the same in each request.
    body_bytes: int  # The bytes of all of it.


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The tenant's jobs in total."""

    queued: int
    queued_is_exact: bool  # False if `queued` is a lower bound.
    scheduled: int  # Queued jobs that wait for the time that their trigger named.
    running: int
    by_priority: list[dict[str, Any]]  # `priority`, `queued`, `scheduled`.
    oldest_due_at: datetime | None = None
    backlog_age_seconds: float | None = None  # How long the oldest due job has waited.
    latency: dict[str, Any]  # `sampled`, `start_p50_ms`, `start_p95_ms`, `run_p50_ms`, `run_p95_ms`.
    minutes: list[dict[str, Any]]  # The last 60 minutes, oldest first: `minute`, `completed`, `failed`, `cancelled`.
    counted_until: datetime  # The time until which ended jobs are counted in `minutes`.
    #: The newest 5 failures by when they failed, newest first: `id`, `worker_id`, `error`, `completed_at`.
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
    #: Only with `group_by`: oldest first, without gaps: `starts_at`, `total`, `completed`, `failed`, `cancelled`,
    #: `expired`, `avg_duration_ms`, `cpu_ms`, `wait_ms`.
    series: list[dict[str, Any]] | None = None
    percentiles: dict[str, Any] | None = None  # Only with `percentiles=true`: `wait`, `run`.


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node: one Celery worker process with its children."""

    id: str
    name: str  # Celery's name; the id for the roles of a tenant.
    host: str | None = None  # None for the roles of a tenant.
    pid: int | None = None  # None for the roles of a tenant.
    version: str
    queues: list[str]  # The queues that it consumes.
    refused_queues: list[str]  # Those that the broker refuses to it; it tries them again every few seconds.
    refused_messages: list[str]  # Why it has refused messages of the broker in the last minute.
    workers: list[str]
    processes: int  # How many jobs it can run at once.
    has_slots: bool  # Whether these are slots of one process, for the jobs of concurrent workers.
    busy: int  # How many jobs it runs, of all tenants; for the roles of a tenant, its own.
    memory_bytes: int | None = None  # None for the roles of a tenant.
    state: str  # `live`, `silent`, `stopped`.
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None = None
    drained_at: datetime | None = None  # Since when it takes no more jobs; it still finishes what runs.
    drained_by: str | None = None  # Who asked for it.
    #: The jobs of the caller's tenant that it runs: `id`, `worker_id`, `attempt`, `started_at`, `progress`.
    jobs: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A PostgreSQL standby that became the primary."""

    timeline: int  # The server's timeline since then.
    seen_at: datetime  # When the active dispatcher saw it.
    running: int  # The runs that were under way; each was asked for again.
    lossy: bool  # True if commits are known to be lost.


@dataclass(frozen=True, kw_only=True)
class TenantLoad:
    """The jobs of one tenant."""

    tenant_id: str
    waiting: int  # Exact up to 1,000; it stays there beyond.
    scheduled: int  # Exact up to 1,000; it stays there beyond.
    running: int  # Exact up to 1,000; it stays there beyond.
    completed: int  # Those that ended in the last hour.
    failed: int  # Those that ended in the last hour.
    cancelled: int  # Those that ended in the last hour.
    share: float | None = None  # Its part of the time that all jobs which ended in the last hour have run, 0 to 1.


@dataclass(frozen=True, kw_only=True)
class TenantRules:
    """The limits that operators have set for a tenant; None: the installation's default."""

    tenant_id: str
    max_running: int | None = None  # 0 to 1e+06.
    weight: float | None = None  # 0 to 1000.
    most_urgent_priority: int | None = None  # 1 to 10.
    retention_days: float | None = None
    updated_by: str | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """A request for a change."""

    id: str
    at: datetime
    tenant_id: str
    user_id: str
    role: str
    action: str
    target: str | None = None
    status: int  # The status of the response; refused requests are listed too.
    address: str  # The peer's address, and `for` what x-forwarded-for names.
    request_id: str
    occurrences: int | None = None  # How many refusals of this kind the entry stands for, if it is their sample.
    changes: dict[str, Any] | None = None  # `{field: [old, new]}` of a change.
    key_id: str | None = None  # The API key that was used, or had started the session; None if none was.


@dataclass(frozen=True, kw_only=True)
class JobRuns:
    """The runs of a job, with how long it waited and ran in total."""

    waited_ms: int | None = None  # From when the job was due to its first start; None if it has not started.
    ran_ms: int | None = None  # The sum of the runs that have ended.
    #: The first 200, oldest first: `started_at`, `ended_at`, `outcome`, `duration_ms`, `cpu_ms`, `peak_memory_mb`,
    #: `wait_ms`.
    runs: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class TreeJob(Job):
    """A job of a tree: its record without input and output, and its position in the tree."""

    name: str | None = None  # Its name in its bulk, or among the children of its parent.
    is_detached: bool  # Whether a cancel of its parent leaves it alone.
    first_run_at: datetime | None = None  # When the first run of its attempt began, also while it waits; None before.
    waits: list[dict[str, Any]]  # The latest 100, oldest first: `began_at`, `ended_at`.


@dataclass(frozen=True, kw_only=True)
class TreeEdge:
    """An edge: job `to` runs after job `from` of its bulk, or is its child."""

    from_id: str = field(metadata={"name": "from"})
    to_id: str = field(metadata={"name": "to"})
    kind: str  # `completed`, `ended` or `failed` as `when` says, or `child`.


@dataclass(frozen=True, kw_only=True)
class Tree(TreeStatus):
    """The jobs of a tree, with their edges."""

    tree_id: str
    jobs: list[TreeJob]
    edges: list[TreeEdge]


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """A named step, child or wait of a handler."""

    kind: str  # `step`, `child`, `sleep`, `wait`, `event`.
    name: str
    #: `began`: a step that runs at most once; `done`; `waits`: a sleep, or a wait with a time-out; `timed_out`.
    state: str
    attempt: int  # The last attempt that it belongs to.
    value: Any = None  # What a step has returned; None if it is large.
    value_bytes: int | None = None  # The bytes of a value over 16 KiB.
    child_id: str | None = None  # The child, or the one that `wait_any` has chosen.
    until: datetime | None = None  # When a sleep or the time of a wait is over.
    written_at: datetime


@dataclass(frozen=True, kw_only=True)
class JobWait:
    """A wait of a job."""

    condition: str  # `completed`, `ended`, `failed`, `any`, `event`, `time`.
    jobs: list[str]  # The first 100 jobs that it is for.
    began_at: datetime
    ended_at: datetime | None = None  # When its handler was entered after it; None before.


@dataclass(frozen=True, kw_only=True)
class JobJournal:
    """The journal of a job, and its waits."""

    job_id: str
    entries: list[JournalEntry]  # In the order in which they were written.
    waits: list[JobWait]  # The latest 100, oldest first.
