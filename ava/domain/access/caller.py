"""The caller of the API, and what its role allows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """The platform's roles; each may do what the ones below it may.

    `WORKER` stands outside that order: API keys alone have it, and may do what `open_to_workers` marks.
    """

    WORKER = 0
    TENANT_USER = 1
    TENANT_ADMIN = 2
    TENANT_SYSTEM_ADMIN = 3
    PLATFORM_ADMIN = 4
    PLATFORM_SYSTEM_ADMIN = 5

    @classmethod
    def parse(cls, text: str) -> Role | None:
        """Returns the role of a header's text, such as `tenant-user`; None if there is no such role there."""
        return _BY_NAME.get(text)

    @classmethod
    def of_key(cls, text: str) -> Role | None:
        """Returns the role of an API key, `worker` too; None if there is no such role."""
        return cls.WORKER if text == cls.WORKER.header else cls.parse(text)

    @property
    def header(self) -> str:
        """Returns the role as a header and a record have it."""
        return self.name.lower().replace("_", "-")


_BY_NAME = {role.header: role for role in Role if role is not Role.WORKER}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who makes a request. Everything read or written belongs to its tenant."""

    tenant_id: str
    #: The user who acts, a label; of an API key without a user the key's id.
    user_id: str
    role: Role
    #: The API key that stands for the caller; None if another way identified it.
    key_id: str | None = None
    #: Whether it sees payloads, by its API key and by its role.
    sees_payloads: bool = True
    #: Of the role `worker`: the workers whose runs it may claim, and whether it may claim those of every tenant.
    worker_ids: frozenset[str] = frozenset()
    is_of_platform: bool = False

    @property
    def principal(self) -> str:
        """Returns who the caller is: the API key where one is used, whatever user its holder names, else the user."""
        return self.key_id or self.user_id

    @property
    def is_operator(self) -> bool:
        """Returns True if this caller may see the machines, and the workers of all tenants."""
        return self.role >= Role.PLATFORM_ADMIN

    @property
    def may_write(self) -> bool:
        """Returns True if this caller may trigger, cancel, retry and change webhooks."""
        return self.role >= Role.TENANT_SYSTEM_ADMIN
