"""The overview of a tenant, the load of all tenants, and promotions of a standby: schemas of responses."""

from __future__ import annotations

from ava.api.http.records import RecordSchema, compile_schema
from ava.store.reports.overview import Overview
from ava.store.reports.promotions import Promotion
from ava.store.reports.tenant_loads import TenantLoad


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
