"""Limits of the installation and of tenants: schemas of requests and responses."""

from __future__ import annotations

from ava.api.http.fields import PositiveNumber, WholeNumber
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.domain.jobs import priority
from ava.domain.limits.limit import MAX_RUNNING, TenantRules
from ava.domain.worker import MAX_RETENTION_DAYS, MIN_RETENTION_DAYS
from ava.services.limits import LimitUse
from ava.store.reports.tenant_usage import WorkerLimitUse

_MAX_COUNT = 2**53


class LimitRecord(RecordSchema, of=LimitUse):
    """A limit of this installation, and the tenant's use of it."""

    names = "name value unit used used_is_exact setting status meaning"


write_limit = compile_schema(LimitRecord())


class WorkerLimitRecord(RecordSchema, of=WorkerLimitUse):
    """A worker with a limit, and the tenant's use of it."""


write_worker_limit = compile_schema(WorkerLimitRecord())


_MAX_WEIGHT = 1_000.0


class TenantLimitsBody(Strict):
    """Limits of a tenant; a missing or null field uses the installation's default."""

    max_running = WholeNumber(
        minimum=0,
        maximum=MAX_RUNNING,
        allow_none=True,
        metadata={"description": "Max number of its running jobs; 0: none."},
    )
    weight = PositiveNumber(
        maximum=_MAX_WEIGHT,
        allow_none=True,
        metadata={"description": "Its weight in fair queueing (default 1), relative to the weights of other tenants."},
    )
    most_urgent_priority = WholeNumber(
        minimum=priority.FIRST,
        maximum=priority.LAST,
        allow_none=True,
        metadata={
            "description": "The smallest priority number that its jobs may have; a smaller number is raised to it."
        },
    )
    retention_days = PositiveNumber(
        minimum=MIN_RETENTION_DAYS,
        maximum=MAX_RETENTION_DAYS,
        allow_none=True,
        metadata={
            "description": "Retention of its ended jobs and their log lines, in days; a worker's own "
            "`retention_days` takes precedence. A change applies to stored jobs within ten minutes."
        },
    )


class TenantLimitsRecord(RecordSchema, of=TenantRules):
    """The limits that operators have set for a tenant; null: the installation's default."""

    names = "tenant_id max_running weight most_urgent_priority retention_days updated_by updated_at"
    weight = PositiveNumber(maximum=_MAX_WEIGHT, allow_none=True)


write_tenant_limits = compile_schema(TenantLimitsRecord())
