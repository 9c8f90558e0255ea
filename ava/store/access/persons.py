"""The persons behind actors, and the API keys of a person or key. Revoked keys stay known for `AVA_AUDIT_DAYS`."""

from __future__ import annotations

from collections.abc import Iterable

from ava.domain import ids
from ava.domain.access.actor import Actor, ActorKind, join, split
from ava.domain.access.caller import Caller
from ava.store.access.api_keys import key_uuid
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

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


_DELETE_OLD = Statement("""
DELETE FROM former_keys AS f WHERE (f.tenant_id, f.id) IN (
    SELECT o.tenant_id, o.id FROM former_keys AS o WHERE o.revoked_at < now() - %(retention_days)s * interval '1 day'
    ORDER BY o.revoked_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
""")


def delete_old(connection: Connection, *, retention_days: float, limit: int) -> int:
    """Delete the keys that were revoked longest ago, beyond retention. Returns their number."""
    return connection.exec_driver_sql(_DELETE_OLD, {"retention_days": retention_days, "limit": limit}).rowcount
