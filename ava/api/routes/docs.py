"""The API's description: `/openapi.json`, the page `/docs` to try it, and the explanations of error codes."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from flask import Blueprint, Response, current_app, send_from_directory

from ava.api import openapi
from ava.api.http import offload, responses
from ava.api.http.callers.auth import open_to_all
from ava.api.http.context import context
from ava.error_codes import ErrorCode

blueprint = Blueprint("docs", __name__)

_STATIC = Path(__file__).parent.parent / "static"
#: Only our own files; images may also be embedded in the style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@blueprint.get("/openapi.json")
@open_to_all
def description() -> Response:
    """Show the OpenAPI description, made from the routes and schemas."""
    known: str | None = current_app.extensions.get("ava.openapi")
    if known is None:
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        public_url = context().settings.public_url
        # It takes 70 ms to make.
        known = offload.run(lambda: json.dumps(openapi.describe(app, public_url=public_url), separators=(",", ":")))
        app.extensions["ava.openapi"] = known
    return responses.as_json(known)


@blueprint.get("/docs")
@open_to_all
def page() -> Response:
    """Show a page to try the API."""
    return _with_policy(Response((_STATIC / "docs.html").read_bytes(), mimetype="text/html"))


@blueprint.get("/docs/static/<path:name>")
@open_to_all
def asset(name: str) -> Response:
    """Send one of that page's files."""
    return _with_policy(send_from_directory(_STATIC, name, max_age=3600))


@blueprint.get("/docs/errors")
@open_to_all
def explained_errors() -> Response:
    """Explain each error code; the `docs_url` of every failure links here."""
    rows = "".join(
        f'<div><dt id="{code}">{code}</dt>'
        + "".join(f"<dd>{status}. {escape(meaning)}</dd>" for status, meaning in code.meanings.items())
        + "</div>"
        for code in ErrorCode
    )
    return _with_policy(
        Response(
            (_STATIC / "errors.html").read_text().replace("<!-- The codes -->", rows),
            mimetype="text/html",
        )
    )


def _with_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
