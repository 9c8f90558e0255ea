"""`/v1/ava/schedules`: start workers by a cron pattern in a time zone, or by an interval below a minute."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import PageRequest, id_reader, page_of, page_query
from ava.api.http.strict import DryRunQuery, NoBody
from ava.api.routes.audit import record_change
from ava.api.routes.jobs import created
from ava.api.routes.resource_calls import ResourceCalls
from ava.api.schemas.jobs import JobRecord
from ava.api.schemas.schedules import (
    FiringRecord,
    NextQuery,
    PreviewBody,
    PreviewRecord,
    PreviewRequest,
    ScheduleBody,
    ScheduleChangeBody,
    ScheduleDeletedRecord,
    ScheduleListQuery,
    ScheduleRecord,
    SlotRecord,
    write_firing,
    write_preview,
    write_schedule,
    write_slot,
)
from ava.domain.limits import table as limits
from ava.domain.schedules.schedule_record import ScheduleSpec

blueprint = Blueprint("schedules", __name__, url_prefix="/v1/ava/schedules")
_calls = ResourceCalls(
    blueprint=blueprint,
    rule="/<schedule:schedule_id>",
    noun="a schedule",
    find=lambda: context().schedules,
    write=write_schedule,
    record=ScheduleRecord(),
)


@blueprint.post("")
@operation(
    summary="Create a schedule",
    call=PublicCall(
        arguments="worker_id cron timezone",
        options={"enabled": ""},
        help="Create a schedule of a worker.\n\nThe pattern has five fields: minute, hour, day of month, month, day "
        "of week. The time zone is an IANA name. An interval below a minute replaces both.",
        example='"0 3 * * *" Europe/Berlin --overlap skip',
        tool="create_schedule",
    ),
    description="From now on the schedule creates a job at each slot, i.e. at each local time in its time zone that "
    "matches its cron pattern, or at each multiple of `every_seconds` since the Unix epoch. Each slot fires exactly "
    "once, even when clocks change or a process crashes.",
    body=ScheduleBody(),
    body_as="spec",
    max_bytes=limits.SCHEDULE_BODY_BYTES,
    record=ScheduleRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    takes_key=True,
)
def create(spec: ScheduleSpec, key: str | None) -> Response:
    schedule, is_replay = context().schedules.create(caller(), spec, key)
    return _calls.created(schedule, is_replay=is_replay)


_calls.add_list(
    ScheduleListQuery(),
    "schedule_filter",
    reads_standby=True,
    call=PublicCall(
        options={"enabled": ""},
        help="List schedules, newest first.",
        columns="id* name? worker_id CRON=timing timezone+ NEXT=next_firing LAST=last_run_at+",
    ),
)


@blueprint.post("/preview")
@operation(
    summary="Preview a cron pattern",
    call=PublicCall(
        arguments="cron timezone count",
        options={"count": "--count"},
        help="Print a pattern or an interval in words, and its next firings; nothing is saved.",
        example='"0 3 * * *" Europe/Berlin',
        tool="preview_schedule",
    ),
    description="The pattern in words, and its next slots. Nothing is stored.",
    body=PreviewBody(),
    body_as="preview",
    max_bytes=limits.SCHEDULE_BODY_BYTES,
    record=PreviewRecord(),
    failures=(413, 415, 422),
)
def show_preview(preview: PreviewRequest) -> Response:
    return responses.data(write_preview(context().schedules.preview(preview.spec, preview.count)))


_calls.add_show()


@blueprint.patch("/<schedule:schedule_id>")
@operation(
    summary="Update a schedule",
    call=PublicCall(
        options={"enabled": ""},
        help="Change a schedule. Its next firing is computed from now.",
        example='--cron "30 3 * * *" --unset ends-at',
    ),
    description="Changes only the fields in the body. After a change of the pattern, the time zone, the dates or "
    "`enabled`, the next firing is at the first slot from now on. Worker, pattern and time zone of a schedule that a "
    "handler module declares cannot be changed: 409. If a tenant role may not request the schedule's priority, it "
    "must send another one with any change beyond `name` and `enabled`: 422.",
    body=ScheduleChangeBody(),
    body_as="changes",
    max_bytes=limits.SCHEDULE_BODY_BYTES,
    record=ScheduleRecord(),
    failures=(404, 409, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
)
def change(schedule_id: str, changes: dict[str, Any]) -> Response:
    before = write_schedule(context().schedules.show(caller(), schedule_id))
    after = write_schedule(context().schedules.change(caller(), schedule_id, changes))
    record_change(before, after, ScheduleChangeBody().fields)
    return responses.data(after)


_calls.add_pauses(
    pause="Firings are skipped until the schedule is resumed. Its jobs continue.",
    resume="The next firing is at the first slot from now on; skipped firings are not caught up.",
)
_calls.add_delete("Deletes the schedule and its firings immediately. Its jobs continue.", ScheduleDeletedRecord())


@blueprint.get("/<schedule:schedule_id>/next")
@operation(
    summary="List a schedule's next slots",
    call=PublicCall(
        arguments="count",
        options={"count": "--count"},
        help="Print the next firings of a schedule.",
        example="--count 3",
        columns="slot at note?",
    ),
    description="Earliest first, from now on, without the delay of `spread_seconds`; also for a paused schedule.",
    query=NextQuery(),
    query_as="count",
    record=SlotRecord(),
    is_array=True,
    failures=(404,),
)
def list_next(schedule_id: str, count: int) -> Response:
    return responses.data(
        _array(write_slot(found) for found in context().schedules.next_firing_times(caller(), schedule_id, count))
    )


def _array(items: Iterable[str]) -> str:
    return f"[{','.join(items)}]"


@blueprint.post("/<schedule:schedule_id>/run")
@operation(
    summary="Run a schedule now",
    call=PublicCall(help="Trigger a job now, with a schedule's worker, input and priority."),
    description="Triggers a job with the worker, input and priority of the schedule, or with the most urgent "
    "priority that the caller's role may request. It does not count as a firing, and the next firing is unchanged.",
    body=NoBody(),
    may_be_empty=True,
    record=JobRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
    takes_key=True,
)
def run(schedule_id: str, key: str | None) -> Response:
    return created(*context().schedules.run(caller(), schedule_id, key))


@blueprint.get("/<schedule:schedule_id>/firings")
@operation(
    summary="List a schedule's firings",
    call=PublicCall(help="List a schedule's firings, newest first.", columns="slot AT=at+ outcome JOB=job_id? reason!"),
    description="Newest first: each past slot, with the created job or the reason why there is none. Firings are "
    "retained as long as jobs.",
    query=page_query(id_reader("fir")),
    record=FiringRecord(),
    is_list=True,
    failures=(404,),
    reads_standby=True,
)
def list_firings(schedule_id: str, query: PageRequest) -> Response:
    found, total = context().schedules.firings(caller(), schedule_id, bounds=query.bounds)
    return page_of(query, found, total, write_firing)
