"""API keys: tokens with a tenant and a role. The database stores a hash of the secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ava.domain.access.actor import Actor
from ava.domain.access.caller import Role
from ava.domain.record import about

#: Stands for every worker in `triggers`.
ANY_WORKER = "*"


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKeySpec:
    name: str = field(metadata={"description": "A display name.", "longest": 100})
    role: Role = field(
        metadata=about(
            "The permissions of the key, at most the role of the caller. `worker` may only claim and end runs."
        )
    )
    expires_at: datetime | None = field(
        default=None,
        metadata=about(
            "When the key expires; null: never. A key created with another key expires with it at the latest."
        ),
    )
    payloads: bool = field(
        default=True,
        metadata=about("False: payloads are hidden from its holder: null or `(hidden)`, with `payload_hidden: true`."),
    )
    worker_ids: Sequence[str] | None = field(
        default=None,
        metadata={
            "name": "workers",
            "description": "For the role `worker`: the workers that the key may claim runs of; null for other roles.",
        },
    )
    #: Whether it may claim runs of all tenants.
    is_of_platform: bool = False
    triggers: Sequence[str] = field(
        default=(), metadata=about("Claimed runs may create children of these workers; `*`: all.")
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey(ApiKeySpec):
    id: str = field(metadata={"prefix": "key"})
    tenant_id: str
    prefix: str = field(metadata=about("The 16 characters of the token after the dot. They are not secret."))
    created_by: Actor = field(metadata=about("The user or API key that created it."))
    created_at: datetime
    last_used_at: datetime | None = field(metadata=about("The time of the last use, at most a minute old."))
    token: str | None = field(
        default=None,
        metadata=about(
            "The token: `ava_`, two characters that name the installation, a dot, the 16 characters "
            "of `prefix`, and 43 secret characters. Shown only once: null if the response is repeated for the same "
            "Idempotency-Key."
        ),
    )
