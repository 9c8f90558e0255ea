"""The context of views: the application's services, the operators' services, and the caller of the request."""

from __future__ import annotations

from typing import Any

from flask import Request, current_app, g, has_request_context, request

from ava.api.gate.hook_gate import HookGate
from ava.api.gate.tenant_shares import make_shares
from ava.api.http import offload
from ava.broker.celery_app import make_app as make_celery_app
from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.domain.access.caller import Caller
from ava.domain.limits.table import SCHEDULES
from ava.domain.outbound.outbound_rules import OutboundRules
from ava.domain.secrets.sealing import Sealer, worker_keys
from ava.health.readiness import Readiness
from ava.metrics import counters
from ava.metrics.counters import ConnectionMeter
from ava.metrics.system_metrics import SystemMetrics
from ava.services.api_keys import ApiKeys
from ava.services.approvals import Approvals
from ava.services.audit import Audit
from ava.services.bulk_batches import BulkBatches
from ava.services.bulk_operations import BulkOperations
from ava.services.claims import Claims
from ava.services.containments import Containments
from ava.services.creation.child_creator import ChildCreator
from ava.services.creation.quotas import TenantQuotas, TriggerRules
from ava.services.deliveries import SentDeliveries
from ava.services.durable_runs import DurableRuns
from ava.services.error_groups import ErrorReports
from ava.services.events.event_jobs import EventJobs
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
from ava.services.sign_in import make_sign_in
from ava.services.signing import ContainmentSigner
from ava.services.watches import Watches
from ava.services.webhooks import Webhooks
from ava.services.workers import Workers
from ava.settings import Settings
from ava.store.engine.connection_gate import ConnectionGate
from ava.store.engine.database import Database
from ava.store.engine.standby import DatabaseWithStandby, StandbyRead

EXTENSION = "ava"
#: Seconds that a request waits for a free database connection; enough for a thousand clients that call simultaneously,
#: as after a restart.
_QUEUE_SECONDS = 8.0


class Admin:
    """The services for operators."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.overviews = Overviews(database)
        self.analytics = AnalyticsReports(database)
        self.series = SeriesReports(database)
        self.errors = ErrorReports(database)
        self.nodes = Nodes(database, node_dead_seconds=settings.node_dead_seconds)
        self.audit = Audit(database)
        self.metrics = SystemMetrics(database, node_dead_seconds=settings.node_dead_seconds)


class Context:
    """The services of one process."""

    def __init__(self, settings: Settings) -> None:
        """Build the services, without connecting."""
        self.settings = settings
        self.database = database = _make_database(settings)
        celery = make_celery_app(settings)
        self.publisher = Publisher(celery, settings)
        self.publisher.on_reach = counters.BROKER_UP.labels("api").set
        self.publisher.on_reach(True)
        control, sealer = Control(celery, settings.message_keys), Sealer(settings.encryption_keys)
        self.jobs = Jobs(database, self.publisher, control, settings=settings, run_long=offload.run)
        self.claims = Claims(database, mark=settings.cell)
        self.jobs.on_published = self.claims.see_offered
        event_jobs = EventJobs(self.jobs.creator)
        self.hooks = Hooks(database, sealer, self.jobs, mark=settings.cell)
        self.sessions = Sessions(database, settings)
        #: None without an identity provider.
        self.sign_in = make_sign_in(database, settings, forget_sessions=self.sessions.forget)
        if self.sign_in is not None:
            self.sessions.check = self.sign_in.check
        self.runs = PulledRuns(database)
        signer = ContainmentSigner(database, settings)
        self.signing = signer.signing
        self.containments = Containments(database, signer)
        self.receiving = Receiving(database, self.jobs, event_jobs, run_long=offload.run)
        self.received_deliveries = ReceivedDeliveries(database, self.jobs, self.hooks, self.receiving)
        self.sent_deliveries = SentDeliveries(database)
        self.notice_deliveries = SentDeliveries(database, of_notices=True)
        self.hook_gate = HookGate(settings)
        self.events = Events(database, self.jobs, event_jobs)
        self.subscriptions = Subscriptions(database, self.jobs)
        self.approvals = Approvals(database)
        self.bulk_operations = BulkOperations(database, BulkBatches(database, self.jobs, control))
        self.queues = Queues(database)
        self.tenants = Tenants(database)
        self.schedules = Schedules(database, self.jobs, max_schedules=SCHEDULES.of(settings))
        self.webhooks = Webhooks(database, sealer, rules=OutboundRules.of(settings))
        self.notices = TenantNotices(database, sealer, settings)
        of_workers = Sealer(worker_keys(settings.encryption_keys))
        self.workers = Workers(database, of_workers, node_dead_seconds=settings.node_dead_seconds)
        self.durable_runs = DurableRuns(
            database,
            self.runs,
            creator=ChildCreator(creator=self.jobs.creator, rules=TriggerRules.of(settings)),
            waiting_jobs=TenantQuotas.of(settings).waiting_jobs,
        )
        self.readiness = Readiness(database, settings)
        self.watches = Watches(database)
        self.api_keys = ApiKeys(database, mark=settings.cell)
        self.admin = Admin(settings, database)
        self.limits = TenantLimits(database, settings)
        self.replication = Replication(database)
        self.shares = make_shares(settings)

    def close(self) -> None:
        """End every watch, write the audit records, and close every connection."""
        self.watches.close()
        self.claims.close()
        self.admin.audit.close()
        self.publisher.close()
        self.database.close()


def _make_database(settings: Settings) -> Database:
    size = settings.api_connections

    def options() -> dict[str, Any]:
        gate = ConnectionGate(size, wait_seconds=_QUEUE_SECONDS, tenant=tenant_of_request)
        return {"pool_size": size, "gate": gate}

    primary: dict[str, Any] = {"name": "api", "meter": ConnectionMeter("api", size), **options()}
    if not settings.database_read_url:
        return Database.of(settings, **primary)
    return DatabaseWithStandby.of(
        settings,
        standby=Database.of_standby(settings, name="api reads", meter=ConnectionMeter("api_reads", size), **options()),
        max_lag_seconds=settings.replica_max_lag_ms / 1000,
        current_read=current_read,
        **primary,
    )


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


def current_read() -> StandbyRead | None:
    """Return the current request's read on the standby; None if it reads the primary, or outside a request."""
    read: StandbyRead | None = g.get("standby_read") if has_request_context() else None
    return read
