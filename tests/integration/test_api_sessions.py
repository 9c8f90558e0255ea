"""Sessions of the dashboard: one cookie, which only our own pages can use, and links that sign in once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.http import parse_cookie
from werkzeug.test import TestResponse

from ava.domain.limits.table import USER_SESSIONS
from ava.services import sessions as sessions_service
from ava.settings import Settings
from ava.store.access import sessions
from harness.api import HEADERS, JOBS, Api, error_of, wrong_fields

SESSION = "/v1/ava/session"
#: The shared keys of the API.
SECRETS = (HEADERS["x-internal-secret"],)
NO_HEADERS: dict[str, str | None] = dict.fromkeys(HEADERS)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process believes what it knows of a session for 1.5 s; here what it reads is what counts."""
    monkeypatch.setattr(sessions_service, "_TRUST_SECONDS", 0.0)


def sign_in(api: Api, headers: Mapping[str, str | None] | None = None) -> str:
    """Returns the cookie of a new session, as a browser sends it."""
    response = api.post(SESSION, headers=headers)
    assert response.status_code == 201, response.text
    return cookie_of(response)


def cookie_of(response: TestResponse) -> str:
    return response.headers["Set-Cookie"].partition(";")[0]


def with_cookie(
    api: Api, method: str, path: str, cookie: str, headers: Mapping[str, str] | None = None, **rest: Any
) -> TestResponse:
    return api.request(method, path, headers={**NO_HEADERS, "cookie": cookie, **(headers or {})}, **rest)


def test_the_cookie_is_for_no_script_no_other_site_and_twelve_hours(api: Api) -> None:
    response = api.post(SESSION, headers={"host": "jobs.example.com:8443"}, base_url="https://jobs.example.com:8443")
    set_cookie = response.headers["Set-Cookie"]
    assert set_cookie.startswith("ava_session_8443=")
    for attribute in ("; HttpOnly", "; SameSite=Strict", "; Secure", "; Path=/", "; Expires="):
        assert attribute in set_cookie
    assert "Domain" not in set_cookie
    assert HEADERS["x-internal-secret"] not in set_cookie
    assert "Secure" not in api.post(SESSION).headers["Set-Cookie"]
    (seconds,) = api.execute("SELECT extract(epoch FROM expires_at - created_at)::int FROM sessions LIMIT 1")[0]
    assert seconds == 12 * 3600


def test_the_cookie_alone_reads_and_a_write_names_its_tenant(api: Api) -> None:
    job, cookie = api.trigger(), sign_in(api)
    assert with_cookie(api, "GET", f"{JOBS}/{job['id']}", cookie).get_json()["data"]["id"] == job["id"]
    who = with_cookie(api, "GET", SESSION, cookie).get_json()["data"]
    assert (who["tenant_id"], who["user_id"], who["role"]) == ("ten_test", "usr_test", "tenant-system-admin")
    refused = with_cookie(api, "POST", f"{JOBS}/{job['id']}/cancel", cookie)
    assert "x-tenant-id" in wrong_fields(refused, 400)
    done = with_cookie(api, "POST", f"{JOBS}/{job['id']}/cancel", cookie, {"x-tenant-id": "ten_test"})
    assert done.get_json()["data"]["cancelled_by"] == "usr_test"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_of_another_origin_cannot_use_the_cookie(shared_api: Api, site: str, method: str) -> None:
    headers = {"sec-fetch-site": site, "x-tenant-id": "ten_test"}
    error_of(with_cookie(shared_api, method, JOBS, sign_in(shared_api), headers), 403, "forbidden")


def test_a_form_of_another_page_changes_nothing_in_an_old_browser(api: Api) -> None:
    """One without `Sec-Fetch-Site` and `SameSite`: a form can send a body, and no header of ours."""
    job, cookie = api.trigger(), sign_in(api)
    for path in (f"{JOBS}/{job['id']}/cancel", JOBS):
        response = with_cookie(api, "POST", path, cookie, data='{"worker_id":"wkr_open"}', content_type="text/plain")
        error_of(response, 400, "validation_error")
    assert api.get(f"{JOBS}/{job['id']}").get_json()["data"]["status"] == "queued"


def test_a_script_of_an_allowed_origin_never_gets_cookies_allowed(api: Api) -> None:
    headers = {"origin": "https://other.example.com", "access-control-request-method": "POST"}
    response = with_cookie(api, "OPTIONS", JOBS, sign_in(api), headers)
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_a_changed_cookie_is_refused_and_one_without_the_form_costs_no_query(api: Api) -> None:
    name, _, token = sign_in(api).partition("=")
    assert re.fullmatch(r"avases_00\.[A-Za-z0-9_-]{59}", token)
    link = api.post(f"{SESSION}/links").get_json()["data"]["path"].partition("=")[2]
    stored = str(api.execute("SELECT s.* FROM sessions AS s"))
    assert token[-59:-43] in stored
    assert token[-43:] not in stored
    for value in (f"{token[:-43]}{'x' * 43}", f"avases_00.{'x' * 59}", f"avases{link[len('avalink') :]}"):
        error_of(with_cookie(api, "GET", JOBS, f"{name}={value}"), 401, "unauthorized")
    # It may name any tenant, but looks at none that its role may not see.
    error_of(with_cookie(api, "GET", JOBS, f"{name}={token}.ten_other"), 403, "forbidden")
    api.execute("ALTER TABLE sessions RENAME TO sessions_hidden")
    formless = (f"{token}0", token[:-1], link, f"{token}.", f"{token}.x", f"{token}.ten_a.ten_b", "x", "é", "a" * 4000)
    for value in formless:
        error_of(with_cookie(api, "GET", JOBS, f"{name}={value}"), 401, "unauthorized")


def test_a_session_ends_when_the_shared_key_with_which_it_began_is_taken_away(database_settings: Settings) -> None:
    with Api.running(replace(database_settings, internal_secrets=("a-key-that-goes", *SECRETS))) as before:
        cookie = sign_in(before)
    with Api.running(replace(database_settings, internal_secrets=(*SECRETS, "a-key-that-goes"))) as api:
        assert with_cookie(api, "GET", JOBS, cookie).status_code == 200
    with Api.running(replace(database_settings, internal_secrets=SECRETS)) as api:
        error_of(with_cookie(api, "GET", JOBS, cookie), 401, "unauthorized")


def test_signing_out_ends_the_session_and_ending_all_ends_each(api: Api) -> None:
    first, second = sign_in(api), sign_in(api)
    response = with_cookie(api, "DELETE", SESSION, first, {"x-tenant-id": "ten_test"})
    assert response.status_code == 200
    assert parse_cookie(cookie_of(response)).to_dict() == {"ava_session": ""}
    error_of(with_cookie(api, "GET", JOBS, first), 401, "unauthorized")
    assert with_cookie(api, "GET", JOBS, second).status_code == 200
    link = api.post(f"{SESSION}/links").get_json()["data"]["path"].partition("=")[2]
    assert api.request("DELETE", "/v1/ava/sessions").get_json()["data"] == {"ended": 2}
    error_of(with_cookie(api, "GET", JOBS, second), 401, "unauthorized")
    error_of(api.post(SESSION, headers={**NO_HEADERS, "authorization": f"Link {link}"}), 401, "unauthorized")


def test_an_expired_session_is_refused_and_no_session_prolongs_itself(api: Api) -> None:
    cookie = sign_in(api)
    for path in (SESSION, f"{SESSION}/links"):
        error_of(with_cookie(api, "POST", path, cookie, {"x-tenant-id": "ten_test"}), 409, "resource_conflict")
    api.execute("UPDATE sessions SET expires_at = now() - interval '1 second'")
    error_of(with_cookie(api, "GET", JOBS, cookie), 401, "unauthorized")


def test_a_role_of_the_platform_looks_at_any_tenant_and_a_tenants_role_at_its_own(api: Api) -> None:
    theirs = api.trigger(headers={"x-tenant-id": "ten_other"})
    path = f"{JOBS}/{theirs['id']}"
    own = sign_in(api)
    error_of(with_cookie(api, "GET", path, own, {"x-tenant-id": "ten_other"}), 403, "forbidden")
    error_of(
        with_cookie(api, "PATCH", SESSION, own, {"x-tenant-id": "ten_test"}, json={"tenant_id": "ten_other"}),
        *(403, "forbidden"),
    )
    platform = sign_in(api, {"x-platform-role": "platform-admin"})
    assert with_cookie(api, "GET", path, platform, {"x-tenant-id": "ten_other"}).status_code == 200
    error_of(with_cookie(api, "GET", path, platform), 404, "resource_not_found")
    switched = with_cookie(
        api, "PATCH", SESSION, platform, {"x-tenant-id": "ten_test"}, json={"tenant_id": "ten_other"}
    )
    assert switched.get_json()["data"]["tenant_id"] == "ten_other"
    assert with_cookie(api, "GET", path, cookie_of(switched)).status_code == 200, "without a header, as a download"


def test_a_link_signs_in_once_as_its_maker(api: Api) -> None:
    made = api.post(f"{SESSION}/links", headers={"x-platform-role": "platform-admin"}).get_json()["data"]
    assert made["path"].startswith("/#/signin?link="), "a fragment is sent to no server, so no log has it"
    link = {**NO_HEADERS, "authorization": f"Link {made['path'].partition('=')[2]}"}
    error_of(api.get(JOBS, headers=link), 401, "unauthorized")
    response = api.post(SESSION, headers=link)
    assert response.get_json()["data"]["role"] == "platform-admin"
    assert with_cookie(api, "GET", JOBS, cookie_of(response)).status_code == 200
    error_of(api.post(SESSION, headers=link), 401, "unauthorized")
    late = api.post(f"{SESSION}/links").get_json()["data"]["path"].partition("=")[2]
    api.execute("UPDATE sessions SET expires_at = now() WHERE is_link")
    error_of(api.post(SESSION, headers={**NO_HEADERS, "authorization": f"Link {late}"}), 401, "unauthorized")


def test_a_session_ends_with_the_api_key_that_started_it(api: Api) -> None:
    made = api.post(
        "/v1/ava/keys",
        json={"name": "laptop", "role": "platform-admin", "expires_at": "2999-01-01T00:00:00Z"},
        headers={"x-platform-role": "platform-admin"},
    ).get_json()["data"]
    cookie = sign_in(api, {**NO_HEADERS, "authorization": f"Bearer {made['token']}"})
    assert with_cookie(api, "GET", JOBS, cookie).status_code == 200
    error_of(with_cookie(api, "GET", JOBS, cookie, {"x-tenant-id": "ten_other"}), 403, "forbidden")
    api.execute("UPDATE api_keys SET expires_at = now() + interval '1 hour'")
    short = sign_in(api, {**NO_HEADERS, "authorization": f"Bearer {made['token']}"})
    assert with_cookie(api, "GET", SESSION, short).get_json()["data"]["expires_at"] < "2900"
    assert api.request("DELETE", f"/v1/ava/keys/{made['id']}").status_code < 300
    error_of(with_cookie(api, "GET", JOBS, cookie), 401, "unauthorized")


def _key(api: Api, role: str = "tenant-user") -> dict[str, str | None]:
    """Returns the headers of a request with a new API key."""
    made = api.post("/v1/ava/keys", json={"name": "theirs", "role": role}).get_json()["data"]
    return {**NO_HEADERS, "authorization": f"Bearer {made['token']}"}


def test_a_users_many_sessions_end_its_own_oldest_and_lock_nobody_out(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_service, "USER_SESSIONS", replace(USER_SESSIONS, fixed=2))
    admin, theirs = sign_in(api), _key(api)
    cookies = [sign_in(api, {**theirs, "x-user-id": f"usr_{each}"}) for each in ("a", "b", "test")]
    responses = [with_cookie(api, "GET", JOBS, cookie).status_code for cookie in (admin, *cookies)]
    assert responses == [200, 401, 200, 200]
    assert api.post(f"{SESSION}/links").status_code == 201
    second = sign_in(api)
    assert with_cookie(api, "GET", JOBS, second).status_code == 200
    error_of(with_cookie(api, "GET", JOBS, admin), 401, "unauthorized")


def test_a_key_with_the_name_of_another_user_ends_the_sessions_of_the_key_alone(api: Api) -> None:
    admin, theirs, others = sign_in(api), _key(api), _key(api)
    theirs_too = sign_in(api, {**others, "x-user-id": "usr_test"})
    own = sign_in(api, {**theirs, "x-user-id": "usr_any"})
    forged = api.request("DELETE", "/v1/ava/sessions", headers={**theirs, "x-user-id": "usr_test"})
    assert forged.get_json()["data"] == {"ended": 1}
    responses = [with_cookie(api, "GET", JOBS, cookie).status_code for cookie in (admin, theirs_too, own)]
    assert responses == [200, 200, 401]
    assert api.request("DELETE", "/v1/ava/sessions").get_json()["data"] == {"ended": 1}, "not those of keys"


def test_the_cookie_is_secure_behind_a_proxy_that_the_public_url_names(database_settings: Settings) -> None:
    with Api.running(replace(database_settings, public_url="https://jobs.example.com")) as api:
        assert "; Secure" in api.post(SESSION).headers["Set-Cookie"]
        moved = with_cookie(
            api,
            "PATCH",
            SESSION,
            sign_in(api, {"x-platform-role": "platform-admin"}),
            {"x-tenant-id": "ten_test"},
            json={"tenant_id": "ten_other"},
        )
        assert "; Secure" in moved.headers["Set-Cookie"]
    with Api.running(replace(database_settings, public_url="http://jobs.example.com")) as api:
        assert "Secure" not in api.post(SESSION).headers["Set-Cookie"]


def test_sessions_are_audited_and_deleted_after_their_end(api: Api) -> None:
    for _ in range(3):
        sign_in(api)
    entries = api.get("/v1/ava/audit", query_string={"filter[action]": "sessions.start"}).get_json()["data"]
    assert 201 in {entry["status"] for entry in entries}
    assert "usr_test" in {entry["actor"]["id"] for entry in entries}
    api.execute("UPDATE sessions SET expires_at = now() - interval '1 second' WHERE expires_at > now()")
    with api.database.connect() as connection:
        assert sessions.delete_expired(connection, limit=2) == 2
        assert sessions.delete_expired(connection, limit=2) == 1
