"""Limits of the installation and of tenants: schemas of requests and responses."""

from __future__ import annotations

from ava.api.http.fields import PositiveNumber
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.domain.limits.limit import TenantRules
from ava.domain.worker import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS
from ava.services.limits import LimitUse
from ava.store.reports.tenant_usage import WorkerLimitUse


class LimitRecord(RecordSchema, of=LimitUse):
    """A limit of this installation, and the tenant's use of it."""

    names = "name value unit used used_is_exact setting status meaning"


write_limit = compile_schema(LimitRecord())


class WorkerLimitRecord(RecordSchema, of=WorkerLimitUse):
    """A worker with a limit, and the tenant's use of it."""


write_worker_limit = compile_schema(WorkerLimitRecord())


class TenantLimitsBody(Strict, of=TenantRules):
    """Limits of a tenant; a missing or null field uses the installation's default."""

    names = "max_running weight most_urgent_priority retention_days"
    # Handlers import these bounds, and no settings, which the declaration of limits reads.
    retention_days = PositiveNumber(
        minimum=MIN_RETENTION_DAYS, maximum=MAX_RETENTION_DAYS, load_default=None, allow_none=True
    )


class TenantLimitsRecord(RecordSchema, of=TenantRules):
    """The limits that operators have set for a tenant; null: the installation's default."""

    names = "tenant_id max_running weight most_urgent_priority retention_days updated_by updated_at"


write_tenant_limits = compile_schema(TenantLimitsRecord())
