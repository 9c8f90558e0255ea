"""Bulk operations: schemas of requests and responses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from marshmallow import ValidationError, fields, post_load

from ava.api.http import paging
from ava.api.http.fields import Choice, Flag, filtered, wait_field
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.api.schemas.job_filters import filter_fields, take_filter
from ava.domain.jobs.bulk_operation import BulkOperation, BulkState, JobCount
from ava.domain.jobs.job_filter import JobFilter

_MAX_COUNT = 2**53


# In ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class BulkActionRequest:
    """The jobs to act on."""

    job_filter: JobFilter
    is_dry_run: bool


class _Cancellable(StrEnum):
    """The statuses of jobs that can be cancelled."""

    QUEUED = "queued"
    RUNNING = "running"


class _Retryable(StrEnum):
    """The statuses of jobs that can be retried."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class _SomeJobs(Strict):
    """A filter with at least one restriction."""

    @post_load
    def _job_filter(self, values: dict[str, Any], **_: Any) -> JobFilter:
        if not any(values.values()):
            raise ValidationError("It must have at least one field, so that no operation selects all jobs by accident.")
        return take_filter(values)


class CancelFilter(_SomeJobs):
    """Which queued and running jobs to cancel; at least one field."""

    class Meta:
        """The filters."""

        include = filter_fields(in_query=False, statuses=_Cancellable, with_searched=True)


class RetryFilter(_SomeJobs):
    """Which final jobs to retry; at least one field."""

    class Meta:
        """The filters."""

        include = filter_fields(in_query=False, statuses=_Retryable, with_searched=True)


def _filter_field(schema: Strict) -> fields.Nested:
    return fields.Nested(
        schema,
        required=True,
    )


class _ManyBody(Strict):
    """On which jobs to act."""

    dry_run = Flag(
        load_default=False,
        metadata={"description": "True: return 200 with the number of matching jobs, and change no job."},
    )

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> BulkActionRequest:
        return BulkActionRequest(job_filter=values["filter"], is_dry_run=values["dry_run"])


class CancelManyBody(_ManyBody):
    """Which jobs to cancel."""

    filter = _filter_field(CancelFilter())


class RetryManyBody(_ManyBody):
    """Which jobs to retry."""

    filter = _filter_field(RetryFilter())


@dataclass(frozen=True, kw_only=True)
class OperationListRequest(PageRequest):
    """A page and filters of operations."""

    state: BulkState | None


class OperationListQuery(PageQuery):
    """The parameters of the list of operations."""

    state = Choice(BulkState, **filtered("state", "Only operations in this state."))
    cursor = cursor_field(paging.id_reader("op"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> OperationListRequest:
        return OperationListRequest(**take_page(values), **values)


class OperationQuery(Strict):
    """The parameters of one operation."""

    wait = wait_field("the operation has ended")

    @post_load
    def _seconds(self, values: dict[str, Any], **_: Any) -> int | None:
        seconds: int | None = values["wait"]
        return seconds


# Out -----------------------------------------------------------------------------------------------------------------


class CountRecord(RecordSchema, of=JobCount):
    """How many jobs an operation would take."""


class OperationRecord(RecordSchema, of=BulkOperation):
    """An operation on all jobs that a filter finds."""

    names = "id kind filter state total done failed created_by created_at completed_at result reason"


write_operation = compile_schema(OperationRecord())
write_count = compile_schema(CountRecord())
