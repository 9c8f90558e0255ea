"""The Flask application."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import BaseConverter

from ava.api import request_records
from ava.api.gate.hook_gate import HookGate
from ava.api.gate.tenant_shares import make_shares
from ava.api.http import body, error_responses, offload, operations, rate_limits, request_turns, responses
from ava.api.http.callers import auth
from ava.api.http.context import EXTENSION, Context, make_admin, tenant_of_request
from ava.api.routes import (
    approvals,
    audit,
    bulk,
    bulk_operations,
    containments,
    durable_runs,
    error_groups,
    events,
    fleet,
    hook_calls,
    hooks,
    job_details,
    job_logs,
    jobs,
    keys,
    mcp,
    notices,
    pages,
    probes,
    reports,
    schedules,
    sessions,
    sign_in,
    streams,
    subscriptions,
    webhooks,
    workers,
)
from ava.api.routes import limits as limits_route
from ava.broker.celery_app import make_app as make_celery_app
from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.domain.limits.table import SCHEDULES
from ava.domain.outbound.outbound_rules import OutboundRules
from ava.domain.secrets.sealing import Sealer, worker_keys
from ava.health.readiness import Readiness
from ava.metrics import counters
from ava.metrics.counters import ConnectionMeter
from ava.services.api_keys import ApiKeys
from ava.services.approvals import Approvals
from ava.services.bulk_batches import BulkBatches
from ava.services.bulk_operations import BulkOperations
from ava.services.claims import Claims
from ava.services.containments import Containments
from ava.services.creation.child_creator import ChildCreator
from ava.services.creation.quotas import TenantQuotas, TriggerRules
from ava.services.deliveries import SentDeliveries
from ava.services.durable_runs import DurableRuns
from ava.services.events.event_jobs import EventJobs
from ava.services.events.events import Events
from ava.services.events.hook_deliveries import ReceivedDeliveries
from ava.services.events.hooks import Hooks
from ava.services.events.receiving import Receiving
from ava.services.events.subscriptions import Subscriptions
from ava.services.fleet import Queues
from ava.services.jobs import Jobs
from ava.services.limits import TenantLimits, Tenants
from ava.services.notices import TenantNotices
from ava.services.pulled_runs import PulledRuns
from ava.services.replication import Replication
from ava.services.schedules import Schedules
from ava.services.sessions import Sessions
from ava.services.sign_in import make_sign_in
from ava.services.signing import ContainmentSigner
from ava.services.watches import Watches
from ava.services.webhooks import Webhooks
from ava.services.workers import Workers
from ava.settings import Settings
from ava.store.engine.connection_gate import ConnectionGate
from ava.store.engine.database import Database
from ava.store.engine.standby import DatabaseWithStandby

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_BLUEPRINTS = (
    jobs.blueprint,
    job_details.runs,
    bulk.blueprint,
    job_logs.blueprint,
    bulk_operations.blueprint,
    containments.blueprint,
    containments.keys_blueprint,
    jobs.exports_blueprint,
    streams.blueprint,
    job_details.reasons,
    job_details.trees,
    job_details.journals,
    job_details.waits,
    job_details.job_deliveries,
    schedules.blueprint,
    workers.blueprint,
    # Also the routes of `pulled_runs`: both have one blueprint.
    durable_runs.blueprint,
    fleet.queues_blueprint,
    webhooks.blueprint,
    notices.blueprint,
    events.blueprint,
    subscriptions.blueprint,
    hooks.blueprint,
    hook_calls.blueprint,
    keys.blueprint,
    sessions.blueprint,
    sign_in.blueprint,
    limits_route.blueprint,
    limits_route.tenants,
    mcp.blueprint,
    probes.health,
    pages.docs,
    reports.overview,
    reports.analytics,
    reports.series,
    approvals.blueprint,
    error_groups.blueprint,
    fleet.blueprint,
    reports.promotions,
    reports.tenant_loads,
    audit.blueprint,
    probes.metrics,
    pages.dashboard,
)

#: Seconds that a request waits for a free database connection; enough for a thousand clients that call simultaneously,
#: as after a restart.
_QUEUE_SECONDS = 8.0


class _JobIds(BaseConverter):
    """A job's id or something of its form. `/jobs/bulk` does not match, so a GET of it is answered with 405."""

    regex = r"job_[0-9a-z_]{1,60}"


class _ScheduleIds(BaseConverter):
    """A schedule's id or something of its form. `/schedules/preview` does not match."""

    regex = r"sch_[0-9a-z_]{1,60}"


class _ContainmentIds(BaseConverter):
    """A containment's id or something of its form."""

    regex = r"con_[0-9a-z_]{1,60}"


class _HookIds(BaseConverter):
    """A hook's id or something of its form."""

    regex = r"hk_[0-9a-z_]{1,60}"


class _SubscriptionIds(BaseConverter):
    """A subscription's id or something of its form. `/subscriptions/test` does not match."""

    regex = r"sub_[0-9a-z_]{1,60}"


class _TenantIds(BaseConverter):
    """A tenant's id or something of its form."""

    regex = r"ten_[0-9a-z_]{1,60}"


class _QueueNames(BaseConverter):
    """The name of a queue."""

    regex = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"


def install_converters(app: Flask) -> None:
    """Register the converters; to be called before the routes that use them are registered."""
    app.url_map.converters["job"] = _JobIds
    app.url_map.converters["schedule"] = _ScheduleIds
    app.url_map.converters["containment"] = _ContainmentIds
    app.url_map.converters["hook"] = _HookIds
    app.url_map.converters["subscription"] = _SubscriptionIds
    app.url_map.converters["tenant"] = _TenantIds
    app.url_map.converters["queue"] = _QueueNames


class _NoSessions(SessionInterface):
    """Gives every request the same empty, read-only Flask session."""

    _session = NullSession()

    def open_session(self, _app: Flask, _request: Request) -> NullSession:
        """Return the session. Flask would read the secret key, find none, and create an empty session per request."""
        return self._session


class _Application(Flask):
    """Flask without coroutine views and hooks."""

    session_interface = _NoSessions()

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request without its `Upgrade`: HTTP lets a server ignore it, and Werkzeug would match no route."""
        environ.pop("HTTP_UPGRADE", None)
        return super().wsgi_app(environ, start_response)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function. Flask would test eight functions per request for being coroutines."""
        return func


def make_app(settings: Settings) -> Flask:
    """Build the application of one process, without connecting."""
    app = _Application("ava.api", static_folder=None)
    # `responses` answers OPTIONS. Other spellings of a route's path would respond with an HTML redirect.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    install_converters(app)
    app.extensions[EXTENSION] = _make_context(settings)
    app.before_request(auth.name_request)
    request_records.trace_requests(app)
    responses.install_hooks(app, settings)
    app.before_request(auth.identify)
    rate_limits.install(app, settings)
    request_turns.install(app, settings.internal_secrets)
    error_responses.install(app)
    app.teardown_request(body.release)
    for blueprint in _BLUEPRINTS:
        app.register_blueprint(blueprint)
    request_records.record_requests(app)
    return app


def _make_context(settings: Settings) -> Context:
    database = _make_database(settings)
    celery = make_celery_app(settings)
    publisher = Publisher(celery, settings)
    publisher.on_reach = counters.BROKER_UP.labels("api").set
    publisher.on_reach(True)
    control = Control(celery, settings.message_keys)
    jobs_service = Jobs(database, publisher, control, settings=settings, run_long=offload.run)
    claims = Claims(database, mark=settings.cell)
    jobs_service.on_published = claims.see_offered
    event_jobs = EventJobs(jobs_service.creator)
    hooks_service = Hooks(database, Sealer(settings.encryption_keys), jobs_service, mark=settings.cell)
    sessions_service = Sessions(database, settings)
    if (sign_in_service := make_sign_in(database, settings, forget_sessions=sessions_service.forget)) is not None:
        sessions_service.check = sign_in_service.check
    pulled = PulledRuns(database)
    signer = ContainmentSigner(database, settings)
    receiving = Receiving(database, jobs_service, event_jobs, run_long=offload.run)
    return Context(
        settings=settings,
        jobs=jobs_service,
        approvals=Approvals(database),
        bulk_operations=BulkOperations(database, BulkBatches(database, jobs_service, control)),
        containments=Containments(database, signer),
        signing=signer.signing,
        queues=Queues(database),
        tenants=Tenants(database),
        schedules=Schedules(database, jobs_service, max_schedules=SCHEDULES.of(settings)),
        webhooks=Webhooks(database, Sealer(settings.encryption_keys), rules=OutboundRules.of(settings)),
        notices=TenantNotices(database, Sealer(settings.encryption_keys), settings),
        workers=Workers(
            database,
            Sealer(worker_keys(settings.encryption_keys)),
            node_dead_seconds=settings.node_dead_seconds,
        ),
        sessions=sessions_service,
        sign_in=sign_in_service,
        events=Events(database, jobs_service, event_jobs),
        subscriptions=Subscriptions(database, jobs_service),
        hooks=hooks_service,
        receiving=receiving,
        received_deliveries=ReceivedDeliveries(database, jobs_service, hooks_service, receiving),
        sent_deliveries=SentDeliveries(database),
        notice_deliveries=SentDeliveries(database, of_notices=True),
        hook_gate=HookGate(settings),
        readiness=Readiness(database, settings),
        watches=Watches(database),
        api_keys=ApiKeys(database, mark=settings.cell),
        claims=claims,
        runs=pulled,
        durable_runs=DurableRuns(
            database,
            pulled,
            creator=ChildCreator(creator=jobs_service.creator, rules=TriggerRules.of(settings)),
            waiting_jobs=TenantQuotas.of(settings).waiting_jobs,
        ),
        admin=make_admin(settings, database),
        limits=TenantLimits(database, settings),
        replication=Replication(database),
        shares=make_shares(settings),
        database=database,
        publisher=publisher,
    )


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
        current_read=operations.current_read,
        **primary,
    )
