"""The caller of the API, and the permissions of its role."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from ava.domain.access.actor import Actor, ActorKind, Via


class Role(IntEnum):
    """The platform's roles, with ascending permissions.

    Only API keys have `WORKER`, which is outside that order: for endpoints that `open_to_workers` marks.
    """

    WORKER = 0
    TENANT_USER = 1
    TENANT_ADMIN = 2
    TENANT_SYSTEM_ADMIN = 3
    PLATFORM_ADMIN = 4
    PLATFORM_SYSTEM_ADMIN = 5

    @classmethod
    def parse(cls, name: str) -> Role | None:
        """Return the role that a header names, such as `tenant-user`; None if it is unknown there."""
        return _BY_NAME.get(name)

    @classmethod
    def of_key(cls, name: str) -> Role | None:
        """Return the role of an API key, including `worker`; None if it is unknown."""
        return cls.WORKER if name == cls.WORKER.header else cls.parse(name)

    @property
    def header(self) -> str:
        return self.name.lower().replace("_", "-")


_BY_NAME = {role.header: role for role in Role if role is not Role.WORKER}


@dataclass(frozen=True, kw_only=True, slots=True)
class SignInProof:
    """How the identity provider authenticated a person."""

    #: None: the provider does not say.
    at: datetime | None
    #: The authentication context class, such as `phr` for a hardware key.
    acr: str | None


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The author of a request. Everything that it reads or writes belongs to its tenant."""

    tenant_id: str
    #: The acting user, a label; without one, the id of the API key.
    user_id: str
    role: Role
    #: None with another method.
    key_id: str | None = None
    #: Whether it sees payloads, by its API key and its role.
    sees_payloads: bool = True
    #: For the role `worker`: the workers that it may claim runs of, and whether for all tenants.
    worker_ids: frozenset[str] = frozenset()
    is_of_platform: bool = False
    #: Set if the identity provider identified the user.
    sign_in: SignInProof | None = None

    @property
    def actor(self) -> Actor:
        """Return the identity that acts: the API key, labelled with the user that its holder names, or the user."""
        if self.key_id is None:
            via = Via.HEADERS if self.sign_in is None else Via.OIDC
            return Actor(id=self.user_id, kind=ActorKind.USER, via=via, is_operator=self.is_operator)
        label = None if self.user_id == self.key_id else self.user_id
        return Actor(id=self.key_id, kind=ActorKind.KEY, via=Via.KEY, label=label, is_operator=self.is_operator)

    @property
    def is_operator(self) -> bool:
        """Return True if the caller may see the machines, and the workers of all tenants."""
        return self.role >= Role.PLATFORM_ADMIN

    @property
    def may_write(self) -> bool:
        return self.role >= Role.TENANT_SYSTEM_ADMIN
