"""Series for charts: schemas of requests and responses."""

from __future__ import annotations

from ava.api.http.fields import STORABLE, BoundedString, Choice, ClientId, WholeNumber, filtered
from ava.api.http.paging import TimeRangeQuery
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.schemas.setting_fields import Scope
from ava.domain.series import DEFAULT_RANGE_SECONDS, MAX_RANGE_SECONDS, MIN_RANGE_SECONDS, Series

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
        _LONGEST_QUEUE,
        characters=STORABLE,
        data_key="filter[queue]",
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


class ChartSeriesRecord(RecordSchema, of=Series):
    """Series with one value for each step from `since` to `until`."""

    names = "since until step_seconds counted_until ended start run running max_running backlog failures marks"


write_series = compile_schema(ChartSeriesRecord())
