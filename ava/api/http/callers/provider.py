"""Identify a caller by a token of the identity provider, and require a recent sign-in for a decision."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from flask import request

from ava.api.http.callers import credentials
from ava.api.http.context import caller, context
from ava.domain.access.caller import Caller

_BEARER = "bearer"
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
    tenant_id = credentials.read_id("x-tenant-id", "ten") if request.headers.get("x-tenant-id") else None
    check = partial(sign_in.caller_of, token.strip(), tenant_id)
    found = check()
    credentials.remember(check)
    return found


def require_step_up() -> None:
    """Raise `StepUpRequired` if this decision needs a more recent or stronger sign-in by the identity provider.

    Callers by headers, API key or run have no such sign-in, and are not affected.
    """
    if (sign_in := context().sign_in) is not None:
        sign_in.step_up.require(caller(), datetime.now(UTC))
