"""The description of this API: `/openapi.json`, a page to try it at `/docs`, and what each error means."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from flask import Blueprint, Response, current_app, send_from_directory

from ava.api import openapi
from ava.api.http import responses
from ava.api.http.auth import open_to_all

__all__ = ["blueprint"]

blueprint = Blueprint("docs", __name__)

_STATIC = Path(__file__).parent.parent / "static"
#: Nothing but our own files; pictures may also stand inside the style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_ERRORS = {
    "bad_request": "400. The body is not one JSON object in UTF-8, or not framed as HTTP asks for.",
    "validation_error": "400 where a header or query parameter is missing or malformed, or a required field is "
    "missing; 422 where a field is wrong: its type, range or choice, or it is not known. `fields` says which, and what "
    "would be right.",
    "unauthorized": "401. The header x-internal-secret is missing or wrong.",
    "forbidden": "403. The role in x-platform-role is unknown, or may not do this.",
    "resource_not_found": "404. There is no such job, worker or route for this tenant.",
    "method_not_allowed": "405. The route exists, the method does not; the header Allow lists those that do.",
    "resource_conflict": "409. The state forbids it: the job is final, or the worker is paused.",
    "payload_too_large": "413. The body or the input is larger than allowed.",
    "unsupported_media_type": "415. The body must be sent as application/json in UTF-8.",
    "idempotency_key_reused": "422. The same Idempotency-Key came with another body before.",
    "rate_limited": "429. Too many requests; try again after the seconds in Retry-After.",
    "internal_error": "500. Something went wrong on our side; the request_id finds it in the log.",
    "unavailable": "503. The database is out of reach; try again after the seconds in Retry-After.",
}


@blueprint.get("/openapi.json")
@open_to_all
def description() -> Response:
    """The OpenAPI description, made from the routes and schemas themselves."""
    known: str | None = current_app.extensions.get("ava.openapi")
    if known is None:
        known = json.dumps(openapi.describe(current_app), separators=(",", ":"))
        current_app.extensions["ava.openapi"] = known
    return responses.as_json(known)


@blueprint.get("/docs")
@open_to_all
def page() -> Response:
    """A page to try the API."""
    return _guarded(Response((_STATIC / "docs.html").read_bytes(), mimetype="text/html"))


@blueprint.get("/docs/static/<path:name>")
@open_to_all
def asset(name: str) -> Response:
    """The page's own files."""
    return _guarded(send_from_directory(_STATIC, name, max_age=3600))


@blueprint.get("/docs/errors")
@open_to_all
def explained_errors() -> Response:
    """What each error code means; every failure links here."""
    rows = "".join(f'<dt id="{code}">{code}</dt><dd>{escape(text)}</dd>' for code, text in _ERRORS.items())
    return _guarded(
        Response(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>AVA Jobs API: errors</title></head>'
            f"<body><h1>Errors</h1><dl>{rows}</dl></body></html>\n",
            mimetype="text/html",
        )
    )


def _guarded(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer
