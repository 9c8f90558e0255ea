"""Sessions of the dashboard: the tokens that cookies and links hold, signed so that a made-up one costs no query.

A token says which session it is of; everything else is in the database, where a session can be ended.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ava.domain.caller import Role

__all__ = ["LINK_SECONDS", "SESSION_SECONDS", "Session", "Use", "cookie_name", "read_token", "write_token"]

#: Seconds from the start of a session to its end.
SESSION_SECONDS = 12 * 3600
#: Seconds for which a link can be used.
LINK_SECONDS = 600

_TOKEN = re.compile(r"(?P<id>[0-9a-f-]{36})\.(?P<tenant_id>ten_[0-9a-z_]{1,60})\.(?P<signature>[0-9a-f]{64})")


class Use(StrEnum):
    """What a token is for. A token of one use is worth nothing for the other."""

    COOKIE = "cookie"
    LINK = "link"


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


def write_token(use: Use, session_id: str, tenant_id: str, keys: Sequence[str]) -> str:
    """Returns the token of a session that looks at a tenant, signed with the first of the shared keys."""
    return f"{session_id}.{tenant_id}.{_sign(use, session_id, tenant_id, keys[0])}"


def read_token(use: Use, token: str, keys: Sequence[str]) -> tuple[str, str] | None:
    """Returns the session's UUID and the tenant that it looks at; None if none of the shared keys has signed them."""
    if (found := _TOKEN.fullmatch(token)) is None:
        return None
    session_id, tenant_id, signature = found.groups()
    # All keys are compared, so that the time reveals nothing.
    if True not in [hmac.compare_digest(signature, _sign(use, session_id, tenant_id, key)) for key in keys]:
        return None
    return session_id, tenant_id


def cookie_name(host: str) -> str:
    """Returns the name of the cookie for the `Host` that a request names.

    It has the port in it, because browsers send the cookies of a host to each of its ports, and several installations
    on one machine would sign each other out.
    """
    port = re.search(r":(\d{1,5})$", host)
    return f"ava_session_{port[1]}" if port else "ava_session"


def _sign(use: Use, session_id: str, tenant_id: str, key: str) -> str:
    return hmac.new(key.encode(), f"ava {use}: {session_id} {tenant_id}".encode(), hashlib.sha256).hexdigest()
