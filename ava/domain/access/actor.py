"""The actor: who did something, as records and the database store it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class ActorKind(StrEnum):
    """The kind of an actor."""

    USER = "user"
    KEY = "key"
    JOB = "job"
    SYSTEM = "system"


class Via(StrEnum):
    """How an actor proved its identity."""

    HEADERS = "headers"
    OIDC = "oidc"
    KEY = "key"
    HANDLER = "handler"


@dataclass(frozen=True, kw_only=True)
class Actor:
    """An identity that acted. `Caller.actor` returns that of a request."""

    id: str | None = field(
        metadata={"description": "The user (`usr_…`), API key (`key_…`) or job (`job_…`); null for the system."}
    )
    kind: ActorKind
    via: Via | None = field(metadata={"description": "How it proved its identity; null for the system."})
    label: str | None = field(
        default=None, metadata={"description": "With an API key: the user that the request named, if any."}
    )
    #: Whether it acted with a role of the platform; the roles of a tenant do not see such an actor.
    is_operator: bool = False

    @property
    def json(self) -> str:
        """Return the actor as the database stores it."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Actor:
        """Return the actor that the database stores as a JSON object."""
        via = None if stored["via"] is None else Via(stored["via"])
        return cls(**{**stored, "kind": ActorKind(stored["kind"]), "via": via})


#: A process of this installation.
SYSTEM = Actor(id=None, kind=ActorKind.SYSTEM, via=None)
