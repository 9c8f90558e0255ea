"""API keys: a token that stands for a tenant and a role. The database holds a hash of its secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain.access.caller import Role

#: The longest name of a key, in characters.
LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKeySpec:
    """What a client asks for."""

    name: str
    role: Role
    #: None if it never expires.
    expires_at: datetime | None = None
    #: Whether its holder sees payloads.
    payloads: bool = True
    #: Of the role `worker`: the workers whose runs it may claim; None of other roles.
    worker_ids: Sequence[str] | None = None
    #: Whether it claims the runs of every tenant.
    is_of_platform: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """An API key, without its token."""

    id: str
    tenant_id: str
    name: str
    role: Role
    #: The lookup part of its token.
    prefix: str
    #: The user, or the key, that created it.
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    #: None if it was never used. It is at most a minute behind.
    last_used_at: datetime | None
    #: Whether its holder sees payloads.
    payloads: bool = True
    #: As in `ApiKeySpec`.
    worker_ids: Sequence[str] | None = None
    is_of_platform: bool = False
    #: The token itself, in the answer that creates the key; None ever after.
    token: str | None = None

    @property
    def role_name(self) -> str:
        """Returns the role as clients see it."""
        return self.role.header
