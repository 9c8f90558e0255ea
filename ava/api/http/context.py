"""The context of views: the application's services, the operators' services, and the caller of the request."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Request, current_app, g, has_request_context, request

from ava.api.gate.hook_gate import HookGate
from ava.api.gate.tenant_shares import Shares
from ava.broker.publisher import Publisher
from ava.domain.access.caller import Caller
from ava.health.readiness import Readiness
from ava.metrics.system_metrics import SystemMetrics
from ava.services.api_keys import ApiKeys
from ava.services.approvals import Approvals
from ava.services.audit import Audit
from ava.services.bulk_operations import BulkOperations
from ava.services.claims import Claims
from ava.services.containments import Containments
from ava.services.deliveries import SentDeliveries
from ava.services.durable_runs import DurableRuns
from ava.services.error_groups import ErrorReports
from ava.services.events.events import Events
from ava.services.events.hook_deliveries import ReceivedDeliveries
from ava.services.events.hooks import Hooks
from ava.services.events.receiving import Receiving
from ava.services.events.subscriptions import Subscriptions
from ava.services.fleet import Nodes, Queues
from ava.services.jobs import Jobs
from ava.services.limits import TenantLimits, Tenants
from ava.services.notices import TenantNotices
from ava.services.pulled_runs import PulledRuns
from ava.services.replication import Replication
from ava.services.reports import AnalyticsReports, Overviews
from ava.services.schedules import Schedules
from ava.services.series import SeriesReports
from ava.services.sessions import Sessions
from ava.services.sign_in import SignIn
from ava.services.signing import Signing
from ava.services.watches import Watches
from ava.services.webhooks import Webhooks
from ava.services.workers import Workers
from ava.settings import Settings
from ava.store.engine.database import Database

EXTENSION = "ava"


@dataclass(frozen=True, kw_only=True)
class Admin:
    """The services for operators."""

    overviews: Overviews
    analytics: AnalyticsReports
    series: SeriesReports
    errors: ErrorReports
    nodes: Nodes
    audit: Audit
    metrics: SystemMetrics

    def close(self) -> None:
        """Write the buffered audit records."""
        self.audit.close()


def make_admin(settings: Settings, database: Database) -> Admin:
    """Build the services over one database, without connecting."""
    return Admin(
        overviews=Overviews(database),
        analytics=AnalyticsReports(database),
        series=SeriesReports(database),
        errors=ErrorReports(database),
        nodes=Nodes(database, node_dead_seconds=settings.node_dead_seconds),
        audit=Audit(database),
        metrics=SystemMetrics(database, node_dead_seconds=settings.node_dead_seconds),
    )


@dataclass(frozen=True, kw_only=True)
class Context:
    """The services of one process."""

    settings: Settings
    jobs: Jobs
    approvals: Approvals
    bulk_operations: BulkOperations
    containments: Containments
    queues: Queues
    tenants: Tenants
    schedules: Schedules
    sessions: Sessions
    #: None without an identity provider.
    sign_in: SignIn | None
    signing: Signing
    webhooks: Webhooks
    notices: TenantNotices
    workers: Workers
    readiness: Readiness
    watches: Watches
    api_keys: ApiKeys
    claims: Claims
    runs: PulledRuns
    durable_runs: DurableRuns
    events: Events
    subscriptions: Subscriptions
    hooks: Hooks
    receiving: Receiving
    received_deliveries: ReceivedDeliveries
    sent_deliveries: SentDeliveries
    notice_deliveries: SentDeliveries
    hook_gate: HookGate
    admin: Admin
    limits: TenantLimits
    replication: Replication
    shares: Shares
    database: Database
    publisher: Publisher

    def close(self) -> None:
        """End every watch, write the audit records, and close every connection."""
        self.watches.close()
        self.claims.close()
        self.admin.close()
        self.publisher.close()
        self.database.close()


def context() -> Context:
    found: Context = current_app.extensions[EXTENSION]
    return found


def this_request() -> Request:
    """Return the current request. Each access through Flask's proxy costs a lookup of 0.5 µs."""
    found: Request = request._get_current_object()  # type: ignore[attr-defined]  # the proxy is declared as a request
    return found


def caller() -> Caller:
    """Return the caller of this request, whom `ava.api.http.callers.auth` has identified."""
    who: Caller = g.caller
    return who


def owner_of_shares() -> str:
    """Return the tenant whose shares of this process a request uses; its address if it has no caller."""
    return tenant_of_request() or f"address {request.remote_addr}"


def tenant_of_request() -> str | None:
    """Return the tenant of the request that this thread or greenlet serves; None without a request or a caller.

    A stream reads for all its followers, and its reads after the request ended count for the process, not for a tenant.
    """
    who: Caller | None = g.get("caller") if has_request_context() else None
    return None if who is None else who.tenant_id


def request_id() -> str:
    """Return the id of this request, sent by the caller or generated."""
    known: str = g.get("request_id", "")
    return known
