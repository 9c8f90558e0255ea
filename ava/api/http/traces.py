"""The span of a request: a child of the caller's span, and the parent of the job's spans."""

from __future__ import annotations

from flask import Flask, Response, current_app, g, request

from ava.api.http.callers.auth import is_open
from ava.api.http.operations import find_operation
from ava.telemetry import tracing
from ava.telemetry.span import Kind


def install(app: Flask) -> None:
    """Trace the requests of described operations, so not health checks, if this process has tracing."""
    if tracing.is_on():
        app.before_request(_start)
        app.after_request(_set_attributes)
        app.teardown_request(_end)


def _start() -> None:
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


def _end(_error: BaseException | None) -> None:
    if (span := g.pop("span", None)) is not None:
        span.__exit__(None, None, None)
