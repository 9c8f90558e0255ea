"""The overview of a tenant's jobs, and for operators the load of all tenants, and promotions."""

from __future__ import annotations

from ava.domain.access.caller import Caller
from ava.errors import OperatorsOnly
from ava.store.engine.database import Database
from ava.store.reports import overview, promotions, tenant_loads
from ava.store.reports.overview import Overview
from ava.store.reports.promotions import Promotion
from ava.store.reports.tenant_loads import TenantLoads

#: Max shown promotions.
MAX_PROMOTIONS = 20


class Overviews:
    """Use cases of the overview."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def overview(self, caller: Caller) -> Overview:
        """Return the tenant's total jobs."""
        with self._database.connect() as connection:
            return overview.read(connection, tenant_id=caller.tenant_id)

    def tenants(self, caller: Caller, *, after: str | None = None) -> TenantLoads:
        """Return the load of tenants, by id, beginning after `after`.

        Raise `OperatorsOnly`.
        """
        if not caller.is_operator:
            raise OperatorsOnly
        with self._database.connect() as connection:
            return tenant_loads.read(connection, after=after or "")

    def promotions(self, caller: Caller) -> list[Promotion]:
        """Return the newest promotions of a PostgreSQL standby. Raise `OperatorsOnly`."""
        if not caller.is_operator:
            raise OperatorsOnly
        with self._database.connect() as connection:
            return promotions.newest(connection, limit=MAX_PROMOTIONS)
