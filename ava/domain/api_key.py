"""API keys: a token that stands for a tenant and a role. The database holds its hash only."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from ava.domain.caller import Role

__all__ = ["LONGEST_NAME", "ApiKey", "ApiKeySpec", "hash_of", "is_token", "new_token", "prefix_of"]

#: The longest name of a key, in characters.
LONGEST_NAME = 100
_MARK = "ava_"
#: 256 bits, so that a plain SHA-256 of a token cannot be reversed by trying.
_RANDOM_BYTES = 32
#: How many characters of a token are shown, so that its owner recognises it.
_SHOWN = 8
_TOKEN = re.compile(rf"{_MARK}[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKeySpec:
    """What a client asks for."""

    name: str
    role: Role
    #: None if it never expires.
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """An API key, without its token."""

    id: str
    tenant_id: str
    name: str
    role: Role
    #: The first characters of its token.
    prefix: str
    #: The user, or the key, that created it.
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    #: None if it was never used. It is at most a minute behind.
    last_used_at: datetime | None
    #: The token itself, in the answer that creates the key; None ever after.
    token: str | None = None

    @property
    def role_name(self) -> str:
        """Returns the role as clients see it."""
        return self.role.header


def new_token() -> str:
    """Returns a new token: `ava_` and 43 characters of base64url."""
    return _MARK + secrets.token_urlsafe(_RANDOM_BYTES)


def is_token(text: str) -> bool:
    """Returns True if a text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def prefix_of(token: str) -> str:
    """Returns the part of a token that may be shown."""
    return token[:_SHOWN]


def hash_of(token: str) -> bytes:
    """Returns what the database holds of a token."""
    return hashlib.sha256(token.encode()).digest()
