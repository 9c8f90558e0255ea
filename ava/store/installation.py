"""The id of this installation, created with the schema, and the keys with which it signs."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from ava.domain.secrets.signing import PublicKey
from ava.store.engine.database import Connection, Database
from ava.store.engine.statement import Statement

if TYPE_CHECKING:
    from ava.settings import Settings

_READ = Statement("SELECT id::text FROM installation")


def read_id(settings: Settings) -> str:
    """Return the installation's id. Raises `DatabaseUnavailable`."""
    with closing(Database.of(settings, name="installation", pool_size=1)) as database, database.connect() as connection:
        return own_id(connection)


def own_id(connection: Connection) -> str:
    """Return the installation's id."""
    return str(connection.exec_driver_sql(_READ).scalar_one())


_ADD_KEY = Statement("""
INSERT INTO signing_keys (public_key, sealed) VALUES (%(public_key)s, %(sealed)s) ON CONFLICT DO NOTHING
""")


def add_key(connection: Connection, public: PublicKey, *, sealed: str | None) -> None:
    """Publish a key. `sealed`: its private half, unless another current one is stored; None: it is from a setting."""
    connection.exec_driver_sql(_ADD_KEY, {"public_key": public.x, "sealed": sealed})


_CURRENT_KEY = Statement("SELECT k.sealed FROM signing_keys AS k WHERE k.sealed IS NOT NULL")


def current_key(connection: Connection) -> str | None:
    """Return the sealed private key that signs now; None if none is stored."""
    found = connection.exec_driver_sql(_CURRENT_KEY).scalar()
    return None if found is None else str(found)


_RETIRE_KEY = Statement("UPDATE signing_keys AS k SET sealed = NULL WHERE k.sealed IS NOT NULL")


def retire_key(connection: Connection) -> None:
    """Delete the private key that signs now; its public key stays published."""
    connection.exec_driver_sql(_RETIRE_KEY)


_PUBLIC_KEYS = Statement("SELECT k.public_key FROM signing_keys AS k ORDER BY k.created_at DESC, k.public_key")


def public_keys(connection: Connection) -> list[PublicKey]:
    """Return all public keys, newest first."""
    return [PublicKey(x=x) for x in connection.exec_driver_sql(_PUBLIC_KEYS).scalars()]


_RESEAL_KEY = Statement("UPDATE signing_keys AS k SET sealed = %(new)s WHERE k.sealed = %(old)s")


def reseal_key(connection: Connection, *, old: str, new: str) -> bool:
    """Store the private key sealed with another key. Returns False if it has changed in between."""
    return connection.exec_driver_sql(_RESEAL_KEY, {"old": old, "new": new}).rowcount == 1
