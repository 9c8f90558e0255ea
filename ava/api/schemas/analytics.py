"""Analytics: schemas of requests and responses."""

from __future__ import annotations

import json
from typing import Any

from marshmallow import Schema, fields

from ava.api.http.fields import Choice, ClientId, Instant, Number, QueryFlag, WholeNumber, filtered
from ava.api.http.strict import Strict
from ava.domain.analytics import MAX_DAYS, Analytics, EndedCounts, GroupBy, Percentiles
from ava.domain.jobs.job import Trigger
from ava.domain.record import format_time

_MAX_COUNT = 2**53
_DEFAULT_DAYS = 30


def days_field() -> WholeNumber:
    """The parameter `days`."""
    return WholeNumber(
        minimum=1,
        maximum=MAX_DAYS,
        is_string=True,
        load_default=_DEFAULT_DAYS,
        metadata={"description": "The length of the period in days: today and the full days before it."},
    )


class AnalyticsQuery(Strict):
    """The parameters of analytics."""

    days = days_field()
    group_by = Choice(
        GroupBy, load_default=None, allow_none=False, metadata={"description": "Add a series by hour or by day."}
    )
    worker_id = ClientId("wkr", **filtered("worker_id", "Count only the jobs of this worker."))
    percentiles = QueryFlag(
        load_default=False,
        metadata={"description": "True to add percentiles of waiting and run times, accurate within 2 %."},
    )


# Out -------------------------------------------------------------------------------------------------------------


def _count(**metadata: Any) -> WholeNumber:
    return WholeNumber(minimum=0, maximum=_MAX_COUNT, metadata=metadata)


class TriggerCounts(Schema):
    """The number of jobs by trigger; a trigger without jobs is omitted."""

    manual = _count()
    scheduled = _count()
    webhook = _count()
    event = _count()


class EndedRecord(Schema):
    """The jobs that ended in the period."""

    total = _count()
    completed = _count()
    failed = _count()
    cancelled = _count()
    expired = _count(description="The cancelled jobs that expired before they started.")
    success_rate = Number(
        allow_none=True, metadata={"description": "Completed jobs as a percentage of `total`; null if `total` is 0."}
    )
    avg_duration_ms = WholeNumber(
        minimum=0,
        maximum=_MAX_COUNT,
        allow_none=True,
        metadata={"description": "The average duration of the jobs that ran, in milliseconds; null if none ran."},
    )
    by_trigger = fields.Nested(TriggerCounts)
    cpu_ms = _count(description="Total CPU time of the jobs that ran, in milliseconds, as far as it is known.")
    wait_ms = _count(description="Total time that the jobs waited before they started, in milliseconds.")


class WorkerCountsRecord(Schema):
    """The jobs of one worker."""

    total = _count()
    completed = _count()
    failed = _count()
    expired = _count()
    avg_duration_ms = WholeNumber(minimum=0, maximum=_MAX_COUNT, allow_none=True)
    cpu_ms = _count()
    wait_ms = _count()


class SeriesRecord(Schema):
    """The jobs that ended in one hour or day."""

    starts_at = Instant()
    total = _count()
    completed = _count()
    failed = _count()
    cancelled = _count()
    expired = _count(description="The cancelled jobs that expired before they started.")
    avg_duration_ms = WholeNumber(minimum=0, maximum=_MAX_COUNT, allow_none=True)
    cpu_ms = _count()
    wait_ms = _count()


class PercentilesRecord(Schema):
    """Percentiles of times, within 2 %."""

    p50_ms = Number(allow_none=True)
    p95_ms = Number(allow_none=True)
    p99_ms = Number(allow_none=True)


class TimesRecord(Schema):
    """How long jobs waited, from the time they were due to their start, and ran."""

    wait = fields.Nested(PercentilesRecord)
    run = fields.Nested(PercentilesRecord)


class AnalyticsRecord(Schema):
    """Statistics of the jobs that ended in a period."""

    period_days = WholeNumber(minimum=1, maximum=MAX_DAYS)
    since = Instant(metadata={"description": "Midnight UTC."})
    jobs = fields.Nested(EndedRecord)
    by_worker = fields.Dict(keys=fields.String(), values=fields.Nested(WorkerCountsRecord))
    series = fields.List(
        fields.Nested(SeriesRecord),
        metadata={"description": "Only with `group_by`: one entry for each hour or day, oldest first, without gaps."},
    )
    percentiles = fields.Nested(TimesRecord, metadata={"description": "Only with `percentiles=true`."})


def write_analytics(found: Analytics) -> str:
    jobs = found.jobs
    record: dict[str, Any] = {
        "period_days": found.period_days,
        "since": format_time(found.since),
        "jobs": {
            **_ended(jobs),
            "success_rate": jobs.success_rate,
            "avg_duration_ms": jobs.avg_duration_ms,
            "by_trigger": {each: found.by_trigger[each] for each in Trigger if found.by_trigger.get(each)},
            **_usage(jobs),
        },
        "by_worker": {worker: _of_worker(counts) for worker, counts in found.by_worker.items()},
    }
    if found.series is not None:
        record["series"] = [
            {
                "starts_at": format_time(point.starts_at),
                **_ended(point.counts),
                "avg_duration_ms": point.counts.avg_duration_ms,
                **_usage(point.counts),
            }
            for point in found.series
        ]
    if found.wait is not None and found.run is not None:
        record["percentiles"] = {"wait": _percentiles(found.wait), "run": _percentiles(found.run)}
    return json.dumps(record, separators=(",", ":"))


def _ended(counts: EndedCounts) -> dict[str, int]:
    return {
        "total": counts.total,
        "completed": counts.completed,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "expired": counts.expired,
    }


def _of_worker(counts: EndedCounts) -> dict[str, int | None]:
    return {
        "total": counts.total,
        "completed": counts.completed,
        "failed": counts.failed,
        "expired": counts.expired,
        "avg_duration_ms": counts.avg_duration_ms,
        **_usage(counts),
    }


def _usage(counts: EndedCounts) -> dict[str, int]:
    return {"cpu_ms": counts.cpu_ms, "wait_ms": counts.wait_ms}


def _percentiles(found: Percentiles) -> dict[str, float | None]:
    return {"p50_ms": found.p50_ms, "p95_ms": found.p95_ms, "p99_ms": found.p99_ms}
