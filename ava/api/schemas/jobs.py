"""Jobs: schemas of requests and responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from marshmallow import ValidationError, post_load, validates_schema

from ava.api.http import paging, payloads
from ava.api.http.fields import (
    ALL_FIELDS,
    Choice,
    ClientId,
    FieldNames,
    JsonObject,
    JsonString,
    WholeNumber,
    wait_field,
)
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import RecordSchema, RecordWriter, compile_schema
from ava.api.http.strict import Changes, Strict
from ava.api.schemas.approvals import rule_field
from ava.api.schemas.job_filters import TAGS_FORM, JobFilterQuery, Tags, take_filter
from ava.api.schemas.trigger_fields import (
    StartTime,
    debounce_field,
    dedupe_field,
    expiry_field,
    refuse_two_expiries,
    refuse_two_rules,
)
from ava.domain.jobs import priority
from ava.domain.jobs.job import RECORD, Job, JobSpec, Trigger
from ava.domain.jobs.job_change import JobChange
from ava.domain.jobs.job_filter import JobFilter, JobSort
from ava.domain.jobs.retry import MAX_RETRIES
from ava.domain.limits.table import DEADLINE_SECONDS
from ava.store.jobs.reads.lists import Payloads

# In ------------------------------------------------------------------------------------------------------------------


class TriggerBody(Strict):
    """A job to trigger."""

    worker_id = ClientId("wkr", required=True, metadata={"description": "ID of the worker to run."})
    input = JsonObject(
        attribute="input_json",
        load_default="{}",
        metadata={"description": "Payload passed to the worker handler as the first argument. At most 1 MiB."},
    )
    trigger = Choice(Trigger, load_default=Trigger.MANUAL, metadata={"description": "The kind of trigger."})
    priority = WholeNumber(
        minimum=priority.FIRST,
        maximum=priority.LAST,
        load_default=priority.DEFAULT,
        metadata={
            "description": f"{priority.FIRST} (highest) to {priority.LAST} (lowest). High-priority jobs are dequeued "
            "first."
        },
    )
    scheduled_at = StartTime(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "Start time, at most a year ahead, in ISO 8601; UTC without an offset. A past time means "
            "now. Omit it to queue the job immediately."
        },
    )

    tags = Tags(
        attribute="tags_json",
        load_default="{}",
        metadata={
            "description": "Up to 10 tags for searching: keys of 1 to 32 of `a-z`, `0-9`, `_`, `.` and `-`, values "
            "of 1 to 64 characters.",
            **TAGS_FORM,
        },
    )
    expires_in_seconds = expiry_field(
        "Seconds from `scheduled_at` (without it: from creation) until the job is cancelled if it has not started. "
        "Default: the worker's."
    )
    max_retries = WholeNumber(
        minimum=0,
        maximum=MAX_RETRIES,
        load_default=None,
        allow_none=True,
        metadata={"description": "Max number of retries, if it is lower than the worker's."},
    )
    start_before = StartTime(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "Time, later than `scheduled_at`, in ISO 8601, at which the job is cancelled if it has not "
            "started. Replaces `expires_in_seconds`."
        },
    )
    dedupe = dedupe_field()
    debounce = debounce_field()
    deadline_seconds = WholeNumber(
        minimum=1,
        maximum=DEADLINE_SECONDS.value,
        load_default=None,
        allow_none=True,
        metadata={
            "description": "Seconds from `scheduled_at` (without it: from creation) until the job is stopped and "
            "fails, waits included. Default: the worker's."
        },
    )
    approval = rule_field(
        "The decision of persons that the job needs before its first start, unless an approval of its worker applies.",
        attribute="approval_json",
        load_default=None,
    )

    @post_load
    def _spec(self, values: dict[str, Any], **_: Any) -> JobSpec:
        return self.spec(values)

    def spec(self, values: dict[str, Any]) -> JobSpec:
        """Return the job of loaded values. Raises `ValidationError` for values that exclude each other."""
        refuse_two_rules(values)
        refuse_two_expiries(values)
        return JobSpec(**values)


class ChangeBody(Changes, of=TriggerBody):
    """Changes to a queued job; at least one field."""

    names = "priority scheduled_at expires_in_seconds tags"
    descriptions: ClassVar = {
        "priority": "The new priority.",
        "scheduled_at": "The new start time in ISO 8601; null or a past time: now.",
        "expires_in_seconds": "Seconds from now, or from a later `scheduled_at`, until the job is cancelled if it has "
        "not started; null: it does not expire.",
        "tags": "The new tags, which replace the earlier tags.",
    }

    @post_load
    def _change(self, values: dict[str, Any], **_: Any) -> JobChange:
        return JobChange(names=frozenset(name.removesuffix("_json") for name in values), **values)


@dataclass(frozen=True, kw_only=True)
class JobListRequest(PageRequest):
    """A page and filters of jobs."""

    job_filter: JobFilter
    #: Names of each record's fields; None for all of them with large payloads omitted, `("*",)` for all of them whole.
    fields: tuple[str, ...] | None
    #: The sort order instead of newest first.
    sort: JobSort | None

    @property
    def payloads(self) -> Payloads:
        """Return which inputs and outputs the records contain."""
        if self.fields is None:
            return Payloads()
        if self.fields == ALL_FIELDS:
            return Payloads(are_whole=True)
        return Payloads(has_input="input" in self.fields, has_output="output" in self.fields)


class ExportQuery(JobFilterQuery):
    """The parameters of the export of jobs."""

    @post_load
    def _job_filter(self, values: dict[str, Any], **_: Any) -> JobFilter:
        return take_filter(values)


class JobListQuery(PageQuery, JobFilterQuery):
    """The parameters of the list of jobs."""

    fields_ = FieldNames(
        lambda: JobRecord._declared_fields,
        data_key="fields",
        load_default=None,
        metadata={
            "description": "The fields of each record, separated by commas. Default: all fields, with null for an "
            "input or output of more than 16 KiB and its size in `input_bytes` or `output_bytes`. `*` returns "
            "everything, and a page then ends early at 8 MiB.",
        },
    )
    sort = Choice(
        JobSort,
        load_default=None,
        metadata={
            "description": "The sort order instead of newest first: by duration, by the time from due to start, or "
            "by priority; a minus sign reverses it. Sorts the matching jobs among the newest 20,000 that the other "
            "filters select, because no index has such an order. Sorted pages have numbers and no cursor."
        },
    )
    cursor = cursor_field(paging.id_reader("job"))

    @validates_schema
    def _check_sort(self, values: dict[str, Any], **_: Any) -> None:
        if values.get("sort") is not None and values.get("cursor") is not None:
            raise ValidationError("A sorted list has numbered pages; send page instead of cursor.", "cursor")
        if values.get("sort") is not None and values.get("fields_") == ALL_FIELDS:
            raise ValidationError("A sorted list cannot return whole records; name the fields in fields.", "fields")

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> JobListRequest:
        page, fields_, sort = take_page(values), values.pop("fields_"), values.pop("sort")
        return JobListRequest(**page, job_filter=take_filter(values), fields=fields_, sort=sort and JobSort(sort))


@dataclass(frozen=True, kw_only=True)
class ShowRequest:
    """The requested fields of one job, and the time to wait."""

    #: Seconds to wait until it is final; None: do not wait.
    wait_seconds: int | None
    #: Names of the fields; None for all of them.
    fields: tuple[str, ...] | None


class ShowQuery(Strict):
    """The parameters of one job."""

    wait = wait_field("the job is final")

    fields_ = FieldNames(
        lambda: JobRecord._declared_fields,
        data_key="fields",
        load_default=None,
        metadata={"description": "The fields of the record, separated by commas. Default: all fields."},
    )

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> ShowRequest:
        return ShowRequest(wait_seconds=values["wait"], fields=values["fields_"])


# Out -----------------------------------------------------------------------------------------------------------------


class JobRecord(RecordSchema, of=Job):
    """A job: one execution of a worker with one input."""

    names = RECORD
    tags = JsonString(attribute="tags_json", metadata={"description": "The tags that its caller set.", **TAGS_FORM})


_SIZES = ("input_bytes", "output_bytes")


class LightJobRecord(JobRecord, of=Job):
    """A job in a bulk or a list: a large input or output is null, and its size is given instead."""

    names = f"{RECORD} {' '.join(_SIZES)}"
    input = JsonString(
        attribute="input_json",
        allow_none=True,
        metadata={
            "type": "object",
            "description": "The payload; null if it is too large for the list, or the caller has no payload "
            "permission.",
            "payload": payloads.hide_value,
        },
    )


@lru_cache(maxsize=256)
def light_writer(names: tuple[str, ...] | None = None) -> RecordWriter:
    """Return a function that writes a job of a bulk or list as JSON, with these fields or all of them.

    The sizes of an omitted input or output follow the record's fields.
    """
    only = None if names in (None, ALL_FIELDS) else names
    plain = write_job if only is None else compile_schema(JobRecord(only=only))
    if names is not None and not {"input", "output"}.intersection(names):
        return plain
    light = compile_schema(LightJobRecord(only=only and (*only, *_SIZES)))
    return RecordWriter(_either(plain.whole, light.whole), _either(plain.hidden, light.hidden))


def _either(write: Callable[[Job], str], write_light: Callable[[Job], str]) -> Callable[[Job], str]:
    return lambda job: write_light(job) if job.is_light else write(job)


write_job = compile_schema(JobRecord())
