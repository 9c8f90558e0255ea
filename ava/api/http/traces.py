"""The part of a trace that is a request: it joins the caller's, and what follows from it joins it."""

from __future__ import annotations

from flask import Flask, Response, g, request

from ava import tracing
from ava.api.http.auth import is_open
from ava.tracing import Kind

__all__ = ["install"]


def install(app: Flask) -> None:
    """Trace every request that is not open to all, if this process traces: whoever asks for our health is no news."""
    if tracing.is_on():
        app.before_request(_begin)
        app.after_request(_note)
        app.teardown_request(_end)


def _begin() -> None:
    if request.endpoint is None or is_open(request.endpoint) or request.method == "OPTIONS":
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


def _note(answer: Response) -> Response:
    if (span := g.get("span")) is not None:
        span.set_attribute("http.response.status_code", answer.status_code)
        if (caller := g.get("caller")) is not None:
            span.set_attribute("ava.tenant.id", caller.tenant_id)
        if answer.status_code >= 500:
            span.record_failure(str(answer.status_code))
    return answer


def _end(_error: BaseException | None) -> None:
    if (span := g.pop("span", None)) is not None:
        span.__exit__(None, None, None)
