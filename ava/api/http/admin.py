"""The use cases for operators: overview, analytics, nodes, audit trail, metrics."""

from __future__ import annotations

from dataclasses import dataclass

from ava.metrics.system import SystemMetrics
from ava.services.analytics import AnalyticsReports
from ava.services.audit import Audit
from ava.services.error_groups import ErrorReports
from ava.services.nodes import Nodes
from ava.services.overview import Overviews
from ava.settings import Settings
from ava.store.engine.database import Database


@dataclass(frozen=True, kw_only=True)
class Admin:
    """The use cases for operators."""

    overviews: Overviews
    analytics: AnalyticsReports
    errors: ErrorReports
    nodes: Nodes
    audit: Audit
    metrics: SystemMetrics

    def close(self) -> None:
        """Write the audit records that are still held."""
        self.audit.close()


def make_admin(settings: Settings, database: Database) -> Admin:
    """Build the use cases over one database. Nothing connects yet."""
    return Admin(
        overviews=Overviews(database),
        analytics=AnalyticsReports(database),
        errors=ErrorReports(database),
        nodes=Nodes(database, node_dead_seconds=settings.node_dead_seconds),
        audit=Audit(database),
        metrics=SystemMetrics(database, node_dead_seconds=settings.node_dead_seconds),
    )
