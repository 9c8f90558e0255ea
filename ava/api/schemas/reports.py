"""Reports, limits and the audit trail: schemas of requests and responses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from marshmallow import Schema, fields, post_load

from ava.api.http.fields import (
    DISPLAYED,
    STORABLE,
    BoundedString,
    Choice,
    ClientId,
    PositiveNumber,
    QueryFlag,
    WholeNumber,
    filtered,
)
from ava.api.http.paging import PageRequest, TimeRangeQuery, cursor_field, per_page_field, take_page
from ava.api.http.records import RecordSchema, compile_schema, write_json
from ava.api.http.strict import Strict
from ava.domain import ids
from ava.domain.access.actor import AuditEntry
from ava.domain.analytics import MAX_DAYS, Analytics, Ended, EndedCounts, GroupBy, Overview, SeriesPoint
from ava.domain.fleet import Promotion, TenantLoad
from ava.domain.limits.limit import LimitUse, TenantRules, WorkerLimitUse
from ava.domain.series import DEFAULT_RANGE_SECONDS, MAX_RANGE_SECONDS, MIN_RANGE_SECONDS, Series
from ava.domain.worker import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS, Scope
from ava.store.reports.audit import AuditFilter

_DEFAULT_DAYS = 30
_Name = partial(BoundedString, 100, characters=DISPLAYED)


# In ------------------------------------------------------------------------------------------------------------------


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
    group_by = Choice(GroupBy, load_default=None, metadata={"description": "Add a series by hour or by day."})
    worker_id = ClientId("wkr", **filtered("worker_id", "Count only the jobs of this worker."))
    percentiles = QueryFlag(
        load_default=False,
        metadata={"description": "True to add percentiles of waiting and run times, accurate within 2 %."},
    )


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
        200,
        characters=STORABLE,
        data_key="filter[queue]",
        load_default=None,
        metadata={"description": "Only the jobs of the workers with this queue, and its backlog."},
    )
    tenant_id = ClientId("ten", **filtered("tenant_id", "For platform-admin and above: the jobs of this tenant."))
    scope = Choice(
        Scope,
        load_default=Scope.TENANT,
        metadata={"description": "For platform-admin and above: `platform` for the jobs of all tenants together."},
    )


@dataclass(frozen=True, kw_only=True)
class AuditListRequest(PageRequest):
    """A page and filters of the audit trail."""

    audit_filter: AuditFilter


class AuditListQuery(TimeRangeQuery):
    """The parameters of the audit trail."""

    action = _Name(**filtered("action", "The action, such as `jobs.cancel`."))
    actor_id = _Name(**filtered("actor_id", "The identity: a user (`usr_…`) or an API key (`key_…`)."))
    label = ClientId("usr", **filtered("label", "The user that an API key's holder named in `x-user-id`."))
    target = _Name(**filtered("target", "The id of the changed object."))
    per_page = per_page_field()
    cursor = cursor_field(lambda string: string if ids.decode("aud", string) is not None else None)

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> AuditListRequest:
        page = take_page(values)
        return AuditListRequest(**page, audit_filter=AuditFilter(**values))


class TenantLimitsBody(Strict, of=TenantRules):
    """Limits of a tenant; a missing or null field uses the installation's default."""

    names = "max_running weight most_urgent_priority retention_days"
    # Handlers import these bounds, and no settings, which the declaration of limits reads.
    retention_days = PositiveNumber(
        minimum=MIN_RETENTION_DAYS, maximum=MAX_RETENTION_DAYS, load_default=None, allow_none=True
    )


# Out -----------------------------------------------------------------------------------------------------------------


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


class AnalyticsRecord(RecordSchema, of=Analytics):
    """Statistics of the jobs that ended in a period."""


_ON_REQUEST = ("series", "percentiles")
_WRITERS = {absent: compile_schema(AnalyticsRecord(exclude=absent)) for absent in ((), *zip(_ON_REQUEST), _ON_REQUEST)}


def write_analytics(found: Analytics) -> str:
    """Return analytics as JSON; only requested fields are in it."""
    return _WRITERS[tuple(name for name in _ON_REQUEST if getattr(found, name) is None)](found)


class ChartSeriesRecord(RecordSchema, of=Series):
    """Series with one value for each step from `since` to `until`."""

    names = "since until step_seconds counted_until ended start run running max_running backlog failures marks"


write_series = compile_schema(ChartSeriesRecord())


class OverviewRecord(RecordSchema, of=Overview):
    """The tenant's jobs in total."""

    names = (
        "queued queued_is_exact scheduled running by_priority oldest_due_at backlog_age_seconds latency minutes "
        "counted_until failures sampled_at"
    )


write_overview = compile_schema(OverviewRecord())


class PromotionRecord(RecordSchema, of=Promotion):
    """A PostgreSQL standby that became the primary."""


write_promotion = compile_schema(PromotionRecord())


class TenantLoadRecord(RecordSchema, of=TenantLoad):
    """The jobs of one tenant."""

    names = "tenant_id waiting scheduled running completed failed cancelled share"


write_tenant_load = compile_schema(TenantLoadRecord())


class AuditEntryRecord(RecordSchema, of=AuditEntry):
    """A request for a change."""

    names = "id at tenant_id actor role action target status address request_id occurrences changes"


write_audit_entry = compile_schema(AuditEntryRecord())


class LimitRecord(RecordSchema, of=LimitUse):
    """A limit of this installation, and the tenant's use of it."""

    names = "name value unit used used_is_exact setting status meaning"


write_limit = compile_schema(LimitRecord())


class WorkerLimitRecord(RecordSchema, of=WorkerLimitUse):
    """A worker with a limit, and the tenant's use of it."""


write_worker_limit = compile_schema(WorkerLimitRecord())


class TenantLimitsRecord(RecordSchema, of=TenantRules):
    """The limits that operators have set for a tenant; null: the installation's default."""

    names = "tenant_id max_running weight most_urgent_priority retention_days updated_by updated_at"


write_tenant_limits = compile_schema(TenantLimitsRecord())
