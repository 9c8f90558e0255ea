"""Identify a caller by a session: the dashboard's cookie, or the link that starts a session.

The cookie is protected against pages of other sites:

- `SameSite=Strict`: a browser does not send it with requests from other sites. But pages on another port or a sister
  domain belong to the same site, so …
- … a browser that states a request's origin (`Sec-Fetch-Site`) must name one of our pages or the user;
- a request that may change something must name its tenant in `x-tenant-id`. No form, link or image can send a header,
  and a script of another origin only after a preflight, which never allows cookies (no
  `Access-Control-Allow-Credentials`). The header also names the tenant to change, whatever tenant another tab shows.
"""

from __future__ import annotations

from functools import partial

from flask import g, request

from ava.api.http.callers import credentials
from ava.api.http.callers.credentials import read_id
from ava.api.http.context import context
from ava.domain.access.caller import Caller
from ava.domain.access.sign_in import cookie_name
from ava.errors import Forbidden, SessionMissing
from ava.services.sessions import SessionUse

#: The endpoint that starts a session, the only one that accepts a link.
_SIGN_IN = "sessions.start"
_LINK = "link"
#: Values of `Sec-Fetch-Site` for our own pages, and for a URL that the user typed or pasted.
_OWN_SITES = ("same-origin", "none")
_READING = ("GET", "HEAD", "OPTIONS")


def by_session() -> Caller | None:
    """Return the caller of the session that the cookie names; None without a cookie.

    A role of the platform may name another tenant in x-tenant-id. Raises `SessionEnded`, `Forbidden`,
    `InvalidParameters`.
    """
    if not (cookie := request.cookies.get(cookie_name(request.host))):
        return None
    if request.headers.get("sec-fetch-site", "none") not in _OWN_SITES:
        raise Forbidden(
            "A session's cookie is valid only for the pages of this address; use an API key for other origins."
        )
    check = partial(context().sessions.find, cookie)
    use = check()
    credentials.remember(check)
    if request.method not in _READING or request.headers.get("x-tenant-id"):
        use = use.at(read_id("x-tenant-id", "ten"))
    g.session_use = use
    return use.caller


def by_link() -> Caller | None:
    """Return the caller that created a link, and use the link up; None without a link or on any other endpoint.

    Raises `SessionEnded`.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if request.endpoint != _SIGN_IN or scheme.lower() != _LINK:
        return None
    return context().sessions.take_link(token.strip())


def current_session() -> SessionUse:
    """Return this request's session. Raises `SessionMissing` if the caller was identified by another credential."""
    use: SessionUse | None = g.get("session_use")
    if use is None:
        raise SessionMissing
    return use
