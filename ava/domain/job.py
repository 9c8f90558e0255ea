"""The job: its statuses, the moves between them, and the end of its runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ava.domain.priority import DEFAULT as DEFAULT_PRIORITY
from ava.domain.trigger_keys import Debounce, Dedupe

__all__ = [
    "FINAL",
    "TRANSITIONS",
    "WHEN_RELEASED",
    "WHEN_RESUMED",
    "WHEN_SERVED",
    "Job",
    "JobSpec",
    "LogLevel",
    "LogLine",
    "RunEnd",
    "Status",
    "Trigger",
]


class Status(StrEnum):
    """The status of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Trigger(StrEnum):
    """What made a job."""

    MANUAL = "manual"
    SCHEDULED = "scheduled"
    WEBHOOK = "webhook"
    EVENT = "event"


class LogLevel(StrEnum):
    """The level of a job's log line."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"


#: The `run_at` of a job whose worker no live node serves: PostgreSQL's `infinity`, as psycopg2 reads it.
WHEN_SERVED = datetime.max.replace(tzinfo=UTC)
#: The `run_at` of a job that waits for an earlier job of its schedule to end (`queue_one`).
WHEN_RELEASED = datetime(9999, 1, 1, tzinfo=UTC)
#: The `run_at` of a job whose worker is paused for its tenant.
WHEN_RESUMED = datetime(9999, 1, 2, tzinfo=UTC)

#: Every legal move. A running job returns to the queue after a failed attempt, a lost process or a node's shutdown.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

#: The statuses that never change again.
FINAL = frozenset(status for status, followers in TRANSITIONS.items() if not followers)


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What a client asks for."""

    #: Which worker, as its id (`wkr_…`).
    worker_id: str
    #: The payload, an object, as JSON text.
    input_json: str = "{}"
    trigger: Trigger = Trigger.MANUAL
    #: From `priority.FIRST` to `priority.LAST`.
    priority: int = DEFAULT_PRIORITY
    #: When it may start, with a time zone; None or a past moment means now.
    scheduled_at: datetime | None = None
    #: The final job that this one repeats, as its id.
    retry_of: str | None = None
    #: The tags, an object of texts, as JSON text.
    tags_json: str = "{}"
    #: The key that it has in common with other triggers, by one of two rules; None: it makes a job of its own.
    dedupe: Dedupe | None = None
    debounce: Debounce | None = None

    @property
    def key(self) -> tuple[str, str] | None:
        """Returns the worker and the key that it has in common with other triggers; None if it has no key."""
        found = self.dedupe or self.debounce
        return None if found is None else (self.worker_id, found.key)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One execution of a worker with one input, as it stands in the database."""

    id: str
    worker_id: str
    tenant_id: str
    status: Status
    trigger: Trigger
    priority: int
    #: The payload as JSON text, as it was stored.
    input_json: str
    triggered_by: str
    created_at: datetime
    #: When the current or last run began; None while queued.
    started_at: datetime | None
    #: When it became final.
    completed_at: datetime | None
    #: What the handler returned, as JSON text.
    output_json: str | None
    #: One line, `Kind: reason`, of a failed job.
    error: str | None
    scheduled_at: datetime | None
    #: Which attempt runs or ran, from 1; 0 before the first.
    attempt: int
    max_attempts: int
    cancel_requested_at: datetime | None
    cancelled_by: str | None
    #: The progress that its handler reported last, `{"fraction": 0.5, "message": "…"}`, as JSON text.
    progress_json: str | None
    retry_of: str | None
    #: The Celery queue that it goes through.
    queue: str
    #: How often it was started; the number that every write of a run must carry.
    run_no: int
    #: When it may start, if that is in the future: its schedule, the end of its back-off, or `WHEN_SERVED`.
    run_at: datetime | None
    #: When its message was published; None while it waits in the database alone.
    published_at: datetime | None
    #: The node that runs or ran it.
    node_id: str | None
    #: The W3C `traceparent` of the request that made it; None if nothing was traced.
    traceparent: str | None = None
    #: The tags, an object of texts, as JSON text.
    tags_json: str = "{}"
    #: Whether its tenant or the platform has settings of its worker. It is read with the claim alone.
    has_settings: bool = False
    #: Whether an earlier trigger with the same key made it. It is set in the answer to a trigger alone.
    is_existing: bool = False
    #: The bytes of the input and output that this copy leaves out because they are large; None if they are here.
    input_bytes: int | None = None
    output_bytes: int | None = None

    @property
    def input(self) -> dict[str, Any]:
        """Returns the payload."""
        payload: dict[str, Any] = json.loads(self.input_json)
        return payload

    @property
    def output(self) -> Any:
        """Returns what the handler returned; None before."""
        return None if self.output_json is None else json.loads(self.output_json)

    @property
    def tags(self) -> dict[str, str]:
        """Returns the tags."""
        tags: dict[str, str] = json.loads(self.tags_json)
        return tags

    @property
    def is_light(self) -> bool:
        """Returns True if this copy leaves out the input or the output."""
        return self.input_bytes is not None or self.output_bytes is not None

    @property
    def progress(self) -> dict[str, Any] | None:
        """Returns the progress that its handler reported last."""
        return None if self.progress_json is None else json.loads(self.progress_json)

    @property
    def duration_ms(self) -> int | None:
        """Returns the milliseconds from the last start to the end; None until then, and if it never ran."""
        if self.started_at is None or self.completed_at is None:
            return None
        return max(0, round((self.completed_at - self.started_at).total_seconds() * 1000))

    @property
    def is_unserved(self) -> bool:
        """Returns True if the job waits for a node that has its worker's handler."""
        return self.run_at == WHEN_SERVED

    @property
    def is_held(self) -> bool:
        """Returns True if the job waits for an earlier job of its schedule to end."""
        return self.run_at == WHEN_RELEASED

    @property
    def is_paused(self) -> bool:
        """Returns True if the job waits until its worker is active again."""
        return self.run_at == WHEN_RESUMED

    @property
    def due_at(self) -> datetime | None:
        """Returns when the job may start, or None if it waits for no time."""
        return None if self.is_unserved or self.is_held or self.is_paused else self.run_at

    @property
    def is_final(self) -> bool:
        """Returns True if the job never changes again."""
        return self.status in FINAL


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """One line of a job's log."""

    #: Its place in the log: the run's number, then the line's, so that runs follow each other.
    seq: int
    ts: datetime
    level: LogLevel
    msg: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnd:
    """The end of a run, as one statement writes it together with the run's last log lines."""

    job_id: str
    run_no: int
    #: `completed`, `failed` or `cancelled`; `queued` if another attempt follows.
    status: Status
    #: Milliseconds from the claim to the end of the handler.
    elapsed_ms: int
    output_json: str | None = None
    error: str | None = None
    #: The UUID of the group of its error; None unless it failed.
    error_id: str | None = None
    #: Seconds until the next attempt, if one follows.
    retry_in_seconds: float | None = None
    #: Why the handler has put the job off; None if it has not. The attempt is then given back.
    put_off: str | None = None
    #: Whether the job's rate key is put off as well.
    is_rate_limited: bool = False

    @property
    def closing(self) -> tuple[LogLevel, str]:
        """Returns the level and the text of the log's closing line."""
        if self.status is Status.COMPLETED:
            return LogLevel.INFO, f"Handler completed in {self.elapsed_ms}ms"
        if self.status is Status.CANCELLED:
            return self.closing_if_cancelled
        if self.put_off is not None:
            reason = f": {self.put_off}" if self.put_off else ""
            return LogLevel.INFO, f"Handler retries later, in {self.retry_in_seconds or 0:g} s{reason}"
        return LogLevel.ERROR, f"Handler failed after {self.elapsed_ms}ms"

    @property
    def closing_if_cancelled(self) -> tuple[LogLevel, str]:
        """Returns the closing line that replaces `closing` if a cancel was requested meanwhile."""
        return LogLevel.WARN, f"Handler cancelled after {self.elapsed_ms}ms"
