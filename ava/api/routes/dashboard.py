"""`/`: the dashboard. Plain files; all that it shows it reads from this API, with the caller's own headers."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, send_from_directory

from ava.api.http.auth import open_to_all

__all__ = ["blueprint"]

blueprint = Blueprint("dashboard", __name__)

_STATIC = Path(__file__).parent.parent / "static" / "dashboard"
#: Nothing but our own files, and nothing inline: a value that is HTML could not run even where it was not escaped.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


@blueprint.get("/")
@open_to_all
def page() -> Response:
    """The one page; its modules make it what its address says."""
    return _guarded(send_from_directory(_STATIC, "index.html", max_age=0))


@blueprint.get("/dashboard/<path:name>")
@open_to_all
def asset(name: str) -> Response:
    """The page's own files; a browser asks again each time, and is told when nothing has changed."""
    return _guarded(send_from_directory(_STATIC, name, max_age=0))


def _guarded(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return answer
