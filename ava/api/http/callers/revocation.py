"""Revoked credentials: a response that lasts, such as a stream, ends when what identified its caller is revoked."""

from __future__ import annotations

from collections.abc import Callable

from flask import g

from ava.errors import DatabaseUnavailable, Unauthorized


def remember(check: Callable[[], object]) -> None:
    """Keep how to check this request's credential again. `check` raises `Unauthorized` once it is not valid."""
    g.credential_check = check


def revocation_watch() -> Callable[[], bool]:
    """Returns a function that returns True once the credential of this request is revoked or has expired.

    It may be called when the request is over. During an outage of the database it returns False.
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
