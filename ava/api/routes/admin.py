"""Routes and hooks for operators: dashboard, overview, audit trail, metrics, and a log line per request."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

from ava.api.http.addresses import logged_path
from ava.api.http.context import request_id, this_request
from ava.api.routes import analytics, audit, dashboard, errors, metrics, nodes, overview, promotions, tenant_loads
from ava.metrics import counters

_log = logging.getLogger("ava.api.requests")
#: Routes that machines call every few seconds; their success is logged at DEBUG only.
_QUIET = frozenset({"health.livez", "health.readyz", "metrics.scrape", "dashboard.asset"})


def install(app: Flask) -> None:
    """Register the routes; count, record and log every request of an application."""
    for module in (overview, analytics, errors, nodes, promotions, tenant_loads, audit, metrics, dashboard):
        app.register_blueprint(module.blueprint)
    app.before_request_funcs.setdefault(None, []).insert(0, _start)
    app.after_request(_finish)


def _start() -> None:
    g.started = time.perf_counter()


def _finish(response: Response) -> Response:
    seconds = time.perf_counter() - g.get("started", time.perf_counter())
    asked = this_request()
    endpoint = asked.endpoint or "none"
    counters.HTTP_REQUESTS.labels(asked.method if endpoint != "none" else "other", endpoint, response.status_code).inc()
    counters.HTTP_REQUEST_SECONDS.labels(endpoint).observe(seconds)
    audit.record(asked, response)
    level = logging.DEBUG if endpoint in _QUIET and response.status_code < 400 else logging.INFO
    if _log.isEnabledFor(level):
        _log.log(
            level,
            "%s %s %d in %.0f ms",
            asked.method,
            logged_path(asked),
            response.status_code,
            seconds * 1000,
            extra=_fields(),
        )
    return response


def _fields() -> dict[str, object]:
    fields: dict[str, object] = {"request_id": request_id()}
    if (caller := g.get("caller")) is not None:
        fields["tenant_id"] = caller.tenant_id
    if job_id := (request.view_args or {}).get("job_id"):
        fields["job_id"] = str(job_id)[:100]
    return fields
