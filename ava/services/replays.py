"""Idempotency keys: a repeated request gets the result of the first one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ava.domain.access.caller import Caller
from ava.domain.jobs.job import JobSpec
from ava.errors import IdempotencyKeyReused
from ava.store.engine.database import Connection
from ava.store.jobs import idempotency


def reserve(connection: Connection, caller: Caller, key: str | None, *, kind: str, asked: Any) -> str | None:
    """Reserve a request's idempotency key, if it has one, in the transaction that creates its object.

    `asked`: the request's content as JSON values. Return the UUID of the object that an earlier request with the key
    created. Raise `IdempotencyKeyReused` if that request had different content.
    """
    if key is None:
        return None
    digest = hashlib.sha256(kind.encode() + json.dumps(asked, sort_keys=True, default=str).encode()).digest()
    earlier = reserve_for(connection, caller, key, digest)
    return None if earlier is None else earlier[0]


def reserve_for(connection: Connection, caller: Caller, key: str, digest: bytes) -> Sequence[str] | None:
    """Reserve an idempotency key for a request's digest, in the transaction that creates its objects.

    Return the UUIDs of the objects that an earlier request with the key created, in order. Raise `IdempotencyKeyReused`
    if that request had a different digest.
    """
    earlier = idempotency.reserve(connection, tenant_id=caller.tenant_id, key=key, fingerprint=digest)
    if earlier is None:
        return None
    if earlier.fingerprint != digest:
        raise IdempotencyKeyReused
    return earlier.uuids


def reserve_each(
    connection: Connection, caller: Caller, specs: Sequence[JobSpec], digests: Sequence[bytes]
) -> dict[int, str]:
    """Reserve the keys of entries, in the transaction that creates their jobs.

    Return the UUIDs of jobs that earlier requests created, by entry index. Raise `IdempotencyKeyReused` for the first
    entry if its key was used for a different job.
    """
    keys = {key: digest for spec, digest in zip(specs, digests, strict=True) if (key := spec.idempotency_key)}
    earlier = idempotency.reserve_each(connection, tenant_id=caller.tenant_id, fingerprints=keys)
    found: dict[int, str] = {}
    for n, spec in enumerate(specs):
        if (request := earlier.get(spec.idempotency_key)) is None:
            continue
        if request.fingerprint != digests[n]:
            error = IdempotencyKeyReused()
            error.entry = n
            raise error
        found[n] = request.uuids[0]
    return found


def digest_of_jobs(specs: Sequence[JobSpec]) -> bytes:
    """Return the digest of a request for jobs, independent of the key order in inputs."""
    digest = hashlib.sha256()
    for spec in specs:
        asked = [
            spec.worker_id,
            json.loads(spec.input_json),
            spec.trigger,
            spec.priority,
            None if spec.scheduled_at is None else spec.scheduled_at.isoformat(),
            spec.retry_of,
        ]
        if spec.tags_json != "{}":
            asked.append(json.loads(spec.tags_json))
        asked += [asdict(key) for key in (spec.dedupe, spec.debounce) if key is not None]
        if spec.entry is not None:
            asked.append(asdict(spec.entry))
        if spec.deadline_seconds is not None:
            asked.append({"deadline_seconds": spec.deadline_seconds})
        for name in ("expires_in_seconds", "start_before", "max_retries", "approval_json"):
            if (value := getattr(spec, name)) is not None:
                asked.append({name: value})
        digest.update(json.dumps(asked, sort_keys=True, default=str).encode())
    return digest.digest()
