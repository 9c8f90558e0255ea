"""Pages: the dashboard at `/`, the API's description at `/openapi.json` and `/docs`, and the error codes.

The dashboard is static files, which read all that they show from this API with the caller's headers. The address of
each file holds a digest of all of them, so that browsers cache them for good.
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
from ava.api.http import offload, responses
from ava.api.http.callers.auth import open_to_all
from ava.api.http.context import context
from ava.error_codes import ErrorCode

docs = Blueprint("docs", __name__)
dashboard = Blueprint("dashboard", __name__)

_STATIC = Path(__file__).parent.parent / "static"
_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)


def _digest_of_files() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in _STATIC.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(_STATIC)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


#: The digest of all static files at the process's start.
_DIGEST = _digest_of_files()


def _read(name: str) -> str:
    """Return a page whose addresses of static files have the digest."""
    return (_STATIC / name).read_text().replace('"/static/', f'"/static/{_DIGEST}/')


_DASHBOARD, _DOCS, _ERRORS = _read("dashboard/index.html"), _read("docs.html"), _read("errors.html")


def _digest_of_import_map() -> str:
    """Return the digest of the dashboard's import map as a policy names it; browsers take import maps only inline."""
    found = _IMPORT_MAP.search(_DASHBOARD)
    assert found
    return base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()


#: Only our own files; images may also be embedded in the style sheet.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
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
    return _with_docs_policy(Response(_DOCS, mimetype="text/html"))


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
    return _with_docs_policy(Response(_ERRORS.replace("<!-- The codes -->", rows), mimetype="text/html"))


def _with_docs_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _DOCS_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@dashboard.get("/", endpoint="page")
@open_to_all
def dashboard_page() -> Response:
    """Show the dashboard; its scripts draw the page that the address's fragment names."""
    page = _DASHBOARD
    if issuer := context().settings.oidc_issuer:
        # The page to sign in offers the provider.
        host = escape(issuer.partition("://")[2].partition("/")[0])
        page = page.replace("<html ", f'<html data-sign-in="{host}" ', 1)
    response = responses.keep_until_changed(Response(page, mimetype="text/html"))
    response.headers["Content-Security-Policy"] = _DASHBOARD_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


@dashboard.get("/static/<digest>/<path:name>", endpoint="asset")
@open_to_all
def static_file(digest: str, name: str) -> Response:
    """Send a static file; during a rolling deploy, a page of another version gets this version's file, uncached."""
    response = send_from_directory(_STATIC, name, etag=False)
    # A response with a body is compressed, a file is not.
    response.direct_passthrough = False
    response.set_data(response.get_data())
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if digest == _DIGEST else "no-store"
    return _with_docs_policy(response)
