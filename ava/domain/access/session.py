"""Sessions of the dashboard, and the cookies that name them.

A cookie holds the session's token, and after a dot the tenant that its user looks at, if that is not the session's own.
Everything else is in the database, where a session can be ended.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.caller import Role
from ava.domain.access.tokens import Token, TokenKind

#: Seconds from the start of a session to its end.
SESSION_SECONDS = 12 * 3600
#: Seconds for which a link can be used.
LINK_SECONDS = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A session, or a link that starts one."""

    #: Its UUID.
    id: str
    #: The tenant in which it began. A role of the platform may look at others.
    tenant_id: str
    user_id: str
    role: Role
    expires_at: datetime
    #: The API key that signed in; None if another way did.
    key_id: str | None = None
    #: Whether the API key that signed in sees payloads.
    payloads: bool = True


def write_cookie(token: str, *, tenant_id: str, own_tenant_id: str) -> str:
    """Returns the value of the cookie of a session of its own tenant that looks at a tenant."""
    return token if tenant_id == own_tenant_id else f"{token}.{tenant_id}"


def read_cookie(value: str) -> tuple[Token, str | None] | None:
    """Returns the token in a cookie and the tenant that it looks at, None for the session's own; None if it is none."""
    head, mark, rest = value.partition(".")
    text, dot, tenant_id = rest.partition(".")
    token = tokens.parse(head + mark + text, TokenKind.SESSION)
    if token is None or (dot and not ids.is_client_id("ten", tenant_id)):
        return None
    return token, tenant_id or None


def cookie_name(host: str) -> str:
    """Returns the name of the cookie for the `Host` that a request names.

    It has the port in it, because browsers send the cookies of a host to each of its ports, and several installations
    on one machine would sign each other out.
    """
    port = re.search(r":(\d{1,5})$", host)
    return f"ava_session_{port[1]}" if port else "ava_session"
