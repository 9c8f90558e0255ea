"""Identification by an API key: `Authorization: Bearer ava_…` stands for the tenant and the role."""

from __future__ import annotations

from functools import partial

from flask import request

from ava.api.http.callers import revocation
from ava.api.http.callers.headers import read_id
from ava.api.http.context import context
from ava.domain.access.caller import Caller

_SCHEME = "bearer"


def by_key() -> Caller | None:
    """Returns the caller that an API key stands for; None if the request has no bearer token.

    The user is the one in x-user-id, else the key itself. Raises `Unauthorized` if the key is not valid, and
    `InvalidParameters` if x-user-id is malformed.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != _SCHEME:
        return None
    user_id = read_id("x-user-id", "usr") if request.headers.get("x-user-id") else None
    check = partial(context().api_keys.caller_of, token.strip(), user_id)
    found = check()
    revocation.remember(check)
    return found
