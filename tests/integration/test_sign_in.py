"""Sign-in by OpenID Connect, against a certified provider: sessions, checks, logout, tokens, and attacks on each."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from werkzeug.test import TestResponse

from ava import settings as settings_module
from ava.cli.host.server_checks import check_sign_in
from ava.errors import ProviderRefused, ProviderUnavailable, SettingsError
from ava.outbound import identity_provider
from ava.services import sessions as sessions_service
from ava.services.sign_in import make_provider
from ava.settings import Settings
from harness.api import HEADERS, JOBS, Api, error_of, wrong_fields
from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import ENCRYPTION_KEY
from tests.conftest import with_workers
from tests.identity_provider import SECRET, IdentityProvider, claims_of, encoded, query_of, running
from tests.sign_ins import NO_HEADERS, URL, as_browser, begin, make_check_due, path_of, session_cookie, show, sign_in

SESSION = "/v1/ava/session"
MAPPING = {
    "user_claim": "ava_user",
    "rules": [
        {"claim": "groups", "value": "ops", "tenant": "ten_test", "role": "tenant-system-admin"},
        {"claim": "groups", "value": ["ops", "viewers"], "tenant": "ten_other", "role": "tenant-user"},
        {"claim": "email", "value": "root@example.com", "tenant": "ten_test", "role": "platform-admin"},
    ],
}


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with running(URL) as provider:
        yield provider


@pytest.fixture(scope="module")
def oidc_settings(
    provider: IdentityProvider, _databases: Databases, redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    mapping = tmp_path_factory.mktemp("oidc") / "mapping.json"
    mapping.write_text(json.dumps(MAPPING))
    with _databases.fresh(is_pooled=True, template=with_workers(_databases)) as database_url:
        yield settings_module.load(
            {
                "DATABASE_URL": database_url,
                "BROKER_URL": fresh_redis_url(redis_server),
                "AVA_INTERNAL_SECRET": HEADERS["x-internal-secret"],
                "AVA_ENCRYPTION_KEY": ENCRYPTION_KEY,
                "AVA_PUBLIC_URL": URL,
                "AVA_OIDC_ISSUER": provider.issuer,
                "AVA_OIDC_CLIENT_ID": "ava",
                "AVA_OIDC_CLIENT_SECRET": SECRET,
                "AVA_OIDC_MAPPING": str(mapping),
                "AVA_OIDC_STEP_UP_SECONDS": "60",
                "AVA_OIDC_STEP_UP_ACR": "urn:strong",
            }
        )


@pytest.fixture(scope="module")
def app(oidc_settings: Settings) -> Iterator[Api]:
    with Api.running(oidc_settings) as api:
        yield api


@pytest.fixture
def api(app: Api, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> Api:
    """An application whose process caches no session, and whose provider knows alice, of two tenants."""
    monkeypatch.setattr(sessions_service, "_TRUST_SECONDS", 0.0)
    monkeypatch.setattr(identity_provider, "_REREAD_SECONDS", 0.0)
    provider.set_person("alice", groups=["ops"], ava_user="usr_alice", name="Alice A.")
    return app


def bearer(api: Api, token: str, **headers: str) -> TestResponse:
    return as_browser(api, JOBS, authorization=f"Bearer {token}", **headers)


# Sign-in ------------------------------------------------------------------------------------------------------------


def test_a_person_signs_in_and_switches_between_its_tenants(api: Api, provider: IdentityProvider) -> None:
    url, pending = begin(api, "?next=/%3Ftenant=ten_test%23/jobs")
    query = query_of(url)
    assert (query["code_challenge_method"], query["scope"]) == ("S256", "openid profile email")
    response = as_browser(api, path_of(provider.authorize(url, "alice")), pending)
    assert response.headers["location"] == f"{URL}/?tenant=ten_test#/jobs"
    cookie = session_cookie(response)
    who = show(api, cookie)
    assert (who["user_id"], who["tenant_id"], who["role"]) == ("usr_alice", "ten_test", "tenant-system-admin")
    assert (who["via"], who["name"]) == ("oidc", "Alice A.")
    assert who["tenants"] == [
        {"tenant_id": "ten_other", "role": "tenant-user"},
        {"tenant_id": "ten_test", "role": "tenant-system-admin"},
    ]
    switched = api.request(
        "PATCH", SESSION, headers={**NO_HEADERS, "cookie": cookie, "x-tenant-id": "ten_test"}, base_url=URL,
        json={"tenant_id": "ten_other"},
    )  # fmt: skip
    assert switched.get_json()["data"]["role"] == "tenant-user"
    other = session_cookie(switched)
    assert show(api, other)["role"] == "tenant-user"
    # The role of the other tenant does not follow.
    error_of(as_browser(api, f"{JOBS}/job_x/cancel", other, "POST", x_tenant_id="ten_other"), 403, "forbidden")
    error_of(as_browser(api, JOBS, cookie, x_tenant_id="ten_third"), 403, "forbidden")
    (entry,) = api.request("GET", "/v1/ava/audit?filter[action]=oidc.finish&per_page=1").get_json()["data"]
    assert entry["actor"] == {"id": "usr_alice", "kind": "user", "via": "oidc", "label": None}


def test_signing_out_ends_the_session_and_names_the_providers_sign_out(api: Api, provider: IdentityProvider) -> None:
    cookie = sign_in(api, provider)
    response = as_browser(api, SESSION, cookie, "DELETE", x_tenant_id="ten_test")
    url = response.get_json()["data"]["sign_out_url"]
    assert requests.get(url, timeout=20).status_code == 200, "the provider accepts the address to return to"
    assert url.startswith(provider.issuer)
    error_of(as_browser(api, SESSION, cookie), 401, "unauthorized")


@pytest.mark.parametrize(
    "path",
    ["https://evil.test", "//evil.test", "/\\evil.test", "/\t/evil.test", "/%0d%0aset-cookie:a=b", "jobs", ""],
)
def test_next_never_leads_to_another_host(api: Api, path: str) -> None:
    response = as_browser(api, f"/oidc/sign-in?next={path}")
    assert "next" in wrong_fields(response, 400)


def test_a_state_of_another_browser_and_a_replayed_one_sign_nobody_in(api: Api, provider: IdentityProvider) -> None:
    attackers_url, _ = begin(api)
    stolen = path_of(provider.authorize(attackers_url, "alice"))
    _, victims_cookie = begin(api)
    for cookie in ("", victims_cookie, "ava_session_sign_in=x", f"{victims_cookie[:-4]}aaaa"):
        response = as_browser(api, stolen, cookie)
        error_of(response, 401, "unauthorized")
        assert "ava_session=" not in str(response.headers)
    # The attacker's code within the victim's state: PKCE binds the code to the attacker's browser.
    url, cookie = begin(api)
    victims = f"/oidc/callback?state={query_of(url)['state']}&code={query_of(stolen)['code']}"
    error_of(as_browser(api, victims, cookie), 401, "unauthorized")
    url, cookie = begin(api)
    sent_back = path_of(provider.authorize(url, "alice"))
    assert as_browser(api, sent_back, cookie).status_code == 303
    error_of(as_browser(api, sent_back, cookie), 401, "unauthorized")
    url, cookie = begin(api)
    query = query_of(provider.authorize(url, "alice"))
    mixed_up = urlencode({**query, "iss": "https://evil.test"})
    error_of(as_browser(api, f"/oidc/callback?{mixed_up}", cookie), 401, "unauthorized")


def test_a_nonce_is_used_once_and_belongs_to_one_sign_in(
    api: Api, provider: IdentityProvider, oidc_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_provider(oidc_settings)
    url = client.authorization_url(state="s", nonce="first", verifier="v" * 43, extra={})
    code = query_of(provider.authorize(url, "alice"))["code"]
    with pytest.raises(ProviderRefused, match="ID token"):
        client.redeem(code, verifier="v" * 43, nonce="second", extra={})
    url, pending = begin(api)
    response = path_of(provider.authorize(url, "alice"))
    grants = []
    real = identity_provider.IdentityProvider.redeem

    def redeem_again(*args: Any, **rest: Any) -> Any:
        """Redeem a code, or return its earlier grant, as a provider that forgets which codes it has redeemed."""
        grants.append(grants[0] if grants else real(*args, **rest))
        return grants[-1]

    monkeypatch.setattr(identity_provider.IdentityProvider, "redeem", redeem_again)
    assert as_browser(api, response, pending).status_code == 303
    error_of(as_browser(api, response, pending), 401, "unauthorized")
    assert len(grants) == 2


def test_a_person_without_a_mapped_group_is_told_the_claim(api: Api, provider: IdentityProvider) -> None:
    provider.set_person("mallory", groups=["visitors"], ava_user="usr_mallory")
    url, pending = begin(api)
    error = error_of(as_browser(api, path_of(provider.authorize(url, "mallory")), pending), 403, "forbidden")
    assert "groups" in error["message"]
    # Anybody may enter another person's address; only the provider's word counts.
    provider.set_person("mallory", email="root@example.com", email_verified=False, ava_user="usr_mallory")
    url, pending = begin(api)
    error_of(as_browser(api, path_of(provider.authorize(url, "mallory")), pending), 403, "forbidden")


def test_the_providers_clock_may_differ_by_a_minute(api: Api, provider: IdentityProvider) -> None:
    try:
        provider.control("skew", seconds=40)
        sign_in(api, provider)
        provider.control("skew", seconds=300)
        url, pending = begin(api)
        error_of(as_browser(api, path_of(provider.authorize(url, "alice")), pending), 401, "unauthorized")
    finally:
        provider.control("skew", seconds=0)


def test_a_decision_needs_a_recent_and_strong_sign_in(api: Api, provider: IdentityProvider) -> None:
    cookie = sign_in(api, provider)
    step_up = api.app.extensions["ava"].sign_in.step_up
    find = api.app.extensions["ava"].sessions.find

    def require(cookie: str) -> None:
        step_up.require(find(cookie.partition("=")[2]).caller, datetime.now(UTC))

    with pytest.raises(Exception, match="step_up=true"):
        require(cookie)
    strong = sign_in(api, provider, query="?step_up=true")
    require(strong)
    api.execute("UPDATE oidc_sessions SET authenticated_at = now() - interval '61 seconds'")
    with pytest.raises(Exception, match="step_up=true"):
        require(strong)


# Checks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_refresh_token", [True, False])
def test_a_check_ends_the_sessions_of_a_removed_person_and_applies_changed_roles(
    api: Api, provider: IdentityProvider, has_refresh_token: bool
) -> None:
    try:
        provider.control("refresh", on=has_refresh_token)
        cookie = sign_in(api, provider)
        assert api.execute("SELECT is_refresh FROM oidc_sessions ORDER BY ends_at DESC LIMIT 1") == [
            (has_refresh_token,)
        ]
        for _ in range(2):
            make_check_due(api)
            assert show(api, cookie)["role"] == "tenant-system-admin"
        provider.set_person(
            "alice", groups=["ops"], ava_user="usr_alice", email="root@example.com", email_verified=True
        )
        assert show(api, cookie)["role"] == "tenant-system-admin", "until the next check"
        make_check_due(api)
        provider.set_person("alice", groups=["ops", "viewers"], ava_user="usr_alice", name="Alice B.")
        assert show(api, cookie)["name"] == "Alice B."
        provider.control("account", id="alice")
        make_check_due(api)
        error_of(as_browser(api, SESSION, cookie), 401, "unauthorized")
        provider.set_person("alice", groups=["ops"], ava_user="usr_alice")
        error_of(as_browser(api, SESSION, cookie), 401, "unauthorized")
    finally:
        provider.control("refresh", on=True)


def test_a_person_who_loses_the_tenant_loses_the_session(api: Api, provider: IdentityProvider) -> None:
    cookie = sign_in(api, provider)
    provider.set_person("alice", groups=["viewers"], ava_user="usr_alice")
    make_check_due(api)
    error_of(as_browser(api, SESSION, cookie), 401, "unauthorized")


def test_an_unreachable_provider_ends_a_session_15_minutes_after_the_last_check(
    api: Api, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = sign_in(api, provider)
    assert api.execute("SELECT max(round(extract(epoch FROM expires_at - now()) / 60)) FROM sessions") == [(15,)]
    unreachable = replace(identity_provider._LIMITS, exchange_timeout_seconds=0.000001)
    monkeypatch.setattr(identity_provider, "_LIMITS", unreachable)
    make_check_due(api, last_seconds_ago=800)
    assert show(api, cookie)["user_id"] == "usr_alice"
    make_check_due(api, last_seconds_ago=901)
    error_of(as_browser(api, SESSION, cookie), 401, "unauthorized")
    monkeypatch.undo()
    error_of(as_browser(api, SESSION, cookie), 401, "unauthorized")


def test_the_provider_logs_a_person_out_and_a_logout_token_works_once(api: Api, provider: IdentityProvider) -> None:
    def log_out(token: str) -> TestResponse:
        return api.request("POST", "/oidc/logout", headers=NO_HEADERS, data={"logout_token": token})

    cookie = sign_in(api, provider)
    ((sid,),) = api.execute("SELECT sid FROM oidc_sessions ORDER BY ends_at DESC LIMIT 1")
    token = provider.control("logout", id="alice", sid=sid)
    error_of(log_out(f"{token[:-4]}aaaa"), 400, "bad_request")
    for wrong in (provider.tokens("alice", client_id="ava")["id_token"], "", "a.b.c"):
        error_of(log_out(wrong), 400, "bad_request")
    assert show(api, cookie)["user_id"] == "usr_alice"
    assert log_out(token).status_code == 200
    error_of(as_browser(api, SESSION, cookie), 401, "unauthorized")
    again = sign_in(api, provider)
    error_of(log_out(token), 400, "bad_request")
    assert show(api, again)["user_id"] == "usr_alice"


def test_no_token_of_the_provider_is_stored_in_plain(api: Api, provider: IdentityProvider) -> None:
    sign_in(api, provider)
    ((sealed,),) = api.execute("SELECT token FROM oidc_sessions ORDER BY ends_at DESC LIMIT 1")
    opened = api.app.extensions["ava"].sign_in._sealer.open(sealed)
    assert opened not in str(api.execute("SELECT o.* FROM oidc_sessions AS o"))


# Tokens -------------------------------------------------------------------------------------------------------------


def test_an_access_token_for_this_api_replaces_the_headers(api: Api, provider: IdentityProvider) -> None:
    token = provider.tokens("alice", resource=URL)["access_token"]
    assert claims_of(token)["aud"] == URL
    assert "x-tenant-id" in wrong_fields(bearer(api, token), 400)
    error_of(bearer(api, token, x_tenant_id="ten_third"), 403, "forbidden")
    assert bearer(api, token, x_tenant_id="ten_test", x_user_id="usr_somebody").status_code == 200
    provider.set_person("bob", groups=["viewers"], ava_user="usr_bob")
    one = provider.tokens("bob", resource=URL)["access_token"]
    who = as_browser(api, SESSION, authorization=f"Bearer {one}", x_user_id="usr_somebody").get_json()["data"]
    assert (who["tenant_id"], who["role"], who["via"], who["expires_at"]) == ("ten_other", "tenant-user", "oidc", None)
    assert who["user_id"] == "usr_bob"
    for path in (SESSION, f"{SESSION}/links"):
        refused = as_browser(api, path, "", "POST", authorization=f"Bearer {token}", x_tenant_id="ten_test")
        error_of(refused, 409, "resource_conflict")


def test_every_other_token_is_refused_as_bearer(api: Api, provider: IdentityProvider) -> None:
    now = int(time.time())
    good = {"iss": provider.issuer, "sub": "alice", "aud": URL, "exp": now + 300, "iat": now, "groups": ["ops"],
            "ava_user": "usr_alice"}  # fmt: skip

    def status(token: str) -> int:
        return bearer(api, token, x_tenant_id="ten_test").status_code

    def mint(header: dict[str, Any] | None = None, **claims: Any) -> str:
        minted = {name: value for name, value in (good | claims).items() if value is not None}
        return str(provider.control("mint", claims=minted, header=header or {}))

    assert status(mint()) == 200
    assert status(mint(iat=now + 40, nbf=now + 40)) == 200, "the clocks may differ"
    wrong = [
        {"aud": "https://other.test"}, {"aud": "ava"}, {"aud": None}, {"iss": "https://evil.test"}, {"iss": None},
        {"exp": now - 1}, {"exp": None}, {"exp": "never"}, {"nbf": now + 120}, {"iat": now + 120}, {"sub": None},
        {"nonce": "n"}, {"at_hash": "h"}, {"typ": "ID"}, {"events": {}},
    ]  # fmt: skip
    assert [claims for claims in wrong if status(mint(**claims)) != 401] == []
    assert status(mint({"typ": "logout+jwt"})) == 401
    # ID tokens of this client and of another one.
    for client_id in ("ava", "other"):
        assert status(provider.tokens("alice", client_id=client_id)["id_token"]) == 401
    assert status(provider.tokens("alice", resource="https://other.test")["access_token"]) == 401
    none = f"{encoded({'alg': 'none'})}.{encoded(good)}"
    hmac_head = f"{encoded({'alg': 'HS256'})}.{encoded(good)}"
    public_key = requests.get(f"{provider.issuer}/jwks", timeout=20).text.encode()
    by_hmac = base64.urlsafe_b64encode(hmac.digest(public_key, hmac_head.encode(), hashlib.sha256)).decode()
    changed = mint().split(".")
    forged = [
        f"{none}.",
        f"{none}.AAAA",
        f"{hmac_head}.{by_hmac.rstrip('=')}",
        f"{changed[0]}.{encoded(good)}.{changed[2]}",
    ]
    assert [token for token in [*forged, "a.b.c", "..", "é.é.é"] if status(token) != 401] == []


def test_keys_are_rotated_and_a_removed_key_signs_nothing(api: Api, provider: IdentityProvider) -> None:
    old = provider.tokens("alice", resource=URL)["access_token"]
    assert bearer(api, old, x_tenant_id="ten_test").status_code == 200
    provider.control("rotate")
    new = provider.tokens("alice", resource=URL)["access_token"]
    assert bearer(api, new, x_tenant_id="ten_test").status_code == 200
    assert bearer(api, old, x_tenant_id="ten_test").status_code == 401
    sign_in(api, provider)


def test_a_client_of_mcp_is_led_to_the_provider(api: Api, provider: IdentityProvider, shared_api: Api) -> None:
    challenge = api.post("/mcp", headers=NO_HEADERS, json={}).headers["www-authenticate"]
    url = challenge.removeprefix('Bearer resource_metadata="').removesuffix('"')
    metadata = as_browser(api, path_of(url)).get_json()
    assert (metadata["resource"], metadata["authorization_servers"]) == (URL, [provider.issuer])
    # Without a provider nothing of it is there.
    assert shared_api.post("/mcp", headers=NO_HEADERS, json={}).headers["www-authenticate"] == "Bearer"
    for path in ("/oidc/sign-in", "/oidc/callback", path_of(url)):
        error_of(shared_api.get(path), 404, "resource_not_found")


def test_the_sign_in_page_names_the_provider_and_doctor_checks_it(
    api: Api, provider: IdentityProvider, shared_api: Api, oidc_settings: Settings
) -> None:
    assert check_sign_in(oidc_settings) == f"{provider.issuer} responds; keys that sign: 1"
    with pytest.raises(ProviderUnavailable, match="AVA_OIDC_ISSUER differs"):
        check_sign_in(replace(oidc_settings, oidc_issuer=f"{provider.issuer}/"))
    with pytest.raises(SettingsError, match="AVA_ENCRYPTION_KEY"):
        check_sign_in(replace(oidc_settings, encryption_keys=()))
    page = as_browser(api, "/").text
    assert f'data-sign-in="{provider.issuer.removeprefix("http://")}"' in page
    with shared_api.get("/") as without:
        assert "data-sign-in" not in without.text
