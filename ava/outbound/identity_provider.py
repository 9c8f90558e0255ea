"""The client of the configured OpenID Connect provider: code flow, refresh, userinfo, keys and token verification.

It calls the issuer, and the endpoints that the issuer's own description names, and never an address from a token. Each
call has timeouts and a bounded body.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core.claims import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import JWKRegistry, KeySet
from joserfc.jws import JWSRegistry

from ava.domain.outbound import outbound_rules
from ava.errors import OutboundError, ProviderRefused, ProviderUnavailable
from ava.outbound import http

_log = logging.getLogger(__name__)

_LIMITS = http.Limits(
    connect_timeout_seconds=3.0,
    exchange_timeout_seconds=5.0,
    max_response_bytes=2**18,
    # The operator chose the issuer, which may be in a private network.
    rules=outbound_rules.ANY,
)
#: Signatures by a private key of the provider: neither `none` nor HMAC, because an HMAC key could be a public key.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
_KEY_TYPES = ("RSA", "EC")
#: Providers add their own headers; the library always checks `crit`.
_JWS = JWSRegistry(algorithms=_ALGORITHMS, strict_check_header=False)
#: Maximum difference of the provider's clock and ours, in seconds.
_CLOCK_SKEW_SECONDS = 60
#: Maximum age of a logout token.
_LOGOUT_SECONDS = 300
#: Cache lifetime of the provider's description and keys, in seconds.
_DESCRIPTION_SECONDS, _KEYS_SECONDS = 3600.0, 600.0
#: Minimum seconds between two reads of either, so that tokens with invented keys cause few calls.
_REREAD_SECONDS = 5.0
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
#: Claims of ID tokens and logout tokens. An access token never has them.
_NOT_OF_ACCESS = ("nonce", "at_hash", "c_hash", "s_hash", "events")
_ACCESS_TYPES = ("", "jwt", "at+jwt", "application/at+jwt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A provider's response to a sign-in: claims about the person, and a token for later checks."""

    claims: Mapping[str, Any]
    #: The refresh token, otherwise the access token; a later check sends it.
    token: str = field(repr=False)
    is_refresh: bool


class IdentityProvider:
    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        client_secret: str,
        scopes: str,
        audiences: Sequence[str],
        redirect_uri: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`audiences`: a Bearer token must name at least one. `clock` returns monotonic seconds."""
        self.issuer = issuer
        self._client_id, self._client_secret = client_id, client_secret
        self._scopes, self._audiences, self._redirect_uri = scopes, audiences, redirect_uri
        self._description = _Cached(self._read_description, _DESCRIPTION_SECONDS, clock)
        self._keys = _Cached(self._read_keys, _KEYS_SECONDS, clock)

    def authorization_url(self, *, state: str, nonce: str, verifier: str, extra: Mapping[str, str]) -> str:
        """Return the provider's sign-in URL for a browser. Raise `ProviderUnavailable`."""
        endpoint = self._endpoint("authorization_endpoint")
        url, _ = self._client().create_authorization_url(
            endpoint, state=state, code_verifier=verifier, nonce=nonce, **extra
        )
        return str(url)

    def sign_out_url(self, return_to: str) -> str | None:
        """Return the provider's sign-out URL for a browser, if the provider has one."""
        endpoint = self._description.get().get("end_session_endpoint")
        if not isinstance(endpoint, str) or not self._is_safe(endpoint):
            return None
        query = urlencode({"client_id": self._client_id, "post_logout_redirect_uri": return_to})
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def redeem(self, code: str, *, verifier: str, nonce: str, extra: Mapping[str, str]) -> Grant:
        """Exchange the code of a sign-in. Raise `ProviderRefused`, `ProviderUnavailable`."""
        endpoint = self._endpoint("token_endpoint")
        client = self._client()
        token = self._call_token(lambda: client.fetch_token(endpoint, code=code, code_verifier=verifier))
        if not isinstance(token.get("id_token"), str):
            raise ProviderRefused("the response has no ID token")
        claims = self._verify_id_token(token, nonce=nonce, max_age=extra.get("max_age"))
        return self._grant(token, claims)

    def check(self, token: str, *, is_refresh: bool, subject: str) -> Grant:
        """Ask the provider again about the person of an earlier grant, and return the new grant.

        Raise `ProviderRefused` if the person or the grant is gone, and `ProviderUnavailable`.
        """
        if not is_refresh:
            if "userinfo_endpoint" not in self._description.get():
                raise ProviderRefused("the provider gave no refresh token and has no userinfo endpoint")
            return self._grant({"access_token": token}, {"sub": subject})
        endpoint = self._endpoint("token_endpoint")
        client = self._client()
        # Without `scope`: the provider grants the scopes of the sign-in again.
        client.scope = None
        found = self._call_token(lambda: client.refresh_token(endpoint, refresh_token=token))
        claims: Mapping[str, Any] = {"sub": subject}
        if isinstance(found.get("id_token"), str):
            claims = self._verify_id_token(found)
        if claims["sub"] != subject:
            raise ProviderRefused("the refresh token is of another person")
        return self._grant(found, claims)

    def verify_access_token(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a Bearer token for this API. Raise `ProviderRefused`, `ProviderUnavailable`."""
        found = self._decode(token)
        self._validate(found.claims, audiences=self._audiences, essential=("iss", "sub", "aud", "exp"))
        if found.claims["exp"] <= time.time():
            raise ProviderRefused("it has expired")
        is_access = str(found.header.get("typ", "")).lower() in _ACCESS_TYPES
        if not is_access or found.claims.get("typ") == "ID" or any(name in found.claims for name in _NOT_OF_ACCESS):
            raise ProviderRefused("it is no access token")
        return found.claims

    def verify_logout_token(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a back-channel logout token. Raise `ProviderRefused`, `ProviderUnavailable`."""
        found = self._decode(token)
        claims = found.claims
        self._validate(claims, audiences=(self._client_id,), essential=("iss", "aud", "iat", "jti", "events"))
        events = claims["events"]
        if not isinstance(events, dict) or not isinstance(events.get(_LOGOUT_EVENT), dict) or "nonce" in claims:
            raise ProviderRefused("it is no logout token")
        if claims["iat"] < time.time() - _LOGOUT_SECONDS:
            raise ProviderRefused("it is too old")
        named = [claims[name] for name in ("sub", "sid") if name in claims]
        if not named or not all(isinstance(each, str) for each in named):
            raise ProviderRefused("it names no person and no session")
        return claims

    def describe(self) -> str:
        """Read the provider's description again, and return a sentence about it. Raise `ProviderUnavailable`."""
        self._read_description()
        return f"{self.issuer} responds; keys that sign: {len(self._read_keys().keys)}"

    # Tokens ---------------------------------------------------------------------------------------------------------

    def _verify_id_token(
        self, token: Mapping[str, Any], *, nonce: str | None = None, max_age: str | None = None
    ) -> Mapping[str, Any]:
        found = self._decode(token["id_token"])
        self._validate(found.claims, audiences=(self._client_id,), essential=("iss", "sub", "aud", "exp", "iat"))
        params = {
            "nonce": nonce,
            "client_id": self._client_id,
            "access_token": token.get("access_token"),
            "max_age": max_age,
        }
        claims = CodeIDToken(found.claims, found.header, {}, params)
        try:
            claims.validate(leeway=_CLOCK_SKEW_SECONDS)
        except JoseError as error:
            raise ProviderRefused(f"the ID token is invalid ({error.error})") from error
        return found.claims

    def _decode(self, token: str) -> jwt.Token:
        """Return a token that the provider signed. Reads the provider's keys once more if the key is unknown."""
        try:
            try:
                return jwt.decode(token, self._keys.get(), registry=_JWS)
            except InvalidKeyIdError:
                return jwt.decode(token, self._keys.reread(), registry=_JWS)
        except (JoseError, ValueError, TypeError) as error:
            raise ProviderRefused("its signature is not valid") from error

    def _validate(self, claims: Mapping[str, Any], *, audiences: Sequence[str], essential: Sequence[str]) -> None:
        options: dict[str, Any] = {name: {"essential": True} for name in essential}
        options["iss"] = {"essential": True, "value": self.issuer}
        options["aud"] = {"essential": True, "values": list(audiences)}
        try:
            jwt.JWTClaimsRegistry(leeway=_CLOCK_SKEW_SECONDS, **options).validate(dict(claims))
        except JoseError as error:
            raise ProviderRefused(f"a claim is missing or wrong ({error.error})") from error

    def _grant(self, token: Mapping[str, Any], claims: Mapping[str, Any]) -> Grant:
        """Return the grant of a token response. Claims of the ID token, which is signed, have precedence."""
        access_token, refresh_token = token.get("access_token"), token.get("refresh_token")
        if not isinstance(access_token, str):
            raise ProviderRefused("the response has no access token")
        is_refresh = isinstance(refresh_token, str)
        return Grant(
            claims={**self._user_info(access_token, str(claims["sub"])), **claims},
            token=str(refresh_token) if is_refresh else access_token,
            is_refresh=is_refresh,
        )

    def _user_info(self, access_token: str, subject: str) -> Mapping[str, Any]:
        if "userinfo_endpoint" not in self._description.get():
            return {}
        headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json"}
        response = _call("GET", self._endpoint("userinfo_endpoint"), headers)
        if response.status in (400, 401, 403, 404):
            raise ProviderRefused(f"the userinfo endpoint answered with {response.status}")
        found = response.object()
        if found.get("sub") != subject:
            raise ProviderRefused("the userinfo is of another person")
        return found

    def _call_token(self, call: Callable[[], Any]) -> Mapping[str, Any]:
        try:
            found = call()
        except OAuth2Error as error:
            if error.error in ("invalid_grant", "access_denied"):
                raise ProviderRefused(f"the token endpoint answered {error.error}") from error
            _log.warning("The identity provider refuses a call for tokens: %.100r", error.error)
            raise ProviderUnavailable from error
        except ValueError as error:
            raise ProviderUnavailable from error
        return dict(found)

    # The provider's description and keys -----------------------------------------------------------------------------

    def _client(self) -> Any:
        methods = self._description.get().get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        way = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        return OAuth2Client(
            _Transport(),
            client_id=self._client_id,
            client_secret=self._client_secret,
            token_endpoint_auth_method=way if self._client_secret else "none",
            scope=self._scopes,
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
        )

    def _endpoint(self, name: str) -> str:
        found = self._description.get().get(name)
        if not isinstance(found, str) or not self._is_safe(found):
            _log.warning("The identity provider's description has no usable %s", name)
            raise ProviderUnavailable
        return found

    def _is_safe(self, url: str) -> bool:
        """Return True unless an issuer with TLS names an endpoint without."""
        return url.startswith("https://") or (self.issuer.startswith("http://") and url.startswith("http://"))

    def _read_description(self) -> Mapping[str, Any]:
        found = _call("GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration", {}).object()
        if found.get("issuer") != self.issuer:
            _log.warning("The provider at AVA_OIDC_ISSUER calls itself %.200r", found.get("issuer"))
            raise ProviderUnavailable(
                "AVA_OIDC_ISSUER differs from the issuer in the provider's description; write it in the same way."
            )
        return found

    def _read_keys(self) -> KeySet:
        found = _call("GET", self._endpoint("jwks_uri"), {}).object().get("keys")
        keys = []
        for key in found if isinstance(found, list) else ():
            if isinstance(key, dict) and key.get("kty") in _KEY_TYPES and key.get("use", "sig") == "sig":
                try:
                    keys.append(JWKRegistry.import_key(key))
                except (JoseError, ValueError, TypeError, KeyError):
                    _log.warning("The identity provider has an unreadable key")
        if not keys:
            raise ProviderUnavailable("The identity provider has no key that signs.")
        return KeySet(keys)


class _Cached:
    """A value that is read from the provider, by one thread at a time.

    While the provider is unreachable, the earlier value remains.
    """

    def __init__(self, read: Callable[[], Any], seconds: float, clock: Callable[[], float]) -> None:
        self._read, self._seconds, self._clock = read, seconds, clock
        self._lock = threading.Lock()
        self._value: Any = None
        self._read_at = self._tried_at = float("-inf")

    def get(self) -> Any:
        """Return the value. Raise `ProviderUnavailable` if it was never read."""
        if self._value is None or self._clock() - self._read_at > self._seconds:
            return self.reread()
        return self._value

    def reread(self) -> Any:
        """Read the value again unless the last read began within `_REREAD_SECONDS`, and return it."""
        asked_at = self._clock()
        with self._lock:
            if self._tried_at < asked_at - _REREAD_SECONDS:
                self._tried_at = asked_at
                try:
                    self._value, self._read_at = self._read(), asked_at
                except ProviderUnavailable:
                    if self._value is None:
                        raise
        if self._value is None:
            raise ProviderUnavailable
        return self._value


class _Reply:
    """A response in the form that Authlib reads."""

    def __init__(self, response: http.HttpResponse) -> None:
        self.status = self.status_code = response.status
        self._body = b"" if response.truncated else response.body

    def json(self) -> Any:
        return json.loads(self._body)

    def raise_for_status(self) -> None:
        raise ProviderUnavailable

    def object(self) -> Mapping[str, Any]:
        """Return the JSON object of a success. Raise `ProviderUnavailable`."""
        try:
            found = self.json() if self.status == 200 else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ProviderUnavailable
        return found


class _Transport:
    """Sends Authlib's POST requests."""

    def post(self, url: str, *, data: Mapping[str, str], headers: Mapping[str, str], auth: Any) -> _Reply:
        url, sent, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        return _call("POST", url, sent, body.encode())


def _call(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> _Reply:
    try:
        response = http.send(method, url, headers=headers, body=body, limits=_LIMITS)
    except OutboundError as error:
        # Its message has no path and no query.
        _log.warning("The identity provider cannot be called: %s", error)
        raise ProviderUnavailable from error
    if response.status >= 500 or response.status == 429:
        _log.warning("The identity provider at %s answered with %d", urlsplit(url).hostname, response.status)
        raise ProviderUnavailable
    return _Reply(response)
