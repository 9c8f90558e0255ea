"""The overview of a tenant: its jobs in total."""

from __future__ import annotations

from ava.domain.caller import Caller
from ava.store.engine.database import Database
from ava.store.reports import overview
from ava.store.reports.overview import Overview

__all__ = ["Overviews"]


class Overviews:
    """The use cases of the overview, over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def overview(self, caller: Caller) -> Overview:
        """Returns the tenant's jobs in total. Raises `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            return overview.read(connection, tenant_id=caller.tenant_id)
