"""The Flask application."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import BaseConverter

from ava.api import request_records
from ava.api.http import body, error_responses, rate_limits, request_turns, responses
from ava.api.http.callers import auth
from ava.api.http.context import EXTENSION, Context
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
from ava.settings import Settings

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

#: The converters of rules, each with the pattern of an id or of something of its form. A name such as `bulk` or
#: `preview` in the place of an id does not match, so a GET of it is answered with 405.
_PATTERNS = {
    "job": r"job_[0-9a-z_]{1,60}",
    "schedule": r"sch_[0-9a-z_]{1,60}",
    "containment": r"con_[0-9a-z_]{1,60}",
    "hook": r"hk_[0-9a-z_]{1,60}",
    "subscription": r"sub_[0-9a-z_]{1,60}",
    "tenant": r"ten_[0-9a-z_]{1,60}",
    "queue": r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}",
}


def install_converters(app: Flask) -> None:
    """Register the converters; to be called before the routes that use them are registered."""
    for name, pattern in _PATTERNS.items():
        app.url_map.converters[name] = type(name, (BaseConverter,), {"regex": pattern})


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
    app.extensions[EXTENSION] = Context(settings)
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
