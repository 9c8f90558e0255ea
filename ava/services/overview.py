"""The overview of a tenant: its jobs in total, and the nodes that run them."""

from __future__ import annotations

from ava.domain.caller import Caller
from ava.store.engine.database import Database
from ava.store.fleet import node_reads
from ava.store.fleet.node_reads import NodeView
from ava.store.reports import overview
from ava.store.reports.overview import Overview

__all__ = ["Overviews"]


class Overviews:
    """The use cases of the overview, over one database."""

    def __init__(self, database: Database, *, node_dead_seconds: float) -> None:
        self._database = database
        self._node_dead_seconds = node_dead_seconds

    def overview(self, caller: Caller) -> Overview:
        """Returns the tenant's jobs in total. Raises `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            return overview.read(connection, tenant_id=caller.tenant_id)

    def nodes(self, caller: Caller) -> list[NodeView]:
        """Returns the nodes, each with the tenant's jobs that it runs. Raises `DatabaseUnavailable`.

        A role of the platform sees their hosts and all of their workers; a tenant only what it can use.
        """
        with self._database.connect() as connection:
            found = node_reads.nodes(connection, tenant_id=caller.tenant_id, dead_after_seconds=self._node_dead_seconds)
            if caller.is_operator:
                return found
            return node_reads.only_visible(connection, found, tenant_id=caller.tenant_id)
