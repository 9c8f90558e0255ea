"""Idempotency keys of requests that make one thing: the second request gets what the first one made."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ava.domain.caller import Caller
from ava.errors import IdempotencyKeyReused
from ava.store.engine.database import Connection
from ava.store.jobs import idempotency

__all__ = ["reserve"]


def reserve(connection: Connection, caller: Caller, key: str | None, *, kind: str, asked: Any) -> str | None:
    """Reserve an idempotency key, if the request has one, in the transaction that makes the thing.

    `asked`: what the request asks for, as values of JSON. Returns the UUID of the thing that an earlier request with
    the key made. Raises `IdempotencyKeyReused` if that request asked for something else.
    """
    if key is None:
        return None
    digest = hashlib.sha256(kind.encode() + json.dumps(asked, sort_keys=True, default=str).encode()).digest()
    earlier = idempotency.reserve(connection, tenant_id=caller.tenant_id, key=key, fingerprint=digest)
    if earlier is None:
        return None
    if earlier.fingerprint != digest:
        raise IdempotencyKeyReused
    return str(earlier.uuids[0])
