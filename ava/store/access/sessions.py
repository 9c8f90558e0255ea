"""Dashboard sessions, and the links that start them. Ended sessions have no row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ava.domain.access import tokens
from ava.domain.access.caller import Caller, Role, SignInProof
from ava.domain.access.sign_in import ProviderSession, Session
from ava.domain.access.tokens import Token, TokenKind
from ava.store.access.api_keys import key_uuid
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Deletion, Statement

# A session of an API key may see payloads if the key may.
_PAYLOADS = """s.key_id IS NULL OR EXISTS (SELECT FROM api_keys AS p
        WHERE p.tenant_id = s.tenant_id AND p.id = s.key_id AND p.payloads)"""
_ROWS = RecordRows(
    Session,
    "s",
    columns={"id": "s.id::text", "payloads": _PAYLOADS},
    # A role that a later release added gets the lowest rights here.
    readers={"role": lambda name: Role.parse(name) or Role.TENANT_USER},
    without=("provider",),
)
_PROVIDER = "o.authenticated_at, o.acr, o.name, o.roles, o.ends_at, o.next_check_at <= now()"

# No session outlives the API key that created it.
_CREATE = Statement(f"""
INSERT INTO sessions AS s (tenant_id, user_id, role, key_id, is_link, lookup, hash, expires_at)
SELECT %(tenant_id)s, %(user_id)s, %(role)s, %(key_id)s::uuid, %(is_link)s, %(lookup)s, %(hash)s,
    least(now() + %(seconds)s * interval '1 second', (SELECT k.expires_at FROM api_keys AS k
        WHERE k.tenant_id = %(tenant_id)s AND k.id = %(key_id)s::uuid))
WHERE %(key_id)s::uuid IS NULL OR EXISTS (SELECT 1 FROM api_keys AS e
    WHERE e.tenant_id = %(tenant_id)s AND e.id = %(key_id)s::uuid)
RETURNING {_ROWS.columns}
""")
#: The sessions of a caller: all of its API key, for any user, or of its user without a key.
_ARE_OF = """s.tenant_id = %(tenant_id)s AND s.key_id IS NOT DISTINCT FROM %(key_id)s::uuid
    AND (s.key_id IS NOT NULL OR s.user_id = %(user_id)s)"""
# Misses sessions that are being created concurrently; the next creation ends the excess ones.
_END_OLDEST = Statement(f"""
DELETE FROM sessions AS d WHERE d.tenant_id = %(tenant_id)s AND d.id IN (
    SELECT o.id FROM (
        SELECT s.id FROM sessions AS s WHERE {_ARE_OF} AND s.id <> %(new_id)s::uuid AND s.expires_at > now()
        ORDER BY s.created_at DESC, s.id DESC OFFSET %(max_others)s
    ) AS o ORDER BY o.id
)
""")


def create(
    connection: Connection, caller: Caller, *, token: Token, key: str, seconds: int, max_sessions: int
) -> Session | None:
    """Create the session or link with a token, valid for `seconds`. `key`: the shared key for the token's hash.

    Ends the caller's oldest sessions beyond `max_sessions`. Returns None if the caller's API key was revoked.
    """
    parameters = _owner(caller) | {
        "role": caller.role.header,
        "is_link": token.kind is TokenKind.LINK,
        "lookup": token.lookup,
        "hash": tokens.hash_of(token, key),
        "seconds": seconds,
    }
    created = _ROWS.first(connection.exec_driver_sql(_CREATE, parameters))
    if created is None:
        return None
    ending = _owner(caller) | {"new_id": created.id, "max_others": max_sessions - 1}
    connection.exec_driver_sql(_END_OLDEST, ending)
    return created


def _owner(caller: Caller) -> dict[str, object]:
    key_id = None if caller.key_id is None else key_uuid(caller.key_id)
    return {"tenant_id": caller.tenant_id, "user_id": caller.user_id, "key_id": key_id}


# Not scoped to a tenant, because the session determines it.
_FIND = Statement(f"""
SELECT {_ROWS.columns}, {_PROVIDER}, extract(epoch FROM s.expires_at - clock_timestamp())::float8, s.hash
FROM sessions AS s LEFT JOIN oidc_sessions AS o ON o.tenant_id = s.tenant_id AND o.session_id = s.id
WHERE s.lookup = %(lookup)s AND s.is_link = %(is_link)s
""")


def find(connection: Connection, token: Token, *, keys: Sequence[str]) -> tuple[Session, float] | None:
    """Return the session or link with a token, and the seconds until it expires, negative if it has expired.

    Returns None if there is none, or if no shared key created its hash.
    """
    parameters = {"lookup": token.lookup, "is_link": token.kind is TokenKind.LINK}
    row = connection.exec_driver_sql(_FIND, parameters).first()
    if not tokens.is_hash_of(None if row is None else bytes(row[-1]), token, keys) or row is None:
        return None
    return _ROWS.read(row, provider=_provider(row[_ROWS.count : -2])), row[-2]


_TAKE_LINK = Statement("""
DELETE FROM sessions AS s
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid AND s.is_link AND s.expires_at > now()
""")


def take_link(connection: Connection, link: Session) -> bool:
    """Use a link up. Returns False if it was used before or has expired. Of two concurrent calls, one succeeds."""
    parameters = {"tenant_id": link.tenant_id, "id": link.id}
    return connection.exec_driver_sql(_TAKE_LINK, parameters).rowcount == 1


_DELETE = Statement("DELETE FROM sessions AS s WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid")


def delete(connection: Connection, session: Session) -> None:
    connection.exec_driver_sql(_DELETE, {"tenant_id": session.tenant_id, "id": session.id})


_DELETE_ALL_OF = Statement(f"DELETE FROM sessions AS s WHERE {_ARE_OF}")


def delete_all_of(connection: Connection, caller: Caller) -> int:
    """End a caller's sessions and links: of its API key, or of its user in its tenant. Returns their number."""
    return connection.exec_driver_sql(_DELETE_ALL_OF, _owner(caller)).rowcount


#: Deletes expired sessions and links.
delete_expired = Deletion("sessions", "expires_at < now()", order="expires_at")


def _provider(row: Any) -> ProviderSession | None:
    authenticated_at, acr, name, roles, ends_at, is_check_due = row
    if roles is None:
        return None
    known = {tenant_id: role for tenant_id, name_ in roles.items() if (role := Role.parse(name_)) is not None}
    proof = SignInProof(at=authenticated_at, acr=acr)
    return ProviderSession(proof=proof, name=name, roles=known, ends_at=ends_at, is_check_due=is_check_due)
