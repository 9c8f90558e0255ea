"""`/livez` and `/readyz`, for service managers and load balancers."""

from __future__ import annotations

import json

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.callers.auth import open_to_all
from ava.api.http.context import context

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
@open_to_all
def livez() -> Response:
    """This process answers."""
    return responses.as_json('{"status":"ok"}\n')


@blueprint.get("/readyz")
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
    text = json.dumps({"status": report.status, "checks": checks}, separators=(",", ":")) + "\n"
    return responses.as_json(text, 503 if report.status == "unavailable" else 200)
