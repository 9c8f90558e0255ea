"""The actor: who did something, as records and the database store it.

Columns such as `jobs.origin` and `created_by` store it as a string: `usr_a`, `usr_a oidc`, `key_1`, or
`key_1 key usr_a`. The part before the first space is the identity; a label after it grants nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
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
    """An identity that acted. `Caller.actor` returns a request's actor."""

    id: str | None = field(
        metadata={"description": "The user (`usr_…`), API key (`key_…`) or job (`job_…`); null for the system."}
    )
    kind: ActorKind
    via: Via | None = field(metadata={"description": "How it proved its identity; null for the system."})
    label: str | None = field(
        default=None, metadata={"description": "With an API key: the user that the request named, if any."}
    )
    #: Whether it acted with a role of the platform; the roles of a tenant do not see such an actor.
    is_operator: bool = field(default=False, metadata={"internal": True})

    @property
    def json(self) -> str:
        """Return the actor as the columns of pauses store it."""
        return json.dumps(asdict(self))

    @property
    def words(self) -> str:
        """Return the actor in words: its identity, and the name that a key's holder chose as a label."""
        return f"{self.id or 'the system'}{f' (labelled {self.label})' if self.label else ''}"

    @property
    def name(self) -> str:
        """Return the user that it stands for, as `triggered_by` names it: its label or id."""
        return self.label or self.id or _SYSTEM

    @property
    def text(self) -> str:
        """Return the actor as `parse` reads it, without `is_operator`; only its id if that implies the rest."""
        if self.kind is ActorKind.SYSTEM:
            return _SYSTEM if self.id is None else f"{self.id} {_SYSTEM}"
        if self.label is None and self.via is _IMPLIED.get(self.kind):
            return str(self.id)
        return " ".join(filter(None, (self.id, self.via, self.label)))

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Actor:
        """Return the actor that the database stores as a JSON object."""
        via = None if stored["via"] is None else Via(stored["via"])
        return cls(**{**stored, "kind": ActorKind(stored["kind"]), "via": via})

    @classmethod
    def of_columns(cls, id_: str | None, via: str | None, label: str | None) -> Actor:
        """Return the actor of the columns of its id, `via` and label; without `via` it is of the system."""
        return cls.parse(" ".join(filter(None, (id_, via or _SYSTEM, label))))

    @staticmethod
    @lru_cache(maxsize=4_096)
    def parse(text: str) -> Actor:
        """Return the actor of a stored string."""
        id_, _, rest = text.partition(" ")
        via, _, label = rest.partition(" ")
        kind = _KINDS.get(id_.partition("_")[0])
        if kind is None or via == _SYSTEM:
            return Actor(id=None if id_ == _SYSTEM else id_, kind=ActorKind.SYSTEM, via=None)
        return Actor(id=id_, kind=kind, via=Via(via) if via else _IMPLIED[kind], label=label or None)


#: A process of this installation, as a string.
_SYSTEM = "system"
#: By the prefix of its id: the kind of an actor.
_KINDS = {"usr": ActorKind.USER, "key": ActorKind.KEY, "job": ActorKind.JOB}
#: The default proof of identity by kind.
_IMPLIED = {ActorKind.USER: Via.HEADERS, ActorKind.KEY: Via.KEY, ActorKind.JOB: Via.HANDLER}
#: A process of this installation.
SYSTEM = Actor(id=None, kind=ActorKind.SYSTEM, via=None)


def cause_of(object_id: str) -> Actor:
    """Return a hook as a cause among the identities of a job. It is no person, and grants and denies nothing."""
    return Actor(id=object_id, kind=ActorKind.SYSTEM, via=None)


def source_cause(source: str) -> Actor:
    """Return the digest of an event's source, which may be any string, as a cause of a job."""
    return cause_of(f"src_{hashlib.sha256(source.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}")


def join(actors: Iterable[Actor]) -> str:
    """Return several actors as one string, without duplicates."""
    return ",".join(dict.fromkeys(each.text for each in actors))


def split(*texts: str | None) -> tuple[Actor, ...]:
    """Return the actors of strings that `join` made; skips None."""
    return tuple(Actor.parse(each) for text in texts if text is not None for each in text.split(","))


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRecord:
    tenant_id: str
    actor: Actor = field(
        metadata={"description": "Who sent the request. The label of an API key is no identity: its holder chose it."}
    )
    role: str
    #: Such as `jobs.cancel`.
    action: str
    #: None if there is no single one, for example for bulk changes.
    target: str | None
    status: int = field(
        metadata={
            "description": "The HTTP status of the response. Refused requests have entries too.",
            "minimum": 100,
            "maximum": 599,
        }
    )
    address: str = field(
        metadata={"description": "The address of the peer, and in `for` the addresses of x-forwarded-for."}
    )
    request_id: str
    at: datetime
    occurrences: int | None = field(
        default=None,
        metadata={
            "description": "The number of refusals that the entry stands for, if it is a sample of similar refusals.",
            "minimum": 1,
            "maximum": 2**31,
        },
    )
    changes_json: str | None = field(
        default=None,
        metadata={"description": "The changed fields, as `{field: [old, new]}`.", "payload": "changes"},
    )


@dataclass(frozen=True, kw_only=True)
class AuditEntry(AuditRecord):
    id: str = field(metadata={"prefix": "aud"})
