"""Pages: the dashboard at `/`, the API's description at `/openapi.json` and `/docs`, and the error codes.

The dashboard is static files, which read all that they show from this API with the caller's headers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from pathlib import Path

from flask import Blueprint, Response, current_app, send_from_directory

from ava.api import openapi
from ava.api.http import offload, response_hooks, responses
from ava.api.http.callers.auth import open_to_all
from ava.api.http.context import context
from ava.error_codes import ErrorCode

docs = Blueprint("docs", __name__)
dashboard = Blueprint("dashboard", __name__)

_STATIC = Path(__file__).parent.parent / "static"
#: Only our own files; images may also be embedded in the style sheet.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DASHBOARD = _STATIC / "dashboard"
_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)


def _digest_of_import_map() -> str:
    """Return the digest of the dashboard's import map as a policy names it; browsers take import maps only inline."""
    found = _IMPORT_MAP.search((_DASHBOARD / "index.html").read_text())
    assert found
    return base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()


#: Only our own files, and of inline scripts the import map alone: a value that contains HTML cannot run even if it is
#: not escaped.
_DASHBOARD_POLICY = (
    f"default-src 'none'; script-src 'self' 'sha256-{_digest_of_import_map()}'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@docs.get("/openapi.json")
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


@docs.get("/docs", endpoint="page")
@open_to_all
def docs_page() -> Response:
    """Show a page to try the API."""
    return _with_docs_policy(Response((_STATIC / "docs.html").read_bytes(), mimetype="text/html"))


@docs.get("/docs/static/<path:name>", endpoint="asset")
@open_to_all
def docs_asset(name: str) -> Response:
    """Send a file of that page."""
    return _with_docs_policy(_file(_STATIC, name, max_age=3600))


@docs.get("/docs/errors")
@open_to_all
def explained_errors() -> Response:
    """Explain each error code; the `docs_url` of every failure links here."""
    rows = "".join(
        f'<div><dt id="{code}">{code}</dt>'
        + "".join(f"<dd>{status}. {escape(meaning)}</dd>" for status, meaning in code.meanings.items())
        + "</div>"
        for code in ErrorCode
    )
    return _with_docs_policy(
        Response(
            (_STATIC / "errors.html").read_text().replace("<!-- The codes -->", rows),
            mimetype="text/html",
        )
    )


def _with_docs_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _DOCS_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@dashboard.get("/", endpoint="page")
@open_to_all
def dashboard_page() -> Response:
    """Show the dashboard; its scripts draw the page that the address's fragment names."""
    if not (issuer := context().settings.oidc_issuer):
        return _with_dashboard_policy(_file(_DASHBOARD, "index.html", max_age=0))
    # The page to sign in offers the provider.
    host = escape(issuer.partition("://")[2].partition("/")[0])
    page = (_DASHBOARD / "index.html").read_text().replace("<html ", f'<html data-sign-in="{host}" ', 1)
    return _with_dashboard_policy(response_hooks.keep_until_changed(Response(page, mimetype="text/html")))


@dashboard.get("/dashboard/<path:name>", endpoint="asset")
@open_to_all
def dashboard_asset(name: str) -> Response:
    """Send a file of the dashboard; browsers revalidate it each time and get 304 if it has not changed."""
    return _with_dashboard_policy(_file(_DASHBOARD, name, max_age=0))


def _file(folder: Path, name: str, *, max_age: int) -> Response:
    """Return a file as a response with a body, which is compressed like every other; a file by itself is not."""
    response = send_from_directory(folder, name, max_age=max_age)
    response.direct_passthrough = False
    response.set_data(response.get_data())
    return response


def _with_dashboard_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _DASHBOARD_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response
