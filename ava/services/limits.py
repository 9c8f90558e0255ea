"""Use case of limits: show all limits of this installation, with a tenant's usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.counts import PageBounds
from ava.domain.limits.limit import Limit, LimitUse, TenantRules, WorkerLimitUse
from ava.domain.limits.table import LIMITS, MOST_URGENT_PRIORITY, TENANT_RUNNING_JOBS, TENANT_STORED_BYTES
from ava.errors import TenantNotFound
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.fleet import tenants
from ava.store.reports import tenant_usage
from ava.store.reports.tenant_usage import MAX_COUNTED_IN_USE


class TenantLimits:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def show(self, caller: Caller) -> list[LimitUse]:
        with self._database.connect() as connection:
            used = tenant_usage.read(connection, tenant_id=caller.tenant_id)
            rules = tenants.read(connection, caller.tenant_id)
        own = {TENANT_RUNNING_JOBS.name: rules.max_running, MOST_URGENT_PRIORITY.name: rules.most_urgent_priority}
        return [self._use_of(limit, used.get(limit.name), own.get(limit.name)) for limit in LIMITS]

    def of_workers(self, caller: Caller, *, bounds: PageBounds) -> tuple[list[WorkerLimitUse], int]:
        """Return limited workers with the usage of the caller's tenant, by id, and the total."""
        with self._database.connect() as connection:
            return tenant_usage.worker_limits_page(connection, tenant_id=caller.tenant_id, bounds=bounds)

    def _use_of(self, limit: Limit, used: int | None, own: int | None) -> LimitUse:
        """`own` is the tenant's own value from operators."""
        if limit.of(self._settings) is None and limit is TENANT_STORED_BYTES:
            # It is measured only while it is limited, so the known value is outdated.
            used = None
        return LimitUse(
            limit=limit,
            value=limit.of(self._settings) if own is None else own,
            # Bytes are measured at intervals, not counted.
            used=used if used is None or limit.unit == "bytes" else min(used, MAX_COUNTED_IN_USE),
            used_is_exact=None if used is None else used <= MAX_COUNTED_IN_USE and limit.unit != "bytes",
        )


class Tenants:
    def __init__(self, database: Database) -> None:
        self._database = database

    def show(self, caller: Caller, tenant_id: str) -> TenantRules:
        """Return a tenant's settings. Raise `TenantNotFound` if the caller may not see it."""
        if not ids.is_client_id("ten", tenant_id) or (tenant_id != caller.tenant_id and not caller.is_operator):
            raise TenantNotFound
        with self._database.connect() as connection:
            return tenants.read(connection, tenant_id)

    def put(self, caller: Caller, tenant_id: str, fields: Mapping[str, Any]) -> TenantRules:
        """Write a tenant's settings. Raise `TenantNotFound`."""
        if not ids.is_client_id("ten", tenant_id):
            raise TenantNotFound
        with self._database.connect() as connection:
            tenants.write(connection, TenantRules(tenant_id=tenant_id, updated_by=caller.actor.id, **fields))
            return tenants.read(connection, tenant_id)
