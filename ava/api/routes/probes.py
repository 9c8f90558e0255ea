"""`/livez` and `/readyz` for service managers and load balancers, and `/metrics` for Prometheus."""

from __future__ import annotations

import json

from flask import Blueprint, Response, request

from ava.api.http import responses
from ava.api.http.callers.auth import open_to_all
from ava.api.http.callers.credentials import is_secret
from ava.api.http.context import context
from ava.errors import DatabaseUnavailable, Unauthorized
from ava.metrics import counters

health = Blueprint("health", __name__)


@health.get("/livez")
@open_to_all
def livez() -> Response:
    """This process answers."""
    return responses.as_json('{"status":"ok"}\n')


@health.get("/readyz")
@open_to_all
def readyz() -> Response:
    """Report whether this process can do its work: 503 without its database.

    Without the broker it still accepts jobs, so it is `degraded`, with the reason, and not unready: taking every API
    process out of service would turn a delay into an outage.
    """
    report = context().readiness.report()
    checks = {
        check.name: {"ok": check.is_ok, "reason": check.reason} if check.reason else {"ok": check.is_ok}
        for check in report.checks
    }
    body = json.dumps({"status": report.status, "checks": checks}, separators=(",", ":")) + "\n"
    return responses.as_json(body, 503 if report.status == "unavailable" else 200)


metrics = Blueprint("metrics", __name__)


@metrics.get("/metrics")
@open_to_all
def scrape() -> Response:
    """Show the metrics of the system and of the API's processes. They name tenants, so they need the shared key.

    The key is in `x-internal-secret` or, as Prometheus sends it, in `Authorization: Bearer …`. If the database is
    unreachable, only the processes' own metrics are shown, and `ava_database_up` is 0. Raises `Unauthorized`.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-internal-secret", "")
    if not is_secret(given, context().settings.internal_secrets):
        raise Unauthorized
    try:
        of_system, is_up = context().admin.metrics.expose(), 1
    except DatabaseUnavailable:
        of_system, is_up = b"", 0
    of_database = (
        f"# HELP ava_database_up 1 while the database answers.\n# TYPE ava_database_up gauge\nava_database_up {is_up}\n"
    )
    body = of_system + counters.expose() + of_database.encode()
    return Response(body, mimetype="text/plain", content_type="text/plain; version=0.0.4; charset=utf-8")
