"""Idempotency keys. The transaction that creates the jobs writes the key's row, so both exist or neither.

Of two concurrent calls with one key, the second waits at the key's row until the first transaction ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ava.domain import ids
from ava.domain.jobs.job import Job
from ava.store.engine.database import Connection
from ava.store.engine.statement import Deletion, Statement, array
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import is_compared

HOURS = 24


@dataclass(frozen=True, kw_only=True)
class EarlierRequest:
    fingerprint: bytes
    #: UUIDs of the created objects, in order: jobs, unless the fingerprint belongs to another kind of request.
    uuids: Sequence[str]


_RESERVE = Statement(f"""
INSERT INTO idempotency_keys AS k (tenant_id, key, fingerprint)
VALUES (%(tenant_id)s, %(key)s, %(fingerprint)s)
ON CONFLICT (tenant_id, key) DO UPDATE SET fingerprint = excluded.fingerprint, created_at = now(), job_ids = '{{}}'
WHERE k.created_at < now() - interval '{HOURS} hours'
RETURNING true
""")
_EARLIER_REQUEST = Statement("""
SELECT fingerprint, job_ids::text[] FROM idempotency_keys WHERE tenant_id = %(tenant_id)s AND key = %(key)s
""")


def reserve(connection: Connection, *, tenant_id: str, key: str, fingerprint: bytes) -> EarlierRequest | None:
    """Reserve a key for the transaction's jobs. Returns the earlier request if the key is taken."""
    parameters = {"tenant_id": tenant_id, "key": key, "fingerprint": fingerprint}
    if connection.exec_driver_sql(_RESERVE, parameters).scalar():
        return None
    known, uuids = connection.exec_driver_sql(_EARLIER_REQUEST, parameters).one()
    return EarlierRequest(fingerprint=bytes(known), uuids=uuids)


# Ordered by key, so that calls with the same keys do not deadlock.
_RESERVE_EACH = Statement(f"""
INSERT INTO idempotency_keys AS k (tenant_id, key, fingerprint)
SELECT %(tenant_id)s, t.key, t.fingerprint
FROM unnest(%(keys)s::text[], %(fingerprints)s::bytea[]) AS t (key, fingerprint) ORDER BY t.key
ON CONFLICT (tenant_id, key) DO UPDATE SET fingerprint = excluded.fingerprint, created_at = now(), job_ids = '{{}}'
WHERE k.created_at < now() - interval '{HOURS} hours'
RETURNING key
""")
_EARLIER_REQUESTS = Statement("""
SELECT key, fingerprint, job_ids::text[] FROM idempotency_keys
WHERE tenant_id = %(tenant_id)s AND key = ANY(%(keys)s)
""")


def reserve_each(
    connection: Connection, *, tenant_id: str, fingerprints: Mapping[str, bytes]
) -> dict[str | None, EarlierRequest]:
    """Reserve keys for the transaction's jobs, one each. Returns the earlier requests of the taken keys."""
    keys = list(fingerprints)
    parameters = {"tenant_id": tenant_id, "keys": keys, "fingerprints": list(fingerprints.values())}
    reserved = set(connection.exec_driver_sql(_RESERVE_EACH, parameters).scalars())
    taken = [key for key in keys if key not in reserved]
    if not taken:
        return {}
    found = connection.exec_driver_sql(_EARLIER_REQUESTS, {"tenant_id": tenant_id, "keys": taken})
    return {key: EarlierRequest(fingerprint=bytes(known), uuids=uuids) for key, known, uuids in found}


# Named after requests that create jobs, but other requests store their UUIDs in `job_ids` too.
_RECORD = Statement("""
UPDATE idempotency_keys SET job_ids = %(uuids)s::uuid[] WHERE tenant_id = %(tenant_id)s AND key = %(key)s
""")


def record(connection: Connection, *, tenant_id: str, key: str | None, made: Sequence[str]) -> None:
    """Store the ids of the objects that a key's request created, in the transaction of `reserve`.

    Without a key, nothing is stored.
    """
    if key is not None:
        uuids = [ids.to_uuid(each.rpartition("_")[0], each) for each in made]
        connection.exec_driver_sql(_RECORD, {"tenant_id": tenant_id, "key": key, "uuids": uuids})


_RECORD_EACH = Statement("""
UPDATE idempotency_keys AS k SET job_ids = ARRAY[t.uuid]
FROM unnest(%(keys)s::text[], %(uuids)s::uuid[]) AS t (key, uuid)
WHERE k.tenant_id = %(tenant_id)s AND k.key = t.key
""")


def record_each(connection: Connection, *, tenant_id: str, job_ids: Mapping[str, str]) -> None:
    """Store the job of each key, in the transaction of `reserve_each`."""
    uuids = [rows.job_uuid(job_id) for job_id in job_ids.values()]
    connection.exec_driver_sql(_RECORD_EACH, {"tenant_id": tenant_id, "keys": list(job_ids), "uuids": uuids})


#: Deletes expired keys.
delete_expired = Deletion("idempotency_keys", f"created_at < now() - interval '{HOURS} hours'", order="created_at")


_DEDUPED = Statement(f"""
SELECT {rows.JOB_COLUMNS}, j.dedupe_key
FROM unnest(%(worker_ids)s::text[], %(keys)s::text[]) AS k (worker_id, key) CROSS JOIN LATERAL (
    SELECT * FROM jobs WHERE tenant_id = %(tenant_id)s AND worker_id = k.worker_id AND dedupe_key = k.key
        AND status IN ('queued', 'running') LIMIT 1
) AS j WHERE {is_compared()}
""")


def find_deduped(
    connection: Connection, *, tenant_id: str, keys: Sequence[tuple[str, str]], checked: Collection[str]
) -> dict[tuple[str, str], Job]:
    """Return the unfinished jobs of keys; none while a containment is active that is not in `checked` (UUIDs)."""
    found = connection.exec_driver_sql(_DEDUPED, _dedupe_parameters(tenant_id, keys) | {"checked": array(checked)})
    return {(job.worker_id, row[-1]): job for row in found for job in [rows.job(row)]}


def _dedupe_parameters(tenant_id: str, keys: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "worker_ids": [worker_id for worker_id, _ in keys],
        "keys": [key for _, key in keys],
    }
