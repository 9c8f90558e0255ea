"""Analytics: schemas of requests and responses."""

from __future__ import annotations

import json
from collections.abc import Mapping

from marshmallow import Schema, fields

from ava.api.http.fields import Choice, ClientId, QueryFlag, WholeNumber, filtered
from ava.api.http.records import RecordSchema, compile_schema, write_json
from ava.api.http.strict import Strict
from ava.domain.analytics import MAX_DAYS, Analytics, Ended, EndedCounts, GroupBy, SeriesPoint

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


class TriggerCounts(Schema):
    """The number of jobs by trigger; a trigger without jobs is omitted."""

    manual = scheduled = webhook = event = WholeNumber(minimum=0, maximum=2**53)


class EndedRecord(RecordSchema, of=Ended):
    """The jobs that ended in the period."""

    names = "total completed failed cancelled expired success_rate avg_duration_ms by_trigger cpu_ms wait_ms"
    by_trigger = fields.Nested(TriggerCounts, metadata={"write": write_json})


class WorkerCountsRecord(RecordSchema, of=EndedCounts):
    """The jobs of one worker."""

    names = "total completed failed expired avg_duration_ms cpu_ms wait_ms"


class SeriesRecord(RecordSchema, of=SeriesPoint):
    """The jobs that ended in one hour or day."""

    names = "starts_at total completed failed cancelled expired avg_duration_ms cpu_ms wait_ms"


_write_worker = compile_schema(WorkerCountsRecord()).whole


def _write_workers(found: Mapping[str, EndedCounts]) -> str:
    return "{" + ",".join(f"{json.dumps(worker)}:{_write_worker(counts)}" for worker, counts in found.items()) + "}"


class AnalyticsRecord(RecordSchema, of=Analytics):
    """Statistics of the jobs that ended in a period."""

    by_worker = fields.Dict(
        keys=fields.String(), values=fields.Nested(WorkerCountsRecord), metadata={"write": _write_workers}
    )


_ON_REQUEST = ("series", "percentiles")
_WRITERS = {absent: compile_schema(AnalyticsRecord(exclude=absent)) for absent in ((), *zip(_ON_REQUEST), _ON_REQUEST)}


def write_analytics(found: Analytics) -> str:
    """Return analytics as JSON; only requested fields are in it."""
    return _WRITERS[tuple(name for name in _ON_REQUEST if getattr(found, name) is None)](found)
