"""Idempotency keys: a second request with a key gets what the first one made."""

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
    """Reserve an idempotency key, if the request has one, in the transaction that makes the thing.

    `asked`: what the request asks for, as values of JSON. Returns the UUID of the thing that an earlier request with
    the key made. Raises `IdempotencyKeyReused` if that request asked for something else.
    """
    if key is None:
        return None
    digest = hashlib.sha256(kind.encode() + json.dumps(asked, sort_keys=True, default=str).encode()).digest()
    earlier = reserve_for(connection, caller, key, digest)
    return None if earlier is None else earlier[0]


def reserve_for(connection: Connection, caller: Caller, key: str, digest: bytes) -> Sequence[str] | None:
    """Reserve an idempotency key for a request with a digest, in the transaction that makes the things.

    Returns the UUIDs of what an earlier request with the key made, in order. Raises `IdempotencyKeyReused` if that
    request has another digest.
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
    """Reserve the keys of entries, in the transaction that makes their jobs.

    Returns the UUIDs of the jobs that earlier requests have made, by the entries' indices. Raises
    `IdempotencyKeyReused` for the first entry whose key came with another job.
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
    """Returns the digest of a request for jobs; the order of an input's names makes no difference."""
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
        for name in ("expires_in", "start_before", "max_retries"):
            if (value := getattr(spec, name)) is not None:
                asked.append({name: value})
        digest.update(json.dumps(asked, sort_keys=True, default=str).encode())
    return digest.digest()
