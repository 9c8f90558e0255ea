"""Use cases of tenants: the limits and the weight that operators set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.domain.tenant import TenantRules
from ava.errors import TenantNotFound
from ava.store.engine.database import Database
from ava.store.fleet import tenants


class Tenants:
    """Use cases of tenants."""

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
            tenants.write(connection, TenantRules(tenant_id=tenant_id, updated_by=caller.user_id, **fields))
            return tenants.read(connection, tenant_id)
