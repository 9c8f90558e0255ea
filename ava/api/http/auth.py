"""Authentication: the four headers of every request."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from flask import current_app, g, request

from ava.api.http.context import context
from ava.domain import ids
from ava.domain.caller import Caller, Role
from ava.errors import Forbidden, InvalidParameters, Unauthorized

__all__ = ["ROLES", "identify", "is_open", "is_secret", "name_request", "open_to_all"]

#: The roles as the header has them, the least first.
ROLES = tuple(role.name.lower().replace("_", "-") for role in Role)

View = TypeVar("View", bound=Callable[..., Any])

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")


def open_to_all(view: View) -> View:
    """Mark a view that needs none of the headers; every other view needs all four."""
    view.is_open_to_all = True  # type: ignore[attr-defined]
    return view


def is_open(endpoint: str) -> bool:
    """Returns True if the view was marked by `open_to_all`."""
    return getattr(current_app.view_functions[endpoint], "is_open_to_all", False)


def name_request() -> None:
    """Give the request an id: the caller's own if it is a sane one."""
    theirs = request.headers.get("x-request-id", "")
    g.request_id = theirs if _SANE_REQUEST_ID.fullmatch(theirs) else ids.encode("req", ids.new_uuid())


def identify() -> None:
    """Identify the caller, for every route that is not open to all.

    Raises `Unauthorized`, `InvalidParameters` or `Forbidden`, for the first header that is wrong.
    """
    if request.endpoint is None or is_open(request.endpoint):
        # Without an endpoint there is no such route. That is no secret: /openapi.json lists the routes.
        return
    if not is_secret(request.headers.get("x-internal-secret", ""), context().settings.internal_secrets):
        raise Unauthorized
    g.caller = Caller(tenant_id=_client_id("x-tenant-id", "ten"), user_id=_client_id("x-user-id", "usr"), role=_role())


def is_secret(given: str, secrets: Iterable[str]) -> bool:
    """Returns True if a header's value is one of the shared keys."""
    # All keys are compared, so that the time reveals nothing. WSGI decodes the bytes of a header as latin-1.
    given_bytes = given.encode("latin-1", "replace")
    return bool(given) and True in [hmac.compare_digest(given_bytes, secret.encode()) for secret in secrets]


def _client_id(header: str, prefix: str) -> str:
    value = request.headers.get(header, "")
    if not value:
        raise _refused(header, f"it is missing; send an id such as {prefix}_01hxyz")
    if not ids.is_client_id(prefix, value):
        raise _refused(header, f"it must be {prefix}_ and 1 to 60 of a-z, 0-9 and _")
    return value


def _role() -> Role:
    value = request.headers.get("x-platform-role", "")
    if not value:
        raise _refused("x-platform-role", f"it is missing; send one of {', '.join(ROLES)}")
    if (role := Role.parse(value)) is None:
        raise Forbidden(f"The role in x-platform-role is unknown; send one of {', '.join(ROLES)}.")
    return role


def _refused(header: str, reason: str) -> InvalidParameters:
    return InvalidParameters(f"Header {header}: {reason}.", {header: [reason[0].upper() + reason[1:] + "."]})
