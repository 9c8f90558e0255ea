"""`/`: the dashboard. Static files; their scripts read this API with the caller's credentials."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, send_from_directory

from ava.api.http.callers.auth import open_to_all

blueprint = Blueprint("dashboard", __name__)

_STATIC = Path(__file__).parent.parent / "static" / "dashboard"
#: Only our own files and no inline scripts: a value that contains HTML cannot run even if it is not escaped.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


@blueprint.get("/")
@open_to_all
def page() -> Response:
    """Show the dashboard; its scripts draw the page that the address's fragment names."""
    return _with_policy(send_from_directory(_STATIC, "index.html", max_age=0))


@blueprint.get("/dashboard/<path:name>")
@open_to_all
def asset(name: str) -> Response:
    """Send one of the dashboard's files; browsers revalidate it each time and get 304 if it has not changed."""
    return _with_policy(send_from_directory(_STATIC, name, max_age=0))


def _with_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response
