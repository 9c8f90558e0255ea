"""API keys: tokens with a tenant and a role. The database stores a hash of the secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ava.domain.access.actor import Actor
from ava.domain.access.caller import Role

LONGEST_NAME = 100
#: Stands for every worker in `triggers`.
ANY_WORKER = "*"


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKeySpec:
    name: str
    role: Role
    #: None: never.
    expires_at: datetime | None = None
    #: Whether its holder sees payloads.
    payloads: bool = True
    #: The workers whose runs it may claim; None unless its role is `worker`.
    worker_ids: Sequence[str] | None = None
    #: Whether it may claim runs of all tenants.
    is_of_platform: bool = False
    #: The workers of which its runs may create children; `ANY_WORKER` stands for all.
    triggers: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    id: str = field(metadata={"prefix": "key"})
    tenant_id: str
    name: str
    role: Role
    prefix: str = field(metadata={"description": "The 16 characters of the token after the dot. They are not secret."})
    created_by: Actor = field(metadata={"description": "The user or API key that created it."})
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = field(metadata={"description": "The time of the last use, at most a minute old."})
    payloads: bool = field(default=True, metadata={"description": "True if its holder sees payloads."})
    worker_ids: Sequence[str] | None = field(
        default=None,
        metadata={
            "name": "workers",
            "description": "For the role `worker`: the workers that the key may claim runs of; null for other roles.",
        },
    )
    is_of_platform: bool = False
    triggers: Sequence[str] = field(
        default=(), metadata={"description": "Claimed runs may create children of these workers; `*`: all."}
    )
    token: str | None = field(
        default=None,
        metadata={
            "description": "The token: `ava_`, two characters that name the installation, a dot, the 16 characters "
            "of `prefix`, and 43 secret characters. Shown only once: null if the response is repeated for the same "
            "Idempotency-Key."
        },
    )
