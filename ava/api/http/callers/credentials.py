"""Identify a caller by headers, an API key, a run's token or an identity provider's; notice that one has ended."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

from flask import g, request

from ava.api.http.context import caller, context, this_request
from ava.domain import ids
from ava.domain.access.caller import Caller, Role
from ava.errors import DatabaseUnavailable, Forbidden, InvalidParameters, Unauthorized

#: The roles in the header's spelling, the least privileged first.
ROLES = tuple(role.header for role in Role if role is not Role.WORKER)
_BEARER = "bearer"
_RUNS_BLUEPRINT = "runs"
_RUN_ARGUMENT = "run"


def by_headers() -> Caller | None:
    """Return the caller that the four headers identify; None without x-internal-secret.

    Raises `Unauthorized`, `InvalidParameters` or `Forbidden`, for the first header that is wrong.
    """
    if not (secret := request.headers.get("x-internal-secret", "")):
        return None
    if not is_secret(secret, context().settings.internal_secrets):
        raise Unauthorized
    return Caller(tenant_id=read_id("x-tenant-id", "ten"), user_id=read_id("x-user-id", "usr"), role=_role())


def is_secret(given: str, secrets: Iterable[str]) -> bool:
    """Return True if a header's value equals one of the shared keys."""
    # Compare all keys, so that the time reveals nothing. WSGI decodes header bytes as latin-1.
    given_bytes = given.encode("latin-1", "replace")
    return bool(given) and True in [hmac.compare_digest(given_bytes, secret.encode()) for secret in secrets]


def read_id(header: str, prefix: str) -> str:
    """Return the id in a header. Raises `InvalidParameters` if it is missing or malformed."""
    value = request.headers.get(header, "")
    if not value:
        raise _refused(header, f"it is missing; send an id such as {prefix}_01hxyz")
    if not ids.is_client_id(prefix, value):
        raise _refused(header, f"it must be {prefix}_ and 1 to 60 of a-z, 0-9 and _")
    return value


def _role() -> Role:
    value = request.headers.get("x-platform-role", "")
    if not value:
        raise _refused("x-platform-role", f"it is missing; valid roles are {', '.join(ROLES)}")
    if (role := Role.parse(value)) is None:
        raise Forbidden(f"The role in x-platform-role is unknown; valid roles are {', '.join(ROLES)}.")
    return role


def _refused(header: str, reason: str) -> InvalidParameters:
    return InvalidParameters(f"Header {header}: {reason}.", {header: [reason[0].upper() + reason[1:] + "."]})


def by_key() -> Caller | None:
    """Return the caller that an API key identifies; None if the request has no bearer token.

    The user is x-user-id if it is given, otherwise the key itself. Raises `Unauthorized` if the key is invalid, and
    `InvalidParameters` if x-user-id is malformed.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != _BEARER:
        return None
    user_id = read_id("x-user-id", "usr") if request.headers.get("x-user-id") else None
    check = partial(context().api_keys.caller_of, token.strip(), user_id)
    found = check()
    remember(check)
    return found


def by_run() -> Caller | None:
    """Return the caller that a run's token identifies; None if the request's path has no token.

    Raises `RunNotFound`.
    """
    asked = this_request()
    token = (asked.view_args or {}).get(_RUN_ARGUMENT)
    return context().runs.caller_of(token) if token is not None and asked.blueprint == _RUNS_BLUEPRINT else None


def remember(check: Callable[[], object]) -> None:
    """Store how to check this request's credential again. `check` raises `Unauthorized` once it is invalid."""
    g.credential_check = check


def revocation_watch() -> Callable[[], bool]:
    """Return a function that returns True once this request's credential is revoked or has expired.

    It may be called after the request has ended. During a database outage it returns False.
    """
    check: Callable[[], object] | None = g.get("credential_check")

    def is_revoked() -> bool:
        if check is None:
            return False
        try:
            check()
        except Unauthorized:
            return True
        except DatabaseUnavailable:
            return False
        return False

    return is_revoked


#: A JWT has three parts; an API key has two.
_DOTS_OF_JWT = 2


def by_provider() -> Caller | None:
    """Return the caller whom a JWT of the identity provider identifies; None without a provider or a JWT.

    Raises `Unauthorized`, `ClaimMissing`, `InvalidParameters`, `Forbidden` or `ProviderUnavailable`.
    """
    sign_in = context().sign_in
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if sign_in is None or scheme.lower() != _BEARER or token.count(".") != _DOTS_OF_JWT:
        return None
    tenant_id = read_id("x-tenant-id", "ten") if request.headers.get("x-tenant-id") else None
    check = partial(sign_in.caller_of, token.strip(), tenant_id)
    found = check()
    remember(check)
    return found


def require_step_up() -> None:
    """Raise `StepUpRequired` if this decision needs a more recent or stronger sign-in by the identity provider.

    Callers by headers, API key or run have no such sign-in, and are not affected.
    """
    if (sign_in := context().sign_in) is not None:
        sign_in.step_up.require(caller(), datetime.now(UTC))
