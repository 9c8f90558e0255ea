"""Record each request: counts, an audit entry, a log line, and a span."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, current_app, g, request

from ava.api.http.callers.auth import is_open
from ava.api.http.client_addresses import logged_path
from ava.api.http.context import request_id, this_request
from ava.api.http.operations import find_operation
from ava.api.routes import audit
from ava.metrics import counters
from ava.telemetry import tracing
from ava.telemetry.span import Kind

_log = logging.getLogger("ava.api.requests")
#: Routes that machines call every few seconds; their success is logged at DEBUG only.
_QUIET = frozenset({"health.livez", "health.readyz", "metrics.scrape", "dashboard.asset"})


def record_requests(app: Flask) -> None:
    """Count, record and log every request of an application."""
    app.before_request_funcs.setdefault(None, []).insert(0, _start_clock)
    app.after_request(_record)


def _start_clock() -> None:
    g.started = time.perf_counter()


def _record(response: Response) -> Response:
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
            extra=_log_fields(),
        )
    return response


def _log_fields() -> dict[str, object]:
    fields: dict[str, object] = {"request_id": request_id()}
    if (caller := g.get("caller")) is not None:
        fields["tenant_id"] = caller.tenant_id
    if job_id := (request.view_args or {}).get("job_id"):
        fields["job_id"] = str(job_id)[:100]
    return fields


def trace_requests(app: Flask) -> None:
    """Trace the requests of described operations, so not health checks, if this process has tracing."""
    if tracing.is_on():
        app.before_request(_start_span)
        app.after_request(_set_attributes)
        app.teardown_request(_end_span)


def _start_span() -> None:
    if request.endpoint is None or request.method == "OPTIONS":
        return
    if is_open(request.endpoint) and find_operation(current_app.view_functions[request.endpoint]) is None:
        return
    route = str(request.url_rule)
    g.span = tracing.start_span(
        f"{request.method} {route}",
        Kind.SERVER,
        parent=request.headers.get("traceparent"),
        state=request.headers.get("tracestate", ""),
        about={"http.request.method": request.method, "http.route": route},
    )
    g.span.__enter__()


def _set_attributes(response: Response) -> Response:
    if (span := g.get("span")) is not None:
        span.set_attribute("http.response.status_code", response.status_code)
        if (caller := g.get("caller")) is not None:
            span.set_attribute("ava.tenant.id", caller.tenant_id)
        if response.status_code >= 500:
            span.record_failure(str(response.status_code))
    return response


def _end_span(_error: BaseException | None) -> None:
    if (span := g.pop("span", None)) is not None:
        span.__exit__(None, None, None)
