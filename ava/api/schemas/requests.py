"""What goes in: with `ava.api.schemas.records` the one definition, which also makes /openapi.json."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from ava.api.http import cursors
from ava.api.http.fields import REQUIRED, Choice, ClientId, Cursor, Instant, JsonObject, QueryInstant, WholeNumber
from ava.domain import priority
from ava.domain.job import JobSpec, LogLevel, Status, Trigger
from ava.domain.paging import DEEPEST_ROW
from ava.store.jobs.reads import JobFilter

__all__ = [
    "BulkBody",
    "CancelBody",
    "JobList",
    "JobListQuery",
    "LogsQuery",
    "LogsQueryValues",
    "NoBody",
    "NoParameters",
    "ShowQuery",
    "TriggerBody",
    "WorkerList",
    "WorkerListQuery",
]

#: How many jobs one call may trigger.
MOST_IN_BULK = 1_000


class _Strict(Schema):
    """What comes in: a field that is not known is refused, and those that are known are named."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        names = ", ".join(field.data_key or name for name, field in self.load_fields.items())
        known = f"known are {names}" if names else "nothing is"
        self.error_messages = self.error_messages | {
            "unknown": f"It is not known here; {known}.",
            "type": "It must be an object.",
        }


class NoParameters(_Strict):
    """A route that takes no parameters."""


class NoBody(_Strict):
    """A route that takes no fields: its body is empty, or an empty object."""


class TriggerBody(_Strict):
    """A job to trigger."""

    worker_id = ClientId("wkr", required=True, metadata={"description": "ID of the worker to run."})
    input = JsonObject(
        load_default="{}",
        metadata={"description": "Payload passed to the worker handler as the first argument. At most 1 MiB."},
    )
    trigger = Choice(Trigger, load_default=Trigger.MANUAL, metadata={"description": "What made the job."})
    priority = WholeNumber(
        least=priority.FIRST,
        most=priority.LAST,
        load_default=priority.DEFAULT,
        metadata={"description": "1 (highest) to 10 (lowest). High-priority jobs are dequeued first."},
    )
    scheduled_at = Instant(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "ISO 8601 datetime to delay execution until; without an offset it is UTC, and in the past "
            "it means now. Omit for immediate queuing."
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


class _PageQuery(_Strict):
    """The parameters of every list."""

    page = WholeNumber(
        least=1,
        most=DEEPEST_ROW,
        is_text=True,
        load_default=None,
        allow_none=False,
        metadata={"description": "The page, from 1."},
    )
    per_page = WholeNumber(
        least=1, most=100, is_text=True, load_default=20, metadata={"description": "How many there are on a page."}
    )

    @validates_schema
    def _one_way(self, values: dict[str, Any], **_: Any) -> None:
        page, per_page = values.get("page"), values.get("per_page", 20)
        if page is not None and values.get("cursor") is not None:
            raise ValidationError("Send page or cursor, not both.", "cursor")
        if page is not None and (page - 1) * per_page >= DEEPEST_ROW:
            raise ValidationError(
                f"It lies deeper than {DEEPEST_ROW:,} entries; follow next_cursor with cursor instead.", "page"
            )


@dataclass(frozen=True, kw_only=True)
class JobList:
    """Which jobs a list shows."""

    job_filter: JobFilter
    page: int | None
    per_page: int
    #: The job after which to go on, where a cursor was sent.
    before_id: str | None


class JobListQuery(_PageQuery):
    """The parameters of the list of jobs."""

    worker_id = ClientId(
        "wkr",
        data_key="filter[worker_id]",
        load_default=None,
        allow_none=False,
        metadata={"description": "Filter to a specific worker."},
    )
    status = Choice(
        Status,
        data_key="filter[status]",
        load_default=None,
        allow_none=False,
        metadata={"description": "Filter to one status."},
    )
    trigger = Choice(
        Trigger,
        data_key="filter[trigger]",
        load_default=None,
        allow_none=False,
        metadata={"description": "Filter to one trigger."},
    )
    created_after = QueryInstant(
        data_key="filter[created_after]",
        load_default=None,
        allow_none=False,
        metadata={"description": "ISO 8601 lower bound, inclusive."},
    )
    created_before = QueryInstant(
        data_key="filter[created_before]",
        load_default=None,
        allow_none=False,
        metadata={"description": "ISO 8601 upper bound, exclusive."},
    )
    cursor = Cursor(
        cursors.to_job_id,
        load_default=None,
        allow_none=False,
        metadata={"description": "The next_cursor of the page before, for what follows it."},
    )

    @post_load
    def _list(self, values: dict[str, Any], **_: Any) -> JobList:
        page, per_page, before_id = values.pop("page"), values.pop("per_page"), values.pop("cursor")
        return JobList(job_filter=JobFilter(**values), page=page, per_page=per_page, before_id=before_id)


@dataclass(frozen=True, kw_only=True)
class WorkerList:
    """Which workers a list shows."""

    page: int | None
    per_page: int
    #: The worker after which to go on, where a cursor was sent.
    after_id: str | None


class WorkerListQuery(_PageQuery):
    """The parameters of the list of workers."""

    cursor = Cursor(
        cursors.to_worker_id,
        load_default=None,
        allow_none=False,
        metadata={"description": "The next_cursor of the page before, for what follows it."},
    )

    @post_load
    def _list(self, values: dict[str, Any], **_: Any) -> WorkerList:
        return WorkerList(page=values["page"], per_page=values["per_page"], after_id=values["cursor"])


@dataclass(frozen=True, kw_only=True)
class LogsQueryValues:
    """Which lines of a log are shown."""

    level: LogLevel | None
    limit: int
    #: The cursor as it was sent; which job it belongs to is seen later.
    after: str | None


class LogsQuery(_Strict):
    """The parameters of a job's log."""

    level = Choice(
        LogLevel,
        data_key="filter[level]",
        load_default=None,
        allow_none=False,
        metadata={"description": "Filter to one level."},
    )
    limit = WholeNumber(
        least=1, most=500, is_text=True, load_default=100, metadata={"description": "Max log lines to return."}
    )
    after = Cursor(
        lambda text: text,
        load_default=None,
        allow_none=False,
        metadata={"description": "The next_cursor of an earlier answer, for the lines that follow it."},
    )

    @post_load
    def _values(self, values: dict[str, Any], **_: Any) -> LogsQueryValues:
        return LogsQueryValues(**values)


class ShowQuery(_Strict):
    """The parameters of one job."""

    wait = WholeNumber(
        least=1,
        most=60,
        is_text=True,
        load_default=None,
        allow_none=False,
        metadata={"description": "Seconds for which the answer is held until the job is final."},
    )

    @post_load
    def _seconds(self, values: dict[str, Any], **_: Any) -> int | None:
        seconds: int | None = values["wait"]
        return seconds


class BulkBody(_Strict):
    """Many jobs to trigger, all or none."""

    jobs = fields.List(
        fields.Nested(TriggerBody()),
        required=True,
        validate=validate.Length(1, MOST_IN_BULK, error="There must be {min} to {max} of them."),
        error_messages={"required": REQUIRED, "null": "It must not be null.", "invalid": "It must be a list."},
    )

    @post_load
    def _specs(self, values: dict[str, Any], **_: Any) -> list[JobSpec]:
        specs: list[JobSpec] = values["jobs"]
        return specs


class _Cancellable(StrEnum):
    """The states in which a job can be cancelled."""

    QUEUED = "queued"
    RUNNING = "running"


class CancelFilter(_Strict):
    """Which queued and running jobs; at least one field."""

    worker_id = ClientId("wkr", load_default=None, allow_none=False)
    status = Choice(_Cancellable, load_default=None, allow_none=False)
    trigger = Choice(Trigger, load_default=None, allow_none=False)
    created_after = Instant(load_default=None, allow_none=False)
    created_before = Instant(load_default=None, allow_none=False)

    @post_load
    def _job_filter(self, values: dict[str, Any], **_: Any) -> JobFilter:
        if not any(values.values()):
            raise ValidationError("It must name at least one field; all jobs at once cannot be cancelled.")
        status = values["status"] and Status(values["status"])
        return JobFilter(**values | {"status": status})


class CancelBody(_Strict):
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
