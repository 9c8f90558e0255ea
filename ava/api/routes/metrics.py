"""`/metrics`, for Prometheus."""

from __future__ import annotations

from flask import Blueprint, Response, request

from ava.api.http.auth import is_secret, open_to_all
from ava.api.http.context import context
from ava.errors import DatabaseUnavailable, Unauthorized
from ava.metrics import counters

__all__ = ["blueprint"]

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
@open_to_all
def scrape() -> Response:
    """What the system and these processes have to tell. It names tenants, so it wants the shared key.

    As `x-internal-secret` or, as Prometheus sends it by itself, `Authorization: Bearer …`. Without the database the
    processes' own counters are told all the same, and `ava_database_up` is 0. Raises `Unauthorized`.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-internal-secret", "")
    if not is_secret(given, context().settings.internal_secrets):
        raise Unauthorized
    try:
        measures, is_up = context().operators.measures.expose(), 1
    except DatabaseUnavailable:
        measures, is_up = b"", 0
    about_database = (
        f"# HELP ava_database_up 1 while the database answers.\n# TYPE ava_database_up gauge\nava_database_up {is_up}\n"
    )
    text = measures + counters.expose() + about_database.encode()
    return Response(text, mimetype="text/plain", content_type="text/plain; version=0.0.4; charset=utf-8")
