"""Sign-in by an identity provider: what it proves about a person, and the pending sign-in of a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ava.domain.access.caller import Caller, Role, SignInProof
from ava.errors import StepUpRequired

#: Seconds for which a browser may take to sign in at the provider.
PENDING_SECONDS = 600
#: A session ends when its last successful check with the provider is older.
CHECKED_SECONDS = 900
#: Seconds between two checks, and after one that the provider did not answer.
CHECK_SECONDS, RECHECK_SECONDS = 300, 60
#: A path of this installation: browsers read `//host` and `/\\host` as another host, and drop tabs and line breaks.
_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,1000}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingSignIn:
    """A sign-in that a browser has begun. Its sealed cookie binds the provider's response to this browser."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    #: The code verifier of PKCE.
    verifier: str = field(repr=False)
    #: The path to show afterwards.
    next: str
    #: Seconds since the Unix epoch.
    begun_at: float
    is_step_up: bool

    @property
    def json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """A person as the provider describes it now."""

    subject: str
    user_id: str
    #: The name to show, if the provider tells one.
    name: str | None
    #: The role in each tenant; at least one.
    roles: Mapping[str, Role]

    @property
    def first_tenant(self) -> str:
        """Return the tenant with the highest role, the first by name among equals."""
        return min(self.roles, key=lambda tenant_id: (-self.roles[tenant_id], tenant_id))


@dataclass(frozen=True, kw_only=True, slots=True)
class StepUpRules:
    """How recent and how strong a sign-in must be for a decision."""

    #: Maximum age of the authentication; 0: any.
    max_age_seconds: int
    #: The accepted authentication context classes (`acr`); empty: any.
    acrs: tuple[str, ...]

    @property
    def parameters(self) -> dict[str, str]:
        """Return the parameters of a sign-in that satisfies the rules."""
        parameters = {"max_age": str(self.max_age_seconds)} if self.max_age_seconds else {}
        return parameters | ({"acr_values": " ".join(self.acrs)} if self.acrs else {})

    def check(self, proof: SignInProof, now: datetime) -> None:
        """Raise `StepUpRequired` unless an authentication satisfies the rules."""
        is_recent = proof.at is not None and now - proof.at <= timedelta(seconds=self.max_age_seconds)
        if (self.max_age_seconds and not is_recent) or (self.acrs and proof.acr not in self.acrs):
            raise StepUpRequired

    def require(self, caller: Caller, now: datetime) -> None:
        """Raise `StepUpRequired` if the provider identified the caller, and its sign-in does not satisfy the rules."""
        if caller.sign_in is not None:
            self.check(caller.sign_in, now)


def is_own_path(path: str) -> bool:
    """Return True if a browser that is sent to this path stays at this installation."""
    return _PATH.fullmatch(path) is not None


def derive_user(issuer: str, subject: str) -> str:
    """Return the id of the user whom an issuer calls `subject`."""
    digest = hashlib.sha256(f"{issuer}\0{subject}".encode()).digest()[:20]
    return f"usr_{base64.b32hexencode(digest).decode().lower()}"


def name_of(claims: Mapping[str, Any]) -> str | None:
    """Return the name to show of a person, at most 100 printable characters."""
    for claim in ("name", "preferred_username", "email"):
        value = claims.get(claim)
        if isinstance(value, str) and value.strip() and value.isprintable():
            return value.strip()[:100]
    return None
