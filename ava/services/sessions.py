"""Use cases of sessions: sign in to the dashboard, view another tenant, and sign out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ava.domain.access import tokens
from ava.domain.access.caller import Caller, Role
from ava.domain.access.sign_in import LINK_SECONDS, SESSION_SECONDS, Session, read_cookie, write_cookie
from ava.domain.access.tokens import Token, TokenKind
from ava.domain.limits.table import USER_SESSIONS
from ava.errors import Forbidden, SessionEnded, Unauthorized
from ava.services.api_keys import cache_name
from ava.services.cache import Cache
from ava.settings import Settings
from ava.store.access import sessions
from ava.store.engine.database import Database

#: An ended session is refused everywhere within 2 s.
_TRUST_SECONDS = 1.5
_MAX_REMEMBERED = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionUse:
    session: Session
    tenant_id: str
    #: The session's token from the cookie.
    token: str = field(repr=False)

    @property
    def caller(self) -> Caller:
        return replace(_caller(self.session), tenant_id=self.tenant_id, role=self.roles[self.tenant_id])

    @property
    def roles(self) -> Mapping[str, Role]:
        """Return the caller's role in each tenant of its own, and in the viewed one."""
        session = self.session
        own = {session.tenant_id: session.role} if session.provider is None else session.provider.roles
        return {self.tenant_id: session.role, **own}

    def at(self, tenant_id: str) -> SessionUse:
        """Return the session with another viewed tenant. Raise `Forbidden` if its role may not view it."""
        session = self.session
        own = {session.tenant_id} if session.provider is None else {session.tenant_id, *session.provider.roles}
        # An API key belongs to one tenant, whatever its role, and so does a session that it started.
        is_free = session.role >= Role.PLATFORM_ADMIN and session.key_id is None
        if tenant_id not in own and not is_free:
            raise Forbidden("Only platform roles may view another tenant.")
        return replace(self, tenant_id=tenant_id)


class Sessions:
    #: Checks a session with the identity provider; returns True if it was renewed or ended. None without a provider.
    check: Callable[[Session], bool] | None = None

    def __init__(self, database: Database, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._keys, self._mark = settings.internal_secrets, settings.cell
        self._clock = clock
        self._known: Cache[bytes, Session] = Cache(_MAX_REMEMBERED)

    def start(self, caller: Caller) -> SessionUse:
        """Start a session; end the caller's oldest sessions beyond `USER_SESSIONS`."""
        session, token = self._create(caller, TokenKind.SESSION, seconds=SESSION_SECONDS)
        return SessionUse(session=session, tenant_id=caller.tenant_id, token=token)

    def make_link(self, caller: Caller) -> tuple[Session, str]:
        """Create a link that starts one session of the caller. Return it and its token."""
        return self._create(caller, TokenKind.LINK, seconds=LINK_SECONDS)

    def _create(self, caller: Caller, kind: TokenKind, *, seconds: int) -> tuple[Session, str]:
        token, key = tokens.make(kind, self._mark), self._keys[0]
        with self._database.transaction() as connection:
            made = sessions.create(
                connection, caller, token=token, key=key, seconds=seconds, max_sessions=USER_SESSIONS.value
            )
        if made is None:
            # The caller's API key has just been revoked.
            raise Unauthorized
        return made, token.encoded

    def take_link(self, token: str) -> Caller:
        """Use up a link. Return its creator. Raise `SessionEnded` if it was used or has expired."""
        if (parsed := tokens.parse(token, TokenKind.LINK)) is None:
            raise SessionEnded("The link is not valid; create another with `ava dashboard`.")
        with self._database.connect() as connection:
            found = sessions.find(connection, parsed, keys=self._keys)
            if found is None or not sessions.take_link(connection, found[0]):
                raise SessionEnded("The link was already used or has expired; create another with `ava dashboard`.")
        link = found[0]
        return _caller(link)

    def cookie_of(self, use: SessionUse) -> str:
        return write_cookie(use.token, tenant_id=use.tenant_id, own_tenant_id=use.session.tenant_id)

    def find(self, cookie: str) -> SessionUse:
        """Return the session of a cookie. Raise `SessionEnded`, `Forbidden`."""
        if (read := read_cookie(cookie)) is None:
            raise SessionEnded
        token, tenant_id = read
        session = self._find(token)
        use = SessionUse(session=session, tenant_id=session.tenant_id, token=token.encoded)
        return use if tenant_id is None else use.at(tenant_id)

    def _find(self, token: Token) -> Session:
        # Before the database is read, so that no session is cached for too long.
        now, name = self._clock(), cache_name(token)
        if (known := self._known.get(name, now)) is not None:
            return known
        with self._database.connect() as connection:
            found = sessions.find(connection, token, keys=self._keys)
        if found is None or found[1] <= 0:
            raise SessionEnded
        session, seconds_left = found
        if session.provider is not None and self.check is None:
            # AVA_OIDC_ISSUER was removed.
            raise SessionEnded
        if session.provider is not None and session.provider.is_check_due and self.check and self.check(session):
            # Read what the check has changed.
            return self._find(token)
        self._known.put(name, session, until=now + min(_TRUST_SECONDS, seconds_left))
        return session

    def forget(self) -> None:
        """Read every session again at its next use."""
        self._known.clear()

    def end(self, session: Session) -> None:
        """End a session, immediately here and within 2 s in other processes."""
        with self._database.connect() as connection:
            sessions.delete(connection, session)
        self._known.clear()

    def end_all(self, caller: Caller) -> int:
        """End the sessions and links of the caller's API key, or of its user. Return their number."""
        with self._database.connect() as connection:
            ended = sessions.delete_all_of(connection, caller)
        self._known.clear()
        return ended


def _caller(session: Session) -> Caller:
    return Caller(
        tenant_id=session.tenant_id,
        user_id=session.user_id,
        role=session.role,
        key_id=session.key_id,
        sees_payloads=session.payloads,
        sign_in=None if session.provider is None else session.provider.proof,
    )
