"""The job: its statuses, state transitions and record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from ava.domain.access import actor
from ava.domain.access.actor import Actor
from ava.domain.jobs import trigger_options
from ava.domain.jobs.priority import DEFAULT as DEFAULT_PRIORITY
from ava.domain.jobs.priority import FIRST as FIRST_PRIORITY
from ava.domain.jobs.priority import LAST as LAST_PRIORITY
from ava.domain.jobs.retry import MAX_RETRIES
from ava.domain.jobs.trigger_options import Debounce, Dedupe
from ava.domain.jobs.usage import Usage, cpu_ms, elapsed_ms, wait_ms
from ava.domain.jobs.wait_reasons import WaitsFor

if TYPE_CHECKING:
    from ava.domain.jobs.graphs import Entry


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Trigger(StrEnum):
    MANUAL = "manual"
    SCHEDULED = "scheduled"
    WEBHOOK = "webhook"
    EVENT = "event"


class LogLevel(StrEnum):
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


#: Every legal state transition. A running job returns to the queue after a failed attempt, a lost process, a node's
#: shutdown, or when its handler waits. A queued job fails if its deadline passes or its input cannot be built.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

FINAL = frozenset(status for status, followers in TRANSITIONS.items() if not followers)


class JobKey(NamedTuple):
    """The key of a job: every statement compares tenant and id."""

    tenant_id: str
    id: str


class RunKey(NamedTuple):
    tenant_id: str
    job_id: str
    run_no: int


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    worker_id: str
    #: A serialized JSON object.
    input_json: str = "{}"
    trigger: Trigger = Trigger.MANUAL
    priority: int = DEFAULT_PRIORITY
    #: Earliest start, with a time zone; None or a past time means now.
    scheduled_at: datetime | None = None
    #: The final job that this one repeats.
    retry_of: str | None = None
    #: The persons behind that job: who wrote its input, and who caused each retry before this one.
    behind_retried: Sequence[Actor] = ()
    #: A serialized JSON object with string values.
    tags_json: str = "{}"
    #: Seconds from `scheduled_at`, or from creation, until an unstarted job expires; None: the worker's setting.
    expires_in_seconds: int | None = None
    #: Absolute expiry of an unstarted job; excludes `expires_in_seconds`.
    start_before: datetime | None = None
    #: Max further attempts, if lower than the worker's; None: the worker's.
    max_retries: int | None = None
    #: Rules for triggers with equal keys; at most one is set.
    dedupe: Dedupe | None = None
    debounce: Debounce | None = None
    #: Seconds from creation, or from `scheduled_at`, until the job fails; None: the worker's setting.
    deadline_seconds: float | None = None
    #: The approval before its first start (`approval_rule`), as JSON; an approval of its worker precedes it.
    approval_json: str | None = None
    #: The job's entry in a bulk request's graph, if it has a name or predecessors.
    entry: Entry | None = None
    #: For an entry of a bulk request: repeated requests within 24 hours create one job.
    idempotency_key: str | None = None

    @property
    def key(self) -> tuple[str, str] | None:
        """Return the worker and the deduplication key; None without a key."""
        found = self.dedupe or self.debounce
        return None if found is None else (self.worker_id, found.key)


_ID = {"prefix": "job"}
#: The creator or canceller of a job: a user, API key, schedule, job, hook or subscription.
_MAKERS = {"prefixes": ("usr", "key", "sch", "job", "hk", "sub")}
_BEGAN = {
    "description": "Start of the current or last run; if the job has waited, of the first run of its last attempt.",
    "name": "started_at",
}
_DURATION = {"description": "Total duration in milliseconds of the runs of its last attempt, without waits."}
_USAGE = {"description": "Resource usage of its runs; null before the first start."}
_ORIGIN = {
    "description": "The identity that caused its creation: its caller, the creator of its schedule or hook, or the "
    "sender of its event. Children inherit it."
}
#: The fields of a job's record, in the contract's order.
RECORD = (
    "id worker_id tenant_id status trigger priority input triggered_by created_at started_at completed_at duration_ms "
    "output error scheduled_at attempt max_attempts cancel_requested_at cancelled_by progress retry_of tags expires_at "
    "parent_id tree_id waiting_for deadline_at usage waits_for origin"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One execution of a worker with one input, as stored. Its public fields and their facts make its record."""

    id: str = field(metadata=_ID)
    worker_id: str
    tenant_id: str
    status: Status
    trigger: Trigger
    priority: int = field(metadata={"minimum": FIRST_PRIORITY, "maximum": LAST_PRIORITY})
    input_json: str = field(
        metadata={
            "description": "The payload. Null, with `payload_hidden: true`, for callers without payload permission.",
            "payload": "value",
        }
    )
    triggered_by: str = field(
        metadata=_MAKERS
        | {"description": "The user or API key that triggered the job, or the schedule that created it."}
    )
    created_at: datetime
    #: Start of the current or last run; None while queued. The record has `began_at`.
    started_at: datetime | None
    completed_at: datetime | None = field(metadata={"description": "When it ended."})
    output_json: str | None = field(
        metadata={"description": "The return value of its handler.", "form": {}, "payload": "value"}
    )
    error: str | None = field(
        metadata={
            "description": "`Kind: reason` in one line, if the job failed or the system cancelled it (`Expired`, "
            "`Replaced`, `OverlapCancelled`); null if a caller cancelled it.",
            "payload": "job_error",
        }
    )
    scheduled_at: datetime | None
    attempt: int = field(
        metadata={
            "description": "The number of the current or last attempt; 0 before the first.",
            "maximum": MAX_RETRIES + 1,
        }
    )
    max_attempts: int = field(metadata={"minimum": 1, "maximum": MAX_RETRIES + 1})
    cancel_requested_at: datetime | None
    cancelled_by: str | None = field(
        metadata=_MAKERS
        | {
            "description": "The user or API key that cancelled the job, the schedule with `cancel_running`, or the job "
            "that replaced it (`dedupe`). Null if it expired."
        }
    )
    progress_json: str | None = field(
        metadata={
            "description": "The last progress that its handler reported: fraction and message.",
            "payload": "progress",
        }
    )
    retry_of: str | None = field(metadata=_ID | {"description": "The original of this retry."})
    queue: str
    #: Number of starts, part of the fencing token that every write of a run carries.
    run_no: int
    waits_for: WaitsFor | None = field(
        metadata={
            "description": "The reason that a queued job may not start yet, apart from the jobs ahead of it; "
            "null for other jobs. `unknown`: a reason of a later release."
        }
    )
    #: Earliest start of a job that waits for a date.
    run_at: datetime | None
    #: When its message was published; None while it is in the database only.
    published_at: datetime | None
    node_id: str | None
    #: The W3C `traceparent` of the request that created it.
    traceparent: str | None = None
    #: An object with string values.
    tags_json: str = "{}"
    expires_at: datetime | None = field(
        default=None, metadata={"description": "When it is cancelled if it has not started; null: never."}
    )
    #: The first run that entered the handler, set from its claim on.
    first_run_no: int | None = None
    parent_id: str | None = field(
        default=None, metadata=_ID | {"description": "The job that created it from its handler."}
    )
    tree_id: str | None = field(
        default=None,
        metadata=_ID | {"description": "The root of its tree; null for a job without a tree."},
    )
    #: Its name in its bulk request or among its parent's children.
    name: str | None = None
    waiting_for_json: str | None = field(
        default=None,
        metadata={
            "description": "The wait of a queued job: `jobs` (the first 100 ids), `event` (its `type` and `match`; of "
            "several events the first), `approval` (its id; of several the first), and `until`, the timeout. `match` "
            "is null for callers without payload permission.",
            "payload": "waiting_for",
        },
    )
    deadline_at: datetime | None = field(
        default=None, metadata={"description": "When it fails if it has not ended; null: never."}
    )
    #: Start of the first run of an attempt that has waited.
    first_started_at: datetime | None = None
    #: Usage of the ended runs: microseconds of processor time, and peak memory in MiB; None: unknown.
    cpu_us: int | None = None
    peak_memory_mb: int | None = None
    #: When the current run of a job with several runs could start.
    ready_at: datetime | None = None
    #: The status that a requested stop gives the job, whatever its run does.
    stop_status: Status | None = None
    #: Milliseconds that earlier runs of this attempt ran, and that all waited to start; None with a single run.
    earlier_ms: Sequence[int | None] | None = None
    #: The identities behind it, as `actor.join` writes them; None: `triggered_by` itself.
    origin_text: str | None = None
    #: As in `JobSpec`.
    approval_json: str | None = None
    #: Whether the tenant or the platform has settings for its worker. Only a claim reads it.
    has_settings: bool = False
    #: Whether an earlier run has written to the journal. Only a claim reads it.
    has_journal: bool = False
    #: Whether an earlier trigger with the same key created it. Only the response to a trigger sets it.
    is_existing: bool = False
    input_bytes: int | None = field(default=None, metadata={"description": "Size in bytes of an omitted input."})
    output_bytes: int | None = field(default=None, metadata={"description": "Size in bytes of an omitted output."})

    @property
    def key(self) -> JobKey:
        return JobKey(self.tenant_id, self.id)

    @property
    def identities(self) -> tuple[Actor, ...]:
        """Return the origin, all others behind the schedule, subscription or hook through which it came, and causes."""
        return actor.split(self.origin_text or self.triggered_by)

    @property
    def origin(self) -> Annotated[Actor, _ORIGIN]:
        """Return the identity that caused its creation."""
        return self.identities[0]

    @property
    def run(self) -> RunKey:
        return RunKey(self.tenant_id, self.id, self.run_no)

    @property
    def next_run(self) -> RunKey:
        """Return the key of the run that the job's message starts."""
        return RunKey(self.tenant_id, self.id, self.run_no + 1)

    @property
    def input(self) -> dict[str, Any]:
        payload: dict[str, Any] = json.loads(self.input_json)
        return payload

    @property
    def output(self) -> Any:
        """Return the handler's return value; None before its end."""
        return None if self.output_json is None else json.loads(self.output_json)

    @property
    def tags(self) -> dict[str, str]:
        tags: dict[str, str] = json.loads(self.tags_json)
        return tags

    @property
    def is_light(self) -> bool:
        return self.input_bytes is not None or self.output_bytes is not None

    @property
    def progress(self) -> dict[str, Any] | None:
        return None if self.progress_json is None else json.loads(self.progress_json)

    @property
    def began_at(self) -> Annotated[datetime | None, _BEGAN]:
        """Return the start of the attempt's first run; None while queued, and if it never ran."""
        return None if self.status is Status.QUEUED else self.first_started_at or self.started_at

    @property
    def duration_ms(self) -> Annotated[int | None, _DURATION]:
        """Return the milliseconds that the last attempt's runs took; None before the end, and if it never ran."""
        if self.began_at is None or self.completed_at is None:
            return None
        last_ms = elapsed_ms(self.started_at, self.completed_at) if self.started_at else 0
        return last_ms + ((self.earlier_ms and self.earlier_ms[0]) or 0)

    @property
    def usage(self) -> Annotated[Usage | None, _USAGE]:
        """Return the usage of its runs and their waiting time; None if it has not started."""
        if self.first_run_no is None:
            return None
        waited_ms = ((self.earlier_ms and self.earlier_ms[1]) or 0) + (self.last_wait_ms or 0)
        return Usage(cpu_ms=cpu_ms(self.cpu_us), peak_memory_mb=self.peak_memory_mb, wait_ms=waited_ms)

    @property
    def last_wait_ms(self) -> int | None:
        """Return the milliseconds from when the current or last run could start to its start; None while queued."""
        return wait_ms(self.started_at, self.created_at, self.scheduled_at, self.ready_at)

    @property
    def waiting_for(self) -> dict[str, Any] | None:
        return None if self.waiting_for_json is None else json.loads(self.waiting_for_json)

    @property
    def deadline_seconds(self) -> int | None:
        """Return the seconds from creation or `scheduled_at` to the deadline, for a job that repeats this one."""
        if self.deadline_at is None:
            return None
        return round((self.deadline_at - max(filter(None, (self.created_at, self.scheduled_at)))).total_seconds())

    @property
    def expires_in_seconds(self) -> int | None:
        """Return the `expires_in_seconds` for a job that repeats this one; None if it does not expire."""
        if self.expires_at is None:
            return None
        return trigger_options.renewed_expiry_seconds(
            created_at=self.created_at,
            scheduled_at=self.scheduled_at,
            expires_at=self.expires_at,
            is_firing=self.triggered_by.startswith("sch_"),
        )

    @property
    def start_seconds(self) -> float | None:
        """Return the seconds after the run's claim within which its handler must be entered.

        None if the job does not expire, or has started in an earlier run.
        """
        if self.expires_at is None or self.started_at is None or self.first_run_no != self.run_no:
            return None
        return (self.expires_at - self.started_at).total_seconds()

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """One line of a job's log."""

    #: Position in the log: the run's number first, then the line's, so that runs follow in order.
    seq: int = field(metadata={"internal": True})
    ts: datetime = field(metadata={"description": "Always with milliseconds."})
    level: LogLevel
    msg: str = field(metadata={"payload": "string"})
