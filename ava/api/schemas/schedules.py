"""Schedules and their firings: schemas of requests and responses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validates_schema

from ava.api.http import paging
from ava.api.http.fields import (
    REQUIRED,
    ClientId,
    Flag,
    Instant,
    JsonObject,
    QueryFlag,
    String,
    WholeNumber,
    filtered,
)
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import RecordSchema, compile_schema, deleted_record
from ava.api.http.strict import Changes, Strict
from ava.api.schemas.approvals import rule_field, shown_rule
from ava.api.schemas.pause_fields import paused_filter
from ava.domain.limits.table import SCHEDULE_INPUT_BYTES
from ava.domain.schedules.cron import LONGEST_CRON, CronError
from ava.domain.schedules.firing import Firing
from ava.domain.schedules.schedule import FiringTime, check_cron, check_timezone
from ava.domain.schedules.schedule_record import (
    RECORD,
    Schedule,
    ScheduleSpec,
    format_local_time,
)
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


_APPROVAL = "The decision of persons that each job needs before its first start, if none of its worker applies."


def _check_timing(values: dict[str, Any], *, is_whole: bool) -> None:
    """Raise `ValidationError` unless there is an interval, or a pattern with its time zone.

    `is_whole`: whether one of them is required.
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
    approval = rule_field(_APPROVAL, attribute="approval_json", load_default=None)

    @post_load
    def _spec(self, values: dict[str, Any], **_: Any) -> ScheduleSpec:
        enabled, paused = values.pop("enabled", None), values.pop("paused", None)
        if enabled is not None and enabled is paused:
            raise ValidationError("It contradicts enabled; send only one of them.", "paused")
        return ScheduleSpec(
            enabled=not paused if enabled is None else enabled,
            **values,
        )


class ScheduleChangeBody(Changes, of=ScheduleBody, without="paused"):
    """Changes to a schedule; at least one field."""

    enabled = Flag(
        metadata={
            "description": "False pauses the schedule, true resumes it: it fires from now on, and earlier firings are "
            "not caught up."
        }
    )

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
    approval = shown_rule(_APPROVAL, attribute="approval_json")


ScheduleDeletedRecord = deleted_record("ScheduleDeletedRecord", "sch")
_SLOT_TEXT = {"description": "The local time, without an offset.", "example": "2026-10-25T02:30"}
_NOTE_TEXT = {
    "type": ["string", "null"],
    "enum": ["gap", "overlap", None],
    "description": "`gap`: clocks go forward and skip this local time; `overlap`: clocks go back and this local time "
    "occurs twice.",
}


class SlotRecord(Schema):
    """A local time of a pattern, and its instant."""

    slot = String(attribute="local_time", metadata=_SLOT_TEXT)
    at = Instant()
    note = String(allow_none=True, metadata=_NOTE_TEXT)


class PreviewRecord(Schema):
    """A pattern in words, and its next slots."""

    description = String(metadata={"description": "The cron pattern, or the interval, in words."})
    next = fields.List(fields.Nested(SlotRecord))


class FiringRecord(RecordSchema, of=Firing):
    """A past slot, and its outcome."""

    names = "slot at outcome reason job_id"
    slot = String(attribute="local_time", metadata=_SLOT_TEXT)


def _write_slot(local_time: datetime) -> str:
    return f'"{format_local_time(local_time)}"'


def _write_slots(found: Iterable[FiringTime]) -> str:
    return f"[{','.join(map(write_slot, found))}]"


write_schedule = compile_schema(ScheduleRecord())
write_slot = compile_schema(SlotRecord(), slot=_write_slot)
write_preview = compile_schema(PreviewRecord(), next=_write_slots)
write_firing = compile_schema(FiringRecord(), slot=_write_slot)
