"""Idempotency keys: the row is written in the transaction that creates the jobs, so it is there exactly when they are.

Two calls with one key at once meet at the key's row: the second waits for the first one's transaction, no longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.domain import ids
from ava.store.engine.database import Connection
from ava.store.jobs import rows

__all__ = ["EarlierRequest", "delete_expired", "record_jobs", "reserve"]

#: Hours for which a key is remembered.
HOURS = 24


@dataclass(frozen=True, kw_only=True)
class EarlierRequest:
    """What a key has done before."""

    #: The digest of what was asked for.
    fingerprint: bytes
    job_ids: Sequence[str]


_CLAIM = f"""
INSERT INTO idempotency_keys AS k (tenant_id, key, fingerprint)
VALUES (%(tenant_id)s, %(key)s, %(fingerprint)s)
ON CONFLICT (tenant_id, key) DO UPDATE SET fingerprint = excluded.fingerprint, created_at = now(), job_ids = '{{}}'
WHERE k.created_at < now() - interval '{HOURS} hours'
RETURNING true
"""


def reserve(connection: Connection, *, tenant_id: str, key: str, fingerprint: bytes) -> EarlierRequest | None:
    """Take a key for the transaction's jobs; what it did before, where it is taken already."""
    parameters = {"tenant_id": tenant_id, "key": key, "fingerprint": fingerprint}
    if connection.exec_driver_sql(_CLAIM, parameters).scalar():
        return None
    statement = (
        "SELECT fingerprint, job_ids::text[] FROM idempotency_keys WHERE tenant_id = %(tenant_id)s AND key = %(key)s"
    )
    known, job_ids = connection.exec_driver_sql(statement, parameters).one()
    return EarlierRequest(fingerprint=bytes(known), job_ids=[ids.encode("job", job_id) for job_id in job_ids])


def record_jobs(connection: Connection, *, tenant_id: str, key: str, job_ids: Sequence[str]) -> None:
    """Note the jobs that a key has made; in the same transaction as `claim`."""
    parameters = {"tenant_id": tenant_id, "key": key, "job_ids": [rows.job_uuid(job_id) for job_id in job_ids]}
    statement = (
        "UPDATE idempotency_keys SET job_ids = %(job_ids)s::uuid[] WHERE tenant_id = %(tenant_id)s AND key = %(key)s"
    )
    connection.exec_driver_sql(statement, parameters)


def delete_expired(connection: Connection, *, limit: int) -> int:
    """Forget keys that are past their time, the oldest first; how many went."""
    statement = (
        "DELETE FROM idempotency_keys WHERE (tenant_id, key) IN (SELECT tenant_id, key FROM idempotency_keys"
        f" WHERE created_at < now() - interval '{HOURS} hours' ORDER BY created_at LIMIT %(limit)s"
        " FOR UPDATE SKIP LOCKED)"
    )
    return connection.exec_driver_sql(statement, {"limit": limit}).rowcount
