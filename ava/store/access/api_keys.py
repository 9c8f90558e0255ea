"""API keys: created and revoked by their tenants, found by requests; and the persons behind actors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.actor import Actor, ActorKind, join, split
from ava.domain.access.api_key import ApiKey, ApiKeySpec
from ava.domain.access.caller import Caller, Role
from ava.domain.access.tokens import Token
from ava.domain.counts import PageBounds
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Deletion, Statement


def _role(name: str) -> Role:
    found = Role.of_key(name)
    # A role that a later release added gets the lowest rights here.
    return Role.TENANT_USER if found is None else found


_ROWS = RecordRows(
    ApiKey, "k", columns={"prefix": "k.lookup", "worker_ids": "k.workers"}, readers={"role": _role}, without=("token",)
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


def create(connection: Connection, spec: ApiKeySpec, *, caller: Caller, token: Token, max_keys: int) -> ApiKey | None:
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
    return _ROWS.first(connection.exec_driver_sql(_CREATE, parameters))


_SHOW = Statement(f"""
SELECT {_COLUMNS} FROM api_keys AS k WHERE k.tenant_id = %(tenant_id)s AND k.id = %(id)s::uuid
""")


def show(connection: Connection, *, tenant_id: str, key_id: str) -> ApiKey | None:
    return _ROWS.first(connection.exec_driver_sql(_SHOW, {"tenant_id": tenant_id, "id": key_uuid(key_id)}))


_PAGE, _COUNT = _ROWS.newest("api_keys", "k.tenant_id = %(tenant_id)s")


def page(connection: Connection, *, tenant_id: str, bounds: PageBounds) -> tuple[list[ApiKey], int]:
    """Return keys of a tenant, newest first, and their number."""
    return _ROWS.page(connection, (_PAGE, _COUNT), bounds, tenant_id=tenant_id)


_DELETE = Statement(f"""
DELETE FROM api_keys AS k WHERE k.tenant_id = %(tenant_id)s AND k.id = %(id)s::uuid RETURNING {_COLUMNS}
""")


def delete(connection: Connection, *, tenant_id: str, key_id: str) -> ApiKey | None:
    """Delete a key and all keys created with it. Returns the key; None if the tenant has none."""
    return _ROWS.first(connection.exec_driver_sql(_DELETE, {"tenant_id": tenant_id, "id": key_uuid(key_id)}))


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundKey:
    id: str = field(metadata={"prefix": "key"})
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
_IS_USE_DUE = f"coalesce(k.last_used_at < now() - {_USE_SECONDS} * interval '1 second', true)"
_FOUND_ROWS = RecordRows(
    FoundKey,
    "k",
    columns={
        "seconds_left": "extract(epoch FROM k.expires_at - clock_timestamp())::float8",
        "is_use_due": _IS_USE_DUE,
        "worker_ids": "coalesce(k.workers, '{}')",
    },
    readers={"role": _role, "worker_ids": frozenset},
)
# The only statement here that is not scoped to a tenant, because the key determines it.
_FIND = Statement(f"SELECT {_FOUND_ROWS.columns}, k.hash FROM api_keys AS k WHERE k.lookup = %(lookup)s")


def find(connection: Connection, token: Token) -> FoundKey | None:
    """Return the key with this token, expired or not, or None if there is none."""
    row = connection.exec_driver_sql(_FIND, {"lookup": token.lookup}).first()
    if not tokens.is_hash_of(None if row is None else bytes(row[-1]), token) or row is None:
        return None
    return _FOUND_ROWS.read(row)


_RECORD_USE = Statement(f"""
UPDATE api_keys AS k SET last_used_at = now()
WHERE k.tenant_id = %(tenant_id)s AND k.id = %(id)s::uuid AND {_IS_USE_DUE}
""")


def record_use(connection: Connection, *, tenant_id: str, key_id: str) -> None:
    """Record that a key is used now, unless a use was recorded less than a minute ago."""
    connection.exec_driver_sql(_RECORD_USE, {"tenant_id": tenant_id, "id": key_uuid(key_id)})


key_uuid = partial(ids.to_uuid, "key")


# Inlined, so that each condition on `all_keys` reads an index of both tables.
_ALL_KEYS = """all_keys AS NOT MATERIALIZED (
    SELECT k.id, k.made_with, k.person FROM api_keys AS k WHERE k.tenant_id = %(tenant_id)s
    UNION ALL SELECT f.id, f.made_with, f.person FROM former_keys AS f WHERE f.tenant_id = %(tenant_id)s
)"""
_BEHIND = Statement(f"""
WITH {_ALL_KEYS} SELECT a.id::text, a.person FROM all_keys AS a WHERE a.id = ANY(%(ids)s::uuid[])
""")


def behind(connection: Connection, *, tenant_id: str, actors: Iterable[Actor]) -> dict[str, str | None]:
    """Return the person behind each actor, by the actor's id: a user, or the creator of the first key of its chain.

    None: unknown, because the key was revoked too long ago, or no person, such as a handler. The system has no entry.
    """
    given = {each.id: each for each in actors if each.id is not None}
    found = {id_: id_ if each.kind is ActorKind.USER else None for id_, each in given.items()}
    uuids = [key_uuid(id_) for id_, each in given.items() if each.kind is ActorKind.KEY]
    if uuids:
        rows = connection.exec_driver_sql(_BEHIND, {"tenant_id": tenant_id, "ids": uuids})
        found.update((ids.encode("key", uuid), person) for uuid, person in rows)
    return found


def with_changer(connection: Connection, caller: Caller, changers: str | None) -> str:
    """Return the `changers` of a schedule, subscription or hook once the caller has changed it.

    Persons, because a client may send each change with another key.
    """
    by = caller.actor
    person = behind(connection, tenant_id=caller.tenant_id, actors=[by])[str(by.id)]
    return join([*split(changers), by if person is None else Actor.parse(person)])


_KEYS_OF = Statement(f"""
WITH RECURSIVE {_ALL_KEYS}, below (id) AS (
    SELECT a.id FROM all_keys AS a WHERE a.id = %(key_id)s::uuid OR a.person = %(person)s
    UNION
    SELECT a.id FROM below AS b JOIN all_keys AS a ON a.made_with = b.id
)
SELECT below.id::text FROM below
""")


def keys_of(connection: Connection, *, tenant_id: str, identity_id: str) -> list[str]:
    """Return a key with all keys below it in its chains, or all keys of a user; revoked ones too."""
    parameters = {"tenant_id": tenant_id, "key_id": key_uuid(identity_id), "person": identity_id}
    return [ids.encode("key", uuid) for (uuid,) in connection.exec_driver_sql(_KEYS_OF, parameters)]


#: Deletes the keys that were revoked longest ago, beyond retention.
delete_old = Deletion("former_keys", "revoked_at < now() - %(retention_days)s * interval '1 day'", order="revoked_at")
