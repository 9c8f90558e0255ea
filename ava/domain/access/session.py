"""Sessions of the dashboard, and their cookies.

A cookie contains the session's token and, after a dot, the tenant that its user views, unless it is the session's own.
The rest is in the database, so that a session can be ended there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.caller import Role, SignInProof
from ava.domain.access.tokens import Token, TokenKind

SESSION_SECONDS = 12 * 3600
LINK_SECONDS = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderSession:
    """The part of a session that the identity provider determines."""

    proof: SignInProof
    #: The person's name, if the provider tells one.
    name: str | None
    roles: Mapping[str, Role]
    #: No check extends the session beyond this.
    ends_at: datetime
    #: Whether the next check with the provider is due.
    is_check_due: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A session, or a link that starts one."""

    #: A UUID.
    id: str
    #: The tenant in which it began. Platform roles may view others.
    tenant_id: str
    user_id: str
    role: Role
    expires_at: datetime
    #: None with another method.
    key_id: str | None = None
    payloads: bool = True
    #: None: it began with another credential.
    provider: ProviderSession | None = None

    @property
    def ends_at(self) -> datetime:
        """Return when the session ends at the latest. The next check with the provider may end it earlier."""
        return self.expires_at if self.provider is None else self.provider.ends_at


def write_cookie(token: str, *, tenant_id: str, own_tenant_id: str) -> str:
    return token if tenant_id == own_tenant_id else f"{token}.{tenant_id}"


def read_cookie(value: str) -> tuple[Token, str | None] | None:
    """Return a cookie's token, and the viewed tenant (None: the session's own); None if the cookie is invalid."""
    head, mark, rest = value.partition(".")
    encoded, dot, tenant_id = rest.partition(".")
    token = tokens.parse(head + mark + encoded, TokenKind.SESSION)
    if token is None or (dot and not ids.is_client_id("ten", tenant_id)):
        return None
    return token, tenant_id or None


def cookie_name(host: str) -> str:
    """Return the cookie's name for the `Host` of a request.

    It contains the port, because browsers send a host's cookies to all its ports, and several installations on one
    machine would sign each other out.
    """
    port = re.search(r":(\d{1,5})$", host)
    return f"ava_session_{port[1]}" if port else "ava_session"
