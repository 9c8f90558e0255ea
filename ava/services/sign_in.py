"""Use cases of the identity provider: sign in by OpenID Connect, check sessions, log out, and identify its tokens."""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ava.domain.access import claim_mapping, tokens
from ava.domain.access.caller import Caller, SignInProof
from ava.domain.access.claim_mapping import ClaimMapping
from ava.domain.access.sign_in import (
    PENDING_SECONDS,
    SESSION_SECONDS,
    PendingSignIn,
    ProviderSession,
    Session,
    StepUpRules,
    is_own_path,
)
from ava.domain.access.tokens import TokenKind
from ava.domain.limits.table import USER_SESSIONS
from ava.domain.secrets.sealing import Sealer
from ava.errors import (
    BadRequest,
    ClaimMissing,
    Forbidden,
    InvalidParameters,
    ProviderRefused,
    ProviderUnavailable,
    SecretUnreadable,
    SettingsError,
    SignInRefused,
    Unauthorized,
)
from ava.services.sessions import SessionUse
from ava.settings import Settings
from ava.store.access import oidc_sessions, sessions
from ava.store.engine.database import Database

if TYPE_CHECKING:
    from ava.outbound.identity_provider import Grant, IdentityProvider

_log = logging.getLogger(__name__)

#: The provider redirects the browser to this path after the sign-in.
CALLBACK = "/oidc/callback"
#: The path of the metadata (RFC 9728): clients read the provider's address there.
METADATA = "/.well-known/oauth-protected-resource"
_RANDOM_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderResponse:
    """The provider's response to a sign-in, as the browser brings it."""

    state: str
    code: str
    #: Empty if the provider does not send it.
    issuer: str
    #: Empty on success.
    error: str


class SignIn:
    def __init__(
        self,
        database: Database,
        settings: Settings,
        provider: IdentityProvider,
        mapping: ClaimMapping,
        *,
        forget_sessions: Callable[[], None],
    ) -> None:
        """`forget_sessions` makes this process read every session again."""
        self._database, self._provider, self._mapping = database, provider, mapping
        self._keys, self._mark = settings.internal_secrets, settings.cell
        self._sealer = Sealer(settings.encryption_keys).of_purpose("sign-in")
        self._public_url = settings.public_url
        self._forget_sessions = forget_sessions
        self.step_up = StepUpRules(max_age_seconds=settings.oidc_step_up_seconds, acrs=tuple(settings.oidc_step_up_acr))

    @property
    def issuer(self) -> str:
        return self._provider.issuer

    @property
    def sign_out_url(self) -> str | None:
        """Return the provider's sign-out URL for a browser, if it has one and responds."""
        try:
            return self._provider.sign_out_url(f"{self._public_url}/")
        except ProviderUnavailable:
            return None

    # Sign-in --------------------------------------------------------------------------------------------------------

    def begin(self, path: str, *, is_step_up: bool) -> tuple[str, str]:
        """Begin a sign-in that ends at `path`. Return the provider's URL and the sealed cookie.

        Raise `InvalidParameters` unless the path belongs to this installation, or `ProviderUnavailable`.
        """
        if not is_own_path(path):
            reason = "It must be a path of this installation, such as /#/jobs, of at most 1,000 characters."
            raise InvalidParameters(f"next: {reason}", {"next": [reason]})
        state, nonce, verifier = (secrets.token_urlsafe(_RANDOM_BYTES) for _ in range(3))
        pending = PendingSignIn(
            state=state, nonce=nonce, verifier=verifier, next=path, begun_at=time.time(), is_step_up=is_step_up
        )
        extra = self._extra(pending)
        url = self._provider.authorization_url(state=state, nonce=nonce, verifier=verifier, extra=extra)
        return url, self._sealer.seal(pending.json)

    def _extra(self, pending: PendingSignIn) -> Mapping[str, str]:
        return self.step_up.parameters if pending.is_step_up else {}

    def finish(self, cookie: str, response: ProviderResponse) -> tuple[SessionUse, str]:
        """Start the session of the sign-in that this browser began. Return it and the path to show.

        Raise `SignInRefused`, `ClaimMissing`, `StepUpRequired` or `ProviderUnavailable`.
        """
        pending = self._pending(cookie, response)
        try:
            grant = self._provider.redeem(
                response.code, verifier=pending.verifier, nonce=pending.nonce, extra=self._extra(pending)
            )
        except ProviderRefused as refusal:
            _log.warning("A sign-in was refused: %s", refusal)
            raise SignInRefused from refusal
        proof = _proof(grant.claims)
        if pending.is_step_up:
            self.step_up.check(proof, datetime.now(UTC))
        return self._start(grant, proof, pending), pending.next

    def _pending(self, cookie: str, response: ProviderResponse) -> PendingSignIn:
        """Return the pending sign-in in a cookie, if the response belongs to it. Raise `SignInRefused`."""
        try:
            pending = PendingSignIn(**json.loads(self._sealer.open(cookie)))
        except (SecretUnreadable, ValueError, TypeError):
            raise SignInRefused from None
        if not hmac.compare_digest(pending.state.encode(), response.state.encode("utf-8", "replace")):
            raise SignInRefused
        if not 0 <= time.time() - pending.begun_at <= PENDING_SECONDS:
            raise SignInRefused("The sign-in took longer than 10 minutes; sign in again.")
        # RFC 9207: the response of another provider must not be redeemed at this one.
        if response.issuer not in ("", self.issuer):
            raise SignInRefused("The response is of another identity provider; sign in again.")
        if response.error or not response.code:
            raise SignInRefused("The identity provider refused the sign-in; sign in again, or ask your administrator.")
        return pending

    def _start(self, grant: Grant, proof: SignInProof, pending: PendingSignIn) -> SessionUse:
        person = self._mapping.person_of(grant.claims)
        tenant_id = person.first_tenant
        caller = Caller(tenant_id=tenant_id, user_id=person.user_id, role=person.roles[tenant_id], sign_in=proof)
        token = tokens.make(TokenKind.SESSION, self._mark)
        with self._database.transaction() as connection:
            until = datetime.fromtimestamp(pending.begun_at, UTC) + timedelta(seconds=PENDING_SECONDS)
            if not oidc_sessions.use(connection, pending.nonce, until=until):
                raise SignInRefused
            session = sessions.create(
                connection,
                caller,
                token=token,
                key=self._keys[0],
                seconds=SESSION_SECONDS,
                max_sessions=USER_SESSIONS.value,
            )
            assert session is not None
            sid = grant.claims.get("sid")
            oidc_sessions.add(
                connection,
                session,
                person,
                sid=sid if isinstance(sid, str) else None,
                proof=proof,
                sealed=self._sealer.seal(grant.token),
                is_refresh=grant.is_refresh,
            )
        provider = ProviderSession(
            proof=proof, name=person.name, roles=person.roles, ends_at=session.expires_at, is_check_due=False
        )
        return SessionUse(session=replace(session, provider=provider), tenant_id=tenant_id, token=token.encoded)

    # Checks ---------------------------------------------------------------------------------------------------------

    def check(self, session: Session) -> bool:
        """Check a session with the provider, unless another process does. Return True if it was renewed or ended.

        While the provider is unreachable, the session is checked again until it expires.
        """
        with self._database.connect() as connection:
            claimed = oidc_sessions.claim_check(connection, session)
        if claimed is None:
            return False
        subject, sealed, is_refresh = claimed
        try:
            grant = self._provider.check(self._sealer.open(sealed), is_refresh=is_refresh, subject=subject)
            person = self._mapping.person_of(grant.claims)
        except ProviderUnavailable:
            return False
        except (ProviderRefused, ClaimMissing, SecretUnreadable) as refusal:
            return self._end(session, refusal)
        if session.tenant_id not in person.roles:
            return self._end(session, ClaimMissing("the person no longer has a role in the session's tenant"))
        sealed = self._sealer.seal(grant.token)
        with self._database.connect() as connection:
            oidc_sessions.renew(connection, session, person, sealed=sealed, is_refresh=grant.is_refresh)
        return True

    def _end(self, session: Session, reason: Exception) -> bool:
        _log.info("A session of %s ends: %s", session.user_id, reason)
        with self._database.connect() as connection:
            sessions.delete(connection, session)
        self._forget_sessions()
        return True

    def log_out(self, logout_token: str) -> int:
        """End the sessions that a logout token names, which works once. Return their number. Raise `BadRequest`."""
        try:
            claims = self._provider.verify_logout_token(logout_token)
        except ProviderRefused as refusal:
            raise BadRequest(f"The logout token is refused: {refusal}.") from refusal
        until = datetime.now(UTC) + timedelta(seconds=PENDING_SECONDS)
        with self._database.transaction() as connection:
            if not oidc_sessions.use(connection, f"logout {claims['jti']}", until=until):
                raise BadRequest("The logout token was used before.")
            ended = oidc_sessions.log_out(connection, subject=claims.get("sub"), sid=claims.get("sid"))
        self._forget_sessions()
        return ended

    # Tokens ---------------------------------------------------------------------------------------------------------

    def caller_of(self, token: str, tenant_id: str | None) -> Caller:
        """Return the caller of a Bearer token; `tenant_id` chooses among several tenants.

        Raise `Unauthorized`, `ClaimMissing`, `InvalidParameters`, `Forbidden` or `ProviderUnavailable`.
        """
        try:
            claims = self._provider.verify_access_token(token)
        except ProviderRefused as refusal:
            raise Unauthorized(f"The token of the identity provider is refused: {refusal}.") from refusal
        person = self._mapping.person_of(claims)
        if tenant_id is None:
            if len(person.roles) > 1:
                reason = "it is missing, and the token is for several tenants; name a tenant"
                raise InvalidParameters(f"Header x-tenant-id: {reason}.", {"x-tenant-id": [f"{reason.capitalize()}."]})
            tenant_id = person.first_tenant
        if tenant_id not in person.roles:
            raise Forbidden("The token of the identity provider is not for the tenant in x-tenant-id.")
        return Caller(tenant_id=tenant_id, user_id=person.user_id, role=person.roles[tenant_id], sign_in=_proof(claims))


def make_sign_in(database: Database, settings: Settings, *, forget_sessions: Callable[[], None]) -> SignIn | None:
    """Return the use cases of the provider that the settings name, without calling it; None without a provider."""
    if not settings.oidc_issuer:
        return None
    mapping = claim_mapping.load(settings.oidc_mapping, issuer=settings.oidc_issuer)
    return SignIn(database, settings, make_provider(settings), mapping, forget_sessions=forget_sessions)


def make_provider(settings: Settings) -> IdentityProvider:
    """Return the client of the provider. Raise `SettingsError` if its packages are not installed."""
    try:
        from ava.outbound.identity_provider import IdentityProvider
    except ModuleNotFoundError as error:
        if error.name not in ("authlib", "joserfc"):
            raise
        raise SettingsError(
            "AVA_OIDC_ISSUER", "it needs the packages of ava-jobs[oidc]; run `pip install 'ava-jobs[oidc]'`"
        ) from None
    public_url = settings.public_url
    return IdentityProvider(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        scopes=settings.oidc_scopes,
        # Clients that derive the audience from the metadata may write the empty path of this URL as `/`.
        audiences=(settings.oidc_audience,) if settings.oidc_audience else (public_url, f"{public_url}/"),
        redirect_uri=f"{public_url}{CALLBACK}",
    )


def require_usable(settings: Settings) -> None:
    """Raise `SettingsError` if an API with these settings could not sign in the people of its provider."""
    if not settings.oidc_issuer:
        return
    if not settings.encryption_keys:
        raise SettingsError("AVA_ENCRYPTION_KEY", "it is not set; AVA_OIDC_ISSUER needs it to seal tokens")
    claim_mapping.load(settings.oidc_mapping, issuer=settings.oidc_issuer)
    if find_spec("authlib") is None:
        make_provider(settings)


def _proof(claims: Mapping[str, Any]) -> SignInProof:
    at, acr = claims.get("auth_time"), claims.get("acr")
    is_time = isinstance(at, int | float) and 0 < at <= time.time() + PENDING_SECONDS
    return SignInProof(
        at=datetime.fromtimestamp(float(at or 0), UTC) if is_time else None, acr=acr if isinstance(acr, str) else None
    )
