"""Jobs: what clients send and what they get back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load

from ava.api.http import cursors
from ava.api.http.fields import (
    REQUIRED,
    Choice,
    ClientId,
    Cursor,
    Id,
    Instant,
    JsonObject,
    JsonText,
    Text,
    WholeNumber,
)
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import compile_schema
from ava.api.http.strict import Entries, Strict
from ava.api.schemas.job_filters import filter_fields, take_filter
from ava.domain import priority
from ava.domain.job import Job, JobSpec, LogLevel, Status, Trigger
from ava.domain.job_filter import JobFilter
from ava.domain.limits import BULK_JOBS, DAYS_AHEAD

__all__ = [
    "BulkBody",
    "BulkJobRecord",
    "CancelBody",
    "CancelledRecord",
    "JobListQuery",
    "JobListRequest",
    "JobLogRecord",
    "JobRecord",
    "LogLineRecord",
    "LogRequest",
    "LogsQuery",
    "ShowQuery",
    "TriggerBody",
    "write_bulk_job",
    "write_job",
    "write_log_line",
]


# In ------------------------------------------------------------------------------------------------------------------


class _StartTime(Instant):
    """A moment at which a job may start; not too far ahead."""

    def read(self, value: Any) -> datetime:
        moment = super().read(value)
        if moment - datetime.now(UTC) > timedelta(days=DAYS_AHEAD.value):
            raise ValidationError(DAYS_AHEAD.says(f"It must be at most {DAYS_AHEAD.value} days from now."))
        return moment


class TriggerBody(Strict):
    """A job to trigger."""

    worker_id = ClientId("wkr", required=True, metadata={"description": "ID of the worker to run."})
    input = JsonObject(
        load_default="{}",
        metadata={"description": "Payload passed to the worker handler as the first argument. At most 1 MiB."},
    )
    trigger = Choice(Trigger, load_default=Trigger.MANUAL, metadata={"description": "What triggered the job."})
    priority = WholeNumber(
        least=priority.FIRST,
        most=priority.LAST,
        load_default=priority.DEFAULT,
        metadata={
            "description": f"{priority.FIRST} (highest) to {priority.LAST} (lowest). High-priority jobs are dequeued "
            "first."
        },
    )
    scheduled_at = _StartTime(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "ISO 8601 datetime to delay execution until; it is UTC without an offset, and a time in "
            "the past means now. At most a year ahead. Omit for immediate queuing."
        },
    )

    @post_load
    def _spec(self, values: dict[str, Any], **_: Any) -> JobSpec:
        return JobSpec(
            worker_id=values["worker_id"],
            input_json=values["input"],
            trigger=values["trigger"],
            priority=values["priority"],
            scheduled_at=values["scheduled_at"],
        )


@dataclass(frozen=True, kw_only=True)
class JobListRequest(PageRequest):
    """Which jobs a list shows."""

    job_filter: JobFilter


class JobListQuery(PageQuery):
    """The parameters of the list of jobs."""

    class Meta:
        """The filters."""

        include = filter_fields(in_query=True)

    cursor = cursor_field(cursors.id_reader("job"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> JobListRequest:
        return JobListRequest(**take_page(values), job_filter=take_filter(values))


@dataclass(frozen=True, kw_only=True)
class LogRequest:
    """Which lines of a log are asked for."""

    level: LogLevel | None
    limit: int
    #: The cursor as the client sent it; whether it is one of this job's log is checked later.
    after: str | None


class LogsQuery(Strict):
    """The parameters of a job's log."""

    level = Choice(
        LogLevel,
        data_key="filter[level]",
        load_default=None,
        allow_none=False,
        metadata={"description": "Filter to one level."},
    )
    limit = WholeNumber(
        least=1, most=500, is_text=True, load_default=100, metadata={"description": "The most log lines to return."}
    )
    after = Cursor(
        lambda text: text,
        load_default=None,
        allow_none=False,
        metadata={"description": "The next_cursor of an earlier answer; returns the lines after it."},
    )

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> LogRequest:
        return LogRequest(**values)


class ShowQuery(Strict):
    """The parameters of one job."""

    wait = WholeNumber(
        least=1,
        most=60,
        is_text=True,
        load_default=None,
        allow_none=False,
        metadata={"description": "Seconds to hold the answer until the job is final."},
    )

    @post_load
    def _seconds(self, values: dict[str, Any], **_: Any) -> int | None:
        seconds: int | None = values["wait"]
        return seconds


class BulkBody(Strict):
    """Many jobs to trigger, all or none."""

    jobs = Entries(
        TriggerBody(),
        most=BULK_JOBS,
        required=True,
        metadata={"minItems": 1, "maxItems": BULK_JOBS.value},
        error_messages={"required": REQUIRED, "null": "It must not be null.", "invalid": "It must be a list."},
    )

    @post_load
    def _specs(self, values: dict[str, Any], **_: Any) -> list[JobSpec]:
        specs: list[JobSpec] = values["jobs"]
        return specs


class _Cancellable(StrEnum):
    """The statuses in which a job can be cancelled."""

    QUEUED = "queued"
    RUNNING = "running"


class CancelFilter(Strict):
    """Which queued and running jobs to cancel; at least one field."""

    class Meta:
        """The filters."""

        include = filter_fields(in_query=False, statuses=_Cancellable)

    @post_load
    def _job_filter(self, values: dict[str, Any], **_: Any) -> JobFilter:
        if not any(values.values()):
            raise ValidationError("It must name at least one field; all jobs at once cannot be cancelled.")
        return take_filter(values)


class CancelBody(Strict):
    """Which jobs to cancel."""

    filter = fields.Nested(
        CancelFilter(),
        required=True,
        error_messages={"required": REQUIRED, "null": "It must not be null.", "type": "It must be an object."},
    )

    @post_load
    def _job_filter(self, values: dict[str, Any], **_: Any) -> JobFilter:
        job_filter: JobFilter = values["filter"]
        return job_filter


# Out -----------------------------------------------------------------------------------------------------------------


class JobRecord(Schema):
    """A job: one execution of a worker with one input."""

    id = Id("job")
    worker_id = Id("wkr")
    tenant_id = Id("ten")
    status = Choice(Status)
    trigger = Choice(Trigger)
    priority = WholeNumber(least=priority.FIRST, most=priority.LAST)
    input = JsonText(attribute="input_json", metadata={"type": "object", "description": "The payload."})
    triggered_by = Text(
        metadata={"pattern": "^(usr|sch)_", "description": "The user who triggered it, or the schedule that made it."}
    )
    created_at = Instant()
    started_at = Instant(allow_none=True, metadata={"description": "When its current or last run started."})
    completed_at = Instant(allow_none=True, metadata={"description": "When it became final."})
    duration_ms = WholeNumber(
        least=0, most=2**53, allow_none=True, metadata={"description": "Milliseconds from its last start to its end."}
    )
    output = JsonText(attribute="output_json", allow_none=True, metadata={"description": "What its handler returned."})
    error = Text(allow_none=True, metadata={"description": "`Kind: reason` in one line, if the job failed."})
    scheduled_at = Instant(allow_none=True)
    attempt = WholeNumber(
        least=0, most=6, metadata={"description": "The number of the current or last attempt; 0 before the first."}
    )
    max_attempts = WholeNumber(least=1, most=6)
    cancel_requested_at = Instant(allow_none=True)
    cancelled_by = Text(
        allow_none=True,
        metadata={
            "pattern": "^(usr|sch)_",
            "description": "The user who cancelled it, or the schedule whose next firing did (`cancel_running`).",
        },
    )
    progress = JsonText(
        attribute="progress_json",
        allow_none=True,
        metadata={"type": ["object", "null"], "description": "What its handler reported last: fraction and message."},
    )
    retry_of = Id("job", allow_none=True, metadata={"description": "The job that this one repeats."})


class BulkJobRecord(JobRecord):
    """A job of a bulk; its input and output are null if the answer has no bytes for them."""

    input = JsonText(
        attribute="input_json",
        allow_none=True,
        metadata={"type": ["object", "null"], "description": "The payload; null if it was left out."},
    )


class LogLineRecord(Schema):
    """One line of a job's log."""

    ts = Instant(metadata={"description": "Always with milliseconds."})
    level = Choice(LogLevel)
    msg = Text()


class JobLogRecord(Schema):
    """A job's log."""

    job_id = Id("job")
    job_status = Choice(Status)
    logs = fields.List(fields.Nested(LogLineRecord))


class CancelledRecord(Schema):
    """How many jobs a call cancelled."""

    cancelled = WholeNumber(least=0, most=2**53, metadata={"description": "Queued jobs, which are cancelled now."})
    signalled = WholeNumber(least=0, most=2**53, metadata={"description": "Running jobs, which were asked to stop."})


def write_bulk_job(job: Job) -> str:
    """Returns a job of a bulk as JSON text; the bytes of what was left out follow the record's fields."""
    text = write_job(job)
    if job.input_bytes is None:
        return text
    return f'{text[:-1]},"input_bytes":{job.input_bytes},"output_bytes":{job.output_bytes or "null"}}}'


def _write_line_time(moment: datetime) -> str:
    return f'"{moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6]}Z"'


write_job = compile_schema(JobRecord())
write_log_line = compile_schema(LogLineRecord(), ts=_write_line_time)
