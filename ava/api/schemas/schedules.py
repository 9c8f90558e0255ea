"""Schedules and their firings: schemas of requests and responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from marshmallow import ValidationError, post_load, validates_schema

from ava.api.http import paging
from ava.api.http.fields import (
    REQUIRED,
    ClientId,
    Flag,
    JsonObject,
    QueryFlag,
    String,
    WholeNumber,
    filtered,
)
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import RecordSchema, compile_schema, deleted_record
from ava.api.http.strict import Changes, Strict
from ava.api.schemas.approvals import rule_field
from ava.api.schemas.pause_fields import paused_filter
from ava.domain.limits.table import SCHEDULE_INPUT_BYTES
from ava.domain.schedules.cron import LONGEST_CRON, CronError
from ava.domain.schedules.firing import Firing
from ava.domain.schedules.schedule import FiringTime, Preview, check_cron, check_timezone
from ava.domain.schedules.schedule_record import APPROVAL, RECORD, Schedule, ScheduleSpec
from ava.store.schedules.definitions import ScheduleFilter

MAX_SLOTS = 50
_DEFAULT_SLOTS = 10


# In ------------------------------------------------------------------------------------------------------------------


class _Cron(String):
    """A cron pattern."""

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError('It must be a string of five fields, such as "30 9 * * 1-5".')
        try:
            check_cron(value)
        except CronError as error:
            raise ValidationError(str(error).removeprefix("cron: ")) from None
        return value


class _TimeZone(String):
    """The IANA name of a time zone; an alias is stored unchanged."""

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("It must be the IANA name of a time zone, such as Europe/Berlin.")
        try:
            check_timezone(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return value


def _check_timing(values: dict[str, Any], *, is_whole: bool) -> None:
    """Raise `ValidationError` unless there is an interval, or a pattern with its time zone.

    `is_whole`: missing values are errors.
    """
    if values.get("every_seconds") is not None:
        for name in ("cron", "timezone"):
            if values.get(name) is not None:
                raise ValidationError(f"It cannot be combined with every_seconds; send {name} or every_seconds.", name)
    elif is_whole:
        for name in ("cron", "timezone"):
            if values.get(name) is None:
                raise ValidationError(REQUIRED, name)


class PatternBody(Strict, of=ScheduleSpec):
    """A pattern with its time zone, or an interval."""

    names = "cron timezone every_seconds"
    cron = _Cron(metadata={"maxLength": LONGEST_CRON})
    timezone = _TimeZone()

    @validates_schema
    def _timing(self, values: dict[str, Any], **_: Any) -> None:
        _check_timing(values, is_whole=True)


class ScheduleBody(PatternBody, of=ScheduleSpec):
    """A schedule to create: `cron` with `timezone`, or `every_seconds`."""

    names = (
        "worker_id cron timezone every_seconds name input priority enabled paused overlap catch_up catch_up_seconds "
        "spread_seconds starts_at ends_at expires_in_seconds approval"
    )
    input = JsonObject(attribute="input_json", load_default="{}", limit=SCHEDULE_INPUT_BYTES)
    enabled = Flag(metadata={"description": "The opposite of `paused`."})
    paused = Flag(metadata={"description": "True: the schedule does not fire until it is resumed.  Default: it fires."})
    approval = rule_field(APPROVAL, attribute="approval_json", load_default=None)

    @post_load
    def _spec(self, values: dict[str, Any], **_: Any) -> ScheduleSpec:
        enabled, paused = values.pop("enabled", None), values.pop("paused", None)
        if enabled is not None and enabled is paused:
            raise ValidationError("It contradicts enabled; send either paused or enabled.", "paused")
        return ScheduleSpec(
            enabled=not paused if enabled is None else enabled,
            **values,
        )


class ScheduleChangeBody(Changes, of=ScheduleBody, without="paused"):
    """Changes to a schedule; at least one field."""

    descriptions: ClassVar = {
        "enabled": "False pauses the schedule, true resumes it: it fires from now on, and earlier firings are not "
        "caught up."
    }

    @validates_schema
    def _timing(self, values: dict[str, Any], **_: Any) -> None:
        _check_timing(values, is_whole=False)


@dataclass(frozen=True, kw_only=True)
class ScheduleListRequest(PageRequest):
    """A page and filters of schedules."""

    schedule_filter: ScheduleFilter


class ScheduleListQuery(PageQuery):
    """The parameters of the list of schedules."""

    worker_id = ClientId("wkr", **filtered("worker_id", "Only schedules of this worker."))
    enabled = QueryFlag(**filtered("enabled", "Only schedules that fire (true), or only paused schedules (false)."))
    is_paused = paused_filter("schedules")
    cursor = cursor_field(paging.id_reader("sch"))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> ScheduleListRequest:
        page = take_page(values)
        return ScheduleListRequest(**page, schedule_filter=ScheduleFilter(**values))


def _slot_count(**rest: Any) -> WholeNumber:
    metadata = {"description": "The number of slots to list."}
    return WholeNumber(minimum=1, maximum=MAX_SLOTS, load_default=_DEFAULT_SLOTS, metadata=metadata, **rest)


class NextQuery(Strict):
    """The number of slots to list."""

    count = _slot_count(is_string=True)

    @post_load
    def _count(self, values: dict[str, Any], **_: Any) -> int:
        count: int = values["count"]
        return count


@dataclass(frozen=True, kw_only=True)
class PreviewRequest:
    """A pattern or an interval, and the number of its slots to preview."""

    spec: ScheduleSpec
    count: int


class PreviewBody(PatternBody):
    """A pattern with its time zone, or an interval, to preview."""

    count = _slot_count()

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> PreviewRequest:
        count: int = values.pop("count")
        return PreviewRequest(spec=ScheduleSpec(worker_id="", **values), count=count)


# Out -----------------------------------------------------------------------------------------------------------------


class ScheduleRecord(RecordSchema, of=Schedule):
    """A schedule: a worker, and the cron pattern or the interval that starts it."""

    names = RECORD


ScheduleDeletedRecord = deleted_record("ScheduleDeletedRecord", "sch")


class SlotRecord(RecordSchema, of=FiringTime):
    """A local time of a pattern, and its instant."""

    names = "slot at note"


class PreviewRecord(RecordSchema, of=Preview):
    """A pattern in words, and its next slots."""


class FiringRecord(RecordSchema, of=Firing):
    """A past slot, and its outcome."""

    names = "slot at outcome reason job_id"


write_schedule = compile_schema(ScheduleRecord())
write_slot = compile_schema(SlotRecord())
write_preview = compile_schema(PreviewRecord())
write_firing = compile_schema(FiringRecord())
