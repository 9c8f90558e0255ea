"""API keys: created and revoked by their tenants, found by requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.api_key import ApiKey, ApiKeySpec
from ava.domain.access.caller import Caller, Role
from ava.domain.access.tokens import Token
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement


def _role(name: str) -> Role:
    found = Role.of_key(name)
    # A role that a later release added gets the lowest rights here.
    return Role.TENANT_USER if found is None else found


_ROWS = RecordRows(
    ApiKey,
    "k",
    columns={"prefix": "k.lookup", "worker_ids": "k.workers"},
    readers={"role": _role},
    without=("token",),
)
_COLUMNS, _key = _ROWS.columns, _ROWS.read

# The lock serializes the creations of one tenant, so that the count is exact.
_LOCK_TENANT = Statement("SELECT pg_advisory_xact_lock(hashtextextended('api keys of ' || %(tenant_id)s, 0))")


def lock(connection: Connection, *, tenant_id: str) -> None:
    """Block the creation of a tenant's keys until the transaction ends."""
    connection.exec_driver_sql(_LOCK_TENANT, {"tenant_id": tenant_id})


# No key outlives the key that created it. A contained identity creates none.
_CREATE = Statement(f"""
INSERT INTO api_keys AS k (tenant_id, name, role, lookup, hash, created_by, made_with, person, payloads, expires_at,
                           workers, is_of_platform, triggers)
SELECT %(tenant_id)s, %(name)s, %(role)s, %(lookup)s, %(hash)s, %(created_by)s, %(made_with)s::uuid,
    CASE WHEN %(made_with)s::uuid IS NULL THEN %(user_id)s ELSE (SELECT c.person FROM api_keys AS c
        WHERE c.tenant_id = %(tenant_id)s AND c.id = %(made_with)s::uuid) END, %(payloads)s,
    least(%(expires_at)s, (SELECT m.expires_at FROM api_keys AS m
        WHERE m.tenant_id = %(tenant_id)s AND m.id = %(made_with)s::uuid)), %(workers)s::text[], %(is_of_platform)s,
    %(triggers)s::text[]
WHERE (SELECT count(*) FROM api_keys WHERE tenant_id = %(tenant_id)s) < %(max_keys)s
    AND NOT EXISTS (SELECT FROM contained_scopes AS s
        WHERE s.tenant_id = %(tenant_id)s AND split_part(%(created_by)s, ' ', 1) = ANY(s.identity_ids))
    AND (%(made_with)s::uuid IS NULL OR EXISTS (SELECT FROM api_keys AS e
        WHERE e.tenant_id = %(tenant_id)s AND e.id = %(made_with)s::uuid))
RETURNING {_COLUMNS}
""")


def create(
    connection: Connection,
    spec: ApiKeySpec,
    *,
    caller: Caller,
    token: Token,
    max_keys: int,
) -> ApiKey | None:
    """Create a key in a transaction. If the caller used an API key, the new key expires with it.

    Returns None if the tenant has reached `max_keys`, or if the caller's API key was revoked.
    """
    tenant_id = caller.tenant_id
    lock(connection, tenant_id=tenant_id)
    parameters = {
        "tenant_id": tenant_id,
        "name": spec.name,
        "role": spec.role.header,
        "lookup": token.lookup,
        "hash": tokens.hash_of(token),
        "created_by": caller.actor.text,
        "user_id": caller.user_id,
        "made_with": None if caller.key_id is None else key_uuid(caller.key_id),
        "expires_at": spec.expires_at,
        "payloads": spec.payloads,
        "workers": None if spec.worker_ids is None else list(spec.worker_ids),
        "is_of_platform": spec.is_of_platform,
        "triggers": list(spec.triggers),
        "max_keys": max_keys,
    }
    row = connection.exec_driver_sql(_CREATE, parameters).first()
    return None if row is None else _key(row)


_SHOW = Statement(f"""
SELECT {_COLUMNS} FROM api_keys AS k WHERE k.tenant_id = %(tenant_id)s AND k.id = %(id)s::uuid
""")


def show(connection: Connection, *, tenant_id: str, key_id: str) -> ApiKey | None:
    row = connection.exec_driver_sql(_SHOW, {"tenant_id": tenant_id, "id": key_uuid(key_id)}).first()
    return None if row is None else _key(row)


_PAGE = Statement(f"""
SELECT {_COLUMNS} FROM api_keys AS k
WHERE k.tenant_id = %(tenant_id)s AND (%(before_id)s::uuid IS NULL OR k.id < %(before_id)s::uuid)
ORDER BY k.id DESC LIMIT %(limit)s OFFSET %(offset)s
""")
_COUNT = Statement("SELECT count(*) FROM api_keys AS k WHERE k.tenant_id = %(tenant_id)s")


def page(
    connection: Connection, *, tenant_id: str, limit: int, offset: int = 0, before_id: str | None = None
) -> Sequence[ApiKey]:
    before = None if before_id is None else key_uuid(before_id)
    parameters = {"tenant_id": tenant_id, "limit": limit, "offset": offset, "before_id": before}
    return [_key(row) for row in connection.exec_driver_sql(_PAGE, parameters)]


def count(connection: Connection, *, tenant_id: str) -> int:
    return int(connection.exec_driver_sql(_COUNT, {"tenant_id": tenant_id}).scalar_one())


_DELETE = Statement(f"""
DELETE FROM api_keys AS k WHERE k.tenant_id = %(tenant_id)s AND k.id = %(id)s::uuid RETURNING {_COLUMNS}
""")


def delete(connection: Connection, *, tenant_id: str, key_id: str) -> ApiKey | None:
    """Delete a key and all keys created with it. Returns the key; None if the tenant has none."""
    row = connection.exec_driver_sql(_DELETE, {"tenant_id": tenant_id, "id": key_uuid(key_id)}).first()
    return None if row is None else _key(row)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundKey:
    id: str
    tenant_id: str
    role: Role
    #: Seconds until it expires, negative if it has expired; None if it never expires.
    seconds_left: float | None
    #: Whether a minute has passed since its last use was recorded.
    is_use_due: bool
    payloads: bool
    #: As in `Caller`.
    worker_ids: frozenset[str] = frozenset()
    is_of_platform: bool = False


#: Min seconds between two records of a key's use.
_USE_SECONDS = 60
# The only statement here that is not scoped to a tenant, because the key determines it.
_FIND = Statement(f"""
SELECT k.id::text, k.tenant_id, k.role, extract(epoch FROM k.expires_at - clock_timestamp())::float8,
    coalesce(k.last_used_at < now() - {_USE_SECONDS} * interval '1 second', true), k.payloads, k.workers,
    k.is_of_platform, k.hash
FROM api_keys AS k WHERE k.lookup = %(lookup)s
""")


def find(connection: Connection, token: Token) -> FoundKey | None:
    """Return the key with this token, expired or not, or None if there is none."""
    row = connection.exec_driver_sql(_FIND, {"lookup": token.lookup}).first()
    if not tokens.is_hash_of(None if row is None else bytes(row[-1]), token) or row is None:
        return None
    uuid, tenant_id, role, seconds_left, is_use_due, payloads, worker_ids, is_of_platform, _ = row
    return FoundKey(
        id=ids.encode("key", uuid),
        tenant_id=tenant_id,
        role=_role(role),
        seconds_left=seconds_left,
        is_use_due=is_use_due,
        payloads=payloads,
        worker_ids=frozenset(worker_ids or ()),
        is_of_platform=is_of_platform,
    )


_RECORD_USE = Statement(f"""
UPDATE api_keys AS k SET last_used_at = now()
WHERE k.tenant_id = %(tenant_id)s AND k.id = %(id)s::uuid
    AND coalesce(k.last_used_at < now() - {_USE_SECONDS} * interval '1 second', true)
""")


def record_use(connection: Connection, *, tenant_id: str, key_id: str) -> None:
    """Record that a key is used now, unless a use was recorded less than a minute ago."""
    connection.exec_driver_sql(_RECORD_USE, {"tenant_id": tenant_id, "id": key_uuid(key_id)})


key_uuid = partial(ids.to_uuid, "key")
