"""Series for charts: schemas of requests and responses."""

from __future__ import annotations

import json
from typing import Any

from marshmallow import Schema, fields

from ava.api.http.fields import Choice, ClientId, Instant, Number, String, WholeNumber, filtered
from ava.api.http.paging import TimeRangeQuery
from ava.api.schemas.setting_fields import BoundedString, Scope
from ava.domain.jobs import priority
from ava.domain.record import format_time
from ava.domain.series import DEFAULT_RANGE_SECONDS, MAX_RANGE_SECONDS, MIN_RANGE_SECONDS, MarkType, Series, Times

_LONGEST_QUEUE = 200


class SeriesQuery(TimeRangeQuery):
    """The parameters of series."""

    range_seconds = WholeNumber(
        minimum=MIN_RANGE_SECONDS,
        maximum=MAX_RANGE_SECONDS,
        is_string=True,
        load_default=DEFAULT_RANGE_SECONDS,
        metadata={"description": "Without `since`: the length of the range that ends at `until`, or now."},
    )
    worker_id = ClientId("wkr", **filtered("worker_id", "Only the jobs of this worker."))
    queue = BoundedString(
        data_key="filter[queue]",
        longest=_LONGEST_QUEUE,
        load_default=None,
        allow_none=False,
        metadata={"description": "Only the jobs of the workers with this queue, and its backlog."},
    )
    tenant_id = ClientId("ten", **filtered("tenant_id", "For platform-admin and above: the jobs of this tenant."))
    scope = Choice(
        Scope,
        load_default=Scope.TENANT,
        metadata={"description": "For platform-admin and above: `platform` for the jobs of all tenants together."},
    )


# Out -------------------------------------------------------------------------------------------------------------


def _values(description: str) -> fields.List[Any]:
    return fields.List(Number(allow_none=True), metadata={"description": description})


class TimeSeriesRecord(Schema):
    """Percentiles in milliseconds, one value per point; null: no job. Interpolated within the buckets of metrics."""

    p50_ms = _values("Half of the jobs took at most this.")
    p95_ms = _values("95 % took at most this.")
    p99_ms = _values("99 % took at most this.")


class EndedSeriesRecord(Schema):
    """The number of jobs that ended in each step; null: not counted yet."""

    completed = _values("Completed jobs.")
    failed = _values("Failed jobs.")
    cancelled = _values("Cancelled jobs.")


class BacklogRecord(Schema):
    """The waiting jobs of one queue and priority; both null: of all further ones together."""

    queue = String(allow_none=True)
    priority = WholeNumber(minimum=priority.FIRST, maximum=priority.LAST, allow_none=True)
    jobs = _values("The highest sample of each step; null: no sample.")


class FailureKindRecord(Schema):
    """The failed jobs with one kind of error; null: with all further kinds together."""

    kind = String(allow_none=True)
    jobs = _values("Failed jobs.")


class MarkRecord(Schema):
    """A deploy or a pause."""

    type = Choice(MarkType, metadata={"description": "`deploy`: a node started with another `AVA_CODE_VERSION`."})
    name = String(metadata={"description": "The code version, the worker's id, or the queue."})
    starts_at = Instant()
    ends_at = Instant(
        allow_none=True, metadata={"description": "The end of a pause, within a minute; null while it continues."}
    )


class ChartSeriesRecord(Schema):
    """Series with one value for each step from `since` to `until`."""

    since = Instant(metadata={"description": "The start of the first step: a multiple of the step in UTC."})
    until = Instant(metadata={"description": "The end of the last step."})
    step_seconds = WholeNumber(minimum=60, maximum=86_400)
    counted_until = Instant(metadata={"description": "The time until which ended jobs are counted."})
    ended = fields.Nested(EndedSeriesRecord)
    start = fields.Nested(
        TimeSeriesRecord, metadata={"description": "From a job's due time to its start, on its first attempt."}
    )
    run = fields.Nested(TimeSeriesRecord, metadata={"description": "From a handler's start to its end."})
    running = _values("Running jobs: the highest sample of each step, one per minute; null: no sample.")
    max_running = _values(
        "The concurrency limit of the worker or tenant; of all tenants together, the processes of live nodes. Null: no "
        "limit, or nothing was running."
    )
    backlog = fields.List(
        fields.Nested(BacklogRecord),
        metadata={"description": "The largest first. Of a queue and priority about 20,000 jobs are counted."},
    )
    failures = fields.List(fields.Nested(FailureKindRecord), metadata={"description": "The most frequent first."})
    marks = fields.List(fields.Nested(MarkRecord), metadata={"description": "Oldest first."})


def write_series(found: Series) -> str:
    """Return series as JSON."""
    record: dict[str, Any] = {
        "since": format_time(found.grid.since),
        "until": format_time(found.grid.until),
        "step_seconds": found.grid.step_seconds,
        "counted_until": format_time(found.counted_until),
        "ended": {"completed": found.completed, "failed": found.failed, "cancelled": found.cancelled},
        "start": _times(found.start),
        "run": _times(found.run),
        "running": found.running,
        "max_running": found.max_running,
        "backlog": [{"queue": each.queue, "priority": each.priority, "jobs": each.jobs} for each in found.backlog],
        "failures": [{"kind": each.kind, "jobs": each.jobs} for each in found.failures],
        "marks": [
            {
                "type": each.type,
                "name": each.name,
                "starts_at": format_time(each.starts_at),
                "ends_at": None if each.ends_at is None else format_time(each.ends_at),
            }
            for each in found.marks
        ],
    }
    return json.dumps(record, separators=(",", ":"))


def _times(found: Times) -> dict[str, Any]:
    return {"p50_ms": found.p50, "p95_ms": found.p95, "p99_ms": found.p99}
