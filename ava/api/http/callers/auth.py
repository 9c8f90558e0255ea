"""Authenticate requests: identify the caller by one of several credentials."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from flask import current_app, g, request

from ava.api.http.callers.credentials import by_headers, by_key, by_provider, by_run
from ava.api.http.callers.session import by_link, by_session
from ava.api.http.context import context
from ava.domain import ids
from ava.domain.access.caller import Caller, Role
from ava.errors import Forbidden, Unauthorized

#: Functions that identify a caller. Each returns None if the request lacks its credential, and raises if the credential
#: is invalid; so the first credential that a request has decides.
_WAYS: tuple[Callable[[], Caller | None], ...] = (
    by_run, by_headers, by_provider, by_key, by_link, by_session,
)  # fmt: skip

View = TypeVar("View", bound=Callable[..., Any])

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")


def open_to_all(view: View) -> View:
    """Mark a view that needs no caller; every other view needs one."""
    view.is_open_to_all = True  # type: ignore[attr-defined]
    return view


def open_to_workers(view: View) -> View:
    """Mark a view that API keys of the role `worker` may call; the view itself checks the key's workers."""
    view.is_open_to_workers = True  # type: ignore[attr-defined]
    return view


def is_open(endpoint: str) -> bool:
    """Return True if the view was marked by `open_to_all`."""
    return getattr(current_app.view_functions[endpoint], "is_open_to_all", False)


def name_request() -> None:
    """Give the request an id: the caller's own if it is valid."""
    theirs = request.headers.get("x-request-id", "")
    g.request_id = theirs if _SANE_REQUEST_ID.fullmatch(theirs) else ids.encode("req", ids.new_uuid())


def identify() -> None:
    """Identify the caller of every route that is not open to all; also called again after a long wait.

    Raises `Unauthorized` if the request has no credential, and otherwise the error of its first credential.
    """
    endpoint = request.endpoint
    if endpoint is None or is_open(endpoint):
        # Without an endpoint no route matches. That reveals nothing: /openapi.json lists the routes.
        return
    for way in _WAYS:
        if (found := way()) is not None:
            g.caller = _worker(found, endpoint) if found.role is Role.WORKER else _with_payloads(found)
            return
    raise Unauthorized


def _worker(found: Caller, endpoint: str) -> Caller:
    """Return a caller of the role `worker`, who sees the inputs of claimed runs. Raises `Forbidden`."""
    if not getattr(current_app.view_functions[endpoint], "is_open_to_workers", False):
        raise Forbidden("An API key of the role worker may only claim runs and read its workers.")
    return found


def _with_payloads(found: Caller) -> Caller:
    """Return the caller, without payload access unless its role also has it."""
    if found.role.header in context().settings.payload_roles:
        return found
    return replace(found, sees_payloads=False)
