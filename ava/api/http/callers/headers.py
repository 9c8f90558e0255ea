"""Identification by the four headers: the shared key, and the tenant, user and role that its holder speaks for."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from flask import request

from ava.api.http.context import context
from ava.domain import ids
from ava.domain.access.caller import Caller, Role
from ava.errors import Forbidden, InvalidParameters, Unauthorized

#: The roles as the header has them, the least first.
ROLES = tuple(role.header for role in Role if role is not Role.WORKER)


def by_headers() -> Caller | None:
    """Returns the caller that the four headers name; None if x-internal-secret was not sent.

    Raises `Unauthorized`, `InvalidParameters` or `Forbidden`, for the first header that is wrong.
    """
    if not (secret := request.headers.get("x-internal-secret", "")):
        return None
    if not is_secret(secret, context().settings.internal_secrets):
        raise Unauthorized
    return Caller(tenant_id=read_id("x-tenant-id", "ten"), user_id=read_id("x-user-id", "usr"), role=_role())


def is_secret(given: str, secrets: Iterable[str]) -> bool:
    """Returns True if a header's value is one of the shared keys."""
    # All keys are compared, so that the time reveals nothing. WSGI decodes the bytes of a header as latin-1.
    given_bytes = given.encode("latin-1", "replace")
    return bool(given) and True in [hmac.compare_digest(given_bytes, secret.encode()) for secret in secrets]


def read_id(header: str, prefix: str) -> str:
    """Returns the id in a header. Raises `InvalidParameters` if it is missing or malformed."""
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
