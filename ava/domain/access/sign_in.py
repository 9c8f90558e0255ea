"""Sign-in by an identity provider, and sessions of the dashboard with their cookies."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.actor import Via
from ava.domain.access.caller import Caller, Role, SignInProof
from ava.domain.access.tokens import Token, TokenKind
from ava.domain.record import about
from ava.errors import StepUpRequired

#: Maximum seconds of a sign-in at the provider.
PENDING_SECONDS = 600
#: A session ends when its last successful check with the provider is older.
CHECKED_SECONDS = 900
#: Seconds between two checks, and after a check without a response from the provider.
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


SESSION_SECONDS = 12 * 3600
LINK_SECONDS = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderSession:
    """The part of a session that the identity provider determines."""

    proof: SignInProof
    #: The person's name, if the provider tells one.
    name: str | None
    roles: Mapping[str, Role]
    #: No check extends the session beyond this.
    ends_at: datetime
    #: Whether the next check with the provider is due.
    is_check_due: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A session, or a link that starts one."""

    #: A UUID.
    id: str
    #: The tenant of its start. Platform roles may view others.
    tenant_id: str
    user_id: str
    role: Role
    expires_at: datetime
    #: None with another method.
    key_id: str | None = field(default=None, metadata={"prefix": "key"})
    payloads: bool = True
    #: None: it began with another credential.
    provider: ProviderSession | None = None

    @property
    def ends_at(self) -> datetime:
        """Return when the session ends at the latest. The next check with the provider may end it earlier."""
        return self.expires_at if self.provider is None else self.provider.ends_at


#: Only API keys have the other role, and no session.
_SIGNED_IN = {"choices": tuple(role for role in Role if role is not Role.WORKER)}


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantRole:
    """A tenant of a caller."""

    tenant_id: str
    role: Role = field(metadata=_SIGNED_IN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The caller of a request."""

    tenant_id: str = field(metadata=about("The tenant of all data that the request reads or writes."))
    user_id: str = field(metadata=about("The user, or the id of the API key that signed in."))
    role: Role = field(metadata=_SIGNED_IN)
    expires_at: datetime | None = field(metadata=about("When the session ends; null: the request has no session."))
    payloads: bool = field(metadata=about("True if the caller has payload permission."))
    via: Via = field(
        metadata={"description": "How the caller proved its identity.", "choices": (Via.HEADERS, Via.OIDC, Via.KEY)}
    )
    name: str | None = field(metadata=about("The person's name; null unless the provider tells it."))
    tenants: Sequence[TenantRole] = field(metadata=about("The caller's tenants, and the shown one."))
    sign_out_url: str | None = field(
        metadata=about("Where the browser signs out of the identity provider; null except after sign-out.")
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SignInLink:
    """A link that signs in once."""

    path: str = field(
        metadata=about(
            "The path to append to the address of the dashboard. Its token is in the fragment, which "
            "browsers do not send to a server."
        )
    )
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedSessions:
    """The number of ended sessions."""

    ended: int


def write_cookie(token: str, *, tenant_id: str, own_tenant_id: str) -> str:
    return token if tenant_id == own_tenant_id else f"{token}.{tenant_id}"


def read_cookie(value: str) -> tuple[Token, str | None] | None:
    """Return a cookie's token, and the viewed tenant (None: the session's own); None if the cookie is invalid."""
    head, mark, rest = value.partition(".")
    encoded, dot, tenant_id = rest.partition(".")
    token = tokens.parse(head + mark + encoded, TokenKind.SESSION)
    if token is None or (dot and not ids.is_client_id("ten", tenant_id)):
        return None
    return token, tenant_id or None


def cookie_name(host: str) -> str:
    """Return the cookie's name for the `Host` of a request.

    It contains the port, because browsers send a host's cookies to all its ports, and several installations on one
    machine would sign each other out.
    """
    port = re.search(r":(\d{1,5})$", host)
    return f"ava_session_{port[1]}" if port else "ava_session"
