"""The part of sessions that the identity provider determines, and the nonces and logout tokens that were used."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from ava.domain.access.caller import SignInProof
from ava.domain.access.sign_in import CHECK_SECONDS, CHECKED_SECONDS, RECHECK_SECONDS, Person, Session
from ava.store.engine.database import Connection
from ava.store.engine.statement import Deletion, Statement

# The session was created in the same transaction, for its longest life.
_ADD = Statement("""
WITH bounded AS (
    UPDATE sessions AS s SET expires_at = least(s.expires_at, now() + %(checked_seconds)s * interval '1 second')
    WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid
)
INSERT INTO oidc_sessions (tenant_id, session_id, subject, sid, name, roles, token, is_refresh, authenticated_at, acr,
    next_check_at, ends_at)
VALUES (%(tenant_id)s, %(id)s::uuid, %(subject)s, %(sid)s, %(name)s, %(roles)s::jsonb, %(token)s, %(is_refresh)s,
    %(authenticated_at)s, %(acr)s, now() + %(check_seconds)s * interval '1 second', %(ends_at)s)
""")


def add(
    connection: Connection, session: Session, person: Person, *, sid: str | None, proof: SignInProof, sealed: str,
    is_refresh: bool,
) -> None:  # fmt: skip
    """Add the provider's claims to a new session, which expires unless it is checked. `sealed`: the token."""
    parameters = _checked(session, person, sealed=sealed, is_refresh=is_refresh) | {
        "subject": person.subject,
        "sid": sid,
        "authenticated_at": proof.at,
        "acr": proof.acr,
        "ends_at": session.expires_at,
    }
    connection.exec_driver_sql(_ADD, parameters)


def _checked(session: Session, person: Person, *, sealed: str, is_refresh: bool) -> dict[str, object]:
    return {
        "tenant_id": session.tenant_id,
        "id": session.id,
        "name": person.name,
        "roles": json.dumps({tenant_id: role.header for tenant_id, role in person.roles.items()}),
        "token": sealed,
        "is_refresh": is_refresh,
        "check_seconds": CHECK_SECONDS,
        "checked_seconds": CHECKED_SECONDS,
    }


# One process checks a session; if it fails, the next check is soon.
_CLAIM_CHECK = Statement("""
UPDATE oidc_sessions AS o SET next_check_at = now() + %(seconds)s * interval '1 second'
WHERE o.tenant_id = %(tenant_id)s AND o.session_id = %(id)s::uuid AND o.next_check_at <= now()
RETURNING o.subject, o.token, o.is_refresh
""")


def claim_check(connection: Connection, session: Session) -> tuple[str, str, bool] | None:
    """Claim the check of a session. Return subject, sealed token and whether that is a refresh token.

    Return None if another process checks the session, or it has ended.
    """
    parameters = {"tenant_id": session.tenant_id, "id": session.id, "seconds": RECHECK_SECONDS}
    row = connection.exec_driver_sql(_CLAIM_CHECK, parameters).first()
    return None if row is None else (row[0], row[1], row[2])


_RENEW = Statement("""
WITH checked AS (
    UPDATE oidc_sessions AS o SET name = %(name)s, roles = %(roles)s::jsonb, token = %(token)s,
        is_refresh = %(is_refresh)s, next_check_at = now() + %(check_seconds)s * interval '1 second'
    WHERE o.tenant_id = %(tenant_id)s AND o.session_id = %(id)s::uuid
    RETURNING o.ends_at
)
UPDATE sessions AS s SET role = %(role)s,
    expires_at = least(c.ends_at, now() + %(checked_seconds)s * interval '1 second')
FROM checked AS c WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid AND s.expires_at > now()
""")


def renew(connection: Connection, session: Session, person: Person, *, sealed: str, is_refresh: bool) -> bool:
    """Record a successful check: the session is now valid for `CHECKED_SECONDS`. Returns False if it has ended."""
    parameters = _checked(session, person, sealed=sealed, is_refresh=is_refresh)
    parameters["role"] = person.roles[session.tenant_id].header
    return connection.exec_driver_sql(_RENEW, parameters).rowcount == 1


# Not scoped to a tenant: the provider ends the sessions of a person in all tenants.
_LOG_OUT = Statement("""
DELETE FROM sessions AS s USING oidc_sessions AS o
WHERE o.tenant_id = s.tenant_id AND o.session_id = s.id
    AND (%(sid)s::text IS NULL OR o.sid = %(sid)s) AND (%(subject)s::text IS NULL OR o.subject = %(subject)s)
    AND (%(sid)s::text IS NOT NULL OR %(subject)s::text IS NOT NULL)
""")


def log_out(connection: Connection, *, subject: str | None, sid: str | None) -> int:
    """End a person's sessions, or all that began in one session of the provider. Return their number."""
    return connection.exec_driver_sql(_LOG_OUT, {"subject": subject, "sid": sid}).rowcount


_USE = Statement("""
INSERT INTO oidc_used (hash, expires_at) VALUES (%(hash)s, %(expires_at)s) ON CONFLICT (hash) DO NOTHING
""")


def use(connection: Connection, value: str, *, until: datetime) -> bool:
    """Use up a nonce or logout token, which is invalid after `until`. Return False if it was used before."""
    parameters = {"hash": hashlib.sha256(value.encode()).digest(), "expires_at": until}
    return connection.exec_driver_sql(_USE, parameters).rowcount == 1


#: Deletes used tokens that have expired.
delete_used = Deletion("oidc_used", "expires_at < now()", order="expires_at")
