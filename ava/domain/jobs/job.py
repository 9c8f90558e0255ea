"""The job: its statuses, the transitions between them, and its record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from ava.domain.jobs import expiry, usage
from ava.domain.jobs.priority import DEFAULT as DEFAULT_PRIORITY
from ava.domain.jobs.trigger_keys import Debounce, Dedupe
from ava.domain.jobs.wait_reasons import WaitsFor

if TYPE_CHECKING:
    from ava.domain.jobs.graphs import Entry


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


#: Every legal move. A running job returns to the queue after a failed attempt, a lost process or a node's shutdown, and
#: when its handler waits. A queued one fails if its deadline is over, or if its input cannot be made.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

#: The statuses that never change again.
FINAL = frozenset(status for status, followers in TRANSITIONS.items() if not followers)


class JobKey(NamedTuple):
    """What names a job. An id alone names none: every statement on a job compares its tenant."""

    tenant_id: str
    id: str


class RunKey(NamedTuple):
    """What names a run of a job."""

    tenant_id: str
    job_id: str
    run_no: int


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
    #: Seconds after its date, or its creation, at which it expires unless it has started; None: as its worker says.
    expires_in: int | None = None
    #: The moment at which it expires; not together with `expires_in`.
    start_before: datetime | None = None
    #: The most further attempts, if that is fewer than its worker has; None: as its worker says.
    max_retries: int | None = None
    #: The key that it has in common with other triggers, by one of two rules; None: it makes a job of its own.
    dedupe: Dedupe | None = None
    debounce: Debounce | None = None
    #: Seconds from its creation, or from `scheduled_at`, after which it fails; None: as its worker says.
    deadline_seconds: float | None = None
    #: Its place among the entries of its bulk; None if it has neither a name nor others that it comes after.
    entry: Entry | None = None
    #: Of an entry of a bulk: it makes one job in 24 hours, however often it is sent.
    idempotency_key: str | None = None

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
    #: What it waits for; None once its turn may come, and if it is not queued.
    waits_for: WaitsFor | None
    #: When it may start, if it waits for a date.
    run_at: datetime | None
    #: When its message was published; None while it waits in the database alone.
    published_at: datetime | None
    #: The node that runs or ran it.
    node_id: str | None
    #: The W3C `traceparent` of the request that made it; None if nothing was traced.
    traceparent: str | None = None
    #: The tags, an object of texts, as JSON text.
    tags_json: str = "{}"
    #: When it is cancelled if it has not started; None if it does not expire.
    expires_at: datetime | None = None
    #: The run in which its handler was entered first, from the claim on; None before.
    first_run_no: int | None = None
    #: Whether its tenant or the platform has settings of its worker. It is read with the claim alone.
    has_settings: bool = False
    #: Whether an earlier trigger with the same key made it. It is set in the answer to a trigger alone.
    is_existing: bool = False
    #: The bytes of the input and output that this copy leaves out because they are large; None if they are here.
    input_bytes: int | None = None
    output_bytes: int | None = None
    #: The job whose handler made it, and the first of all that belong together; None if it belongs to nothing.
    parent_id: str | None = None
    tree_id: str | None = None
    #: Its name among the entries of its bulk, or among the children of its parent.
    name: str | None = None
    #: What it waits for, `{"jobs": […], "event": …, "until": …}`, as JSON text; None if its handler does not wait.
    waiting_for_json: str | None = None
    #: When it fails if it is not final by then.
    deadline_at: datetime | None = None
    #: The start of the first run of an attempt that has waited.
    first_started_at: datetime | None = None
    #: The milliseconds that its earlier runs ran in this attempt, and waited to start; None of a job with one run.
    ran_ms: int | None = None
    wait_ms: int | None = None
    #: What its ended runs have used: microseconds of processor time, and the most MiB of memory; None: not known.
    cpu_us: int | None = None
    peak_memory_mb: int | None = None
    #: When the present run of a job with several could start.
    ready_at: datetime | None = None
    #: The status that it gets, whatever its run does, because it was asked to stop.
    stop_status: Status | None = None
    #: Whether an earlier run has written into its journal. It is read with the claim alone.
    has_journal: bool = False

    @property
    def key(self) -> JobKey:
        """Returns what names the job."""
        return JobKey(self.tenant_id, self.id)

    @property
    def run(self) -> RunKey:
        """Returns what names its current or last run."""
        return RunKey(self.tenant_id, self.id, self.run_no)

    @property
    def next_run(self) -> RunKey:
        """Returns what names the run that its message starts."""
        return RunKey(self.tenant_id, self.id, self.run_no + 1)

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
    def began_at(self) -> datetime | None:
        """Returns when the first run of its attempt began; None while queued, and if it never ran."""
        return None if self.status is Status.QUEUED else self.first_started_at or self.started_at

    @property
    def duration_ms(self) -> int | None:
        """Returns the milliseconds that the runs of its last attempt took; None until its end, and if it never ran."""
        if self.began_at is None or self.completed_at is None:
            return None
        last = (self.completed_at - self.started_at).total_seconds() if self.started_at else 0.0
        return max(0, round(last * 1000)) + (self.ran_ms or 0)

    @property
    def usage(self) -> dict[str, int | None] | None:
        """Returns what its runs have used, and for how long they waited to start; None if it has not started."""
        if self.first_run_no is None:
            return None
        waited_ms = (self.wait_ms or 0) + (self.last_wait_ms or 0)
        return usage.record(cpu_us=self.cpu_us, peak_memory_mb=self.peak_memory_mb, wait_ms=waited_ms)

    @property
    def last_wait_ms(self) -> int | None:
        """Returns the milliseconds from when its present or last run could start to its start; None while queued."""
        return usage.wait_ms(self.started_at, self.created_at, self.scheduled_at, self.ready_at)

    @property
    def waiting_for(self) -> dict[str, Any] | None:
        """Returns what it waits for; None if its handler does not wait."""
        return None if self.waiting_for_json is None else json.loads(self.waiting_for_json)

    @property
    def deadline_seconds(self) -> int | None:
        """Returns the seconds from its beginning to its deadline, of a job that repeats this one too."""
        if self.deadline_at is None:
            return None
        return round((self.deadline_at - max(filter(None, (self.created_at, self.scheduled_at)))).total_seconds())

    @property
    def expires_in(self) -> int | None:
        """Returns the seconds after which a job expires that repeats this one; None if it does not."""
        if self.expires_at is None:
            return None
        return expiry.renewed_seconds(
            created_at=self.created_at,
            scheduled_at=self.scheduled_at,
            expires_at=self.expires_at,
            is_firing=self.triggered_by.startswith("sch_"),
        )

    @property
    def start_seconds(self) -> float | None:
        """Returns the seconds from the claim of its run within which its handler is entered, or not at all.

        None if the run may begin at any time: the job does not expire, or has started in an earlier run.
        """
        if self.expires_at is None or self.started_at is None or self.first_run_no != self.run_no:
            return None
        return (self.expires_at - self.started_at).total_seconds()

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
