"""API keys: a token instead of the four headers."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from ava.api.routes import streams
from ava.domain.limits.table import API_KEYS
from ava.services import watches
from ava.settings import Settings
from harness.api import HEADERS, JOBS, Api, error_of
from harness.polling import wait_until

KEYS = "/v1/ava/keys"
#: A request without any of the four headers.
NONE: dict[str, str | None] = dict.fromkeys(HEADERS)


def create(api: Api, role: str = "tenant-system-admin", **fields: Any) -> dict[str, Any]:
    response = api.post(KEYS, json={"name": "deploy", "role": role, **fields})
    assert response.status_code == 201, response.text
    record: dict[str, Any] = response.get_json()["data"]
    return record


def bearer(key: dict[str, Any], **more: str) -> dict[str, str | None]:
    return NONE | {"authorization": f"Bearer {key['token']}"} | {name.replace("_", "-"): v for name, v in more.items()}


def test_a_key_stands_for_the_four_headers(api: Api) -> None:
    key = create(api)
    assert list(key) == [
        *("id", "name", "role", "prefix", "created_by", "created_at", "expires_at", "last_used_at"),
        *("payloads", "workers", "triggers", "token"),
    ]
    assert re.fullmatch(r"ava_00\.[A-Za-z0-9_-]{59}", key["token"])
    assert key["token"][len("ava_00.") :][:16] == key["prefix"]
    assert key["created_by"] == "usr_test"
    job = api.trigger(headers=bearer(key))
    assert (job["tenant_id"], job["triggered_by"]) == ("ten_test", key["id"])
    # The tenant and the role are the key's, whatever the headers say; the user may be named.
    named = bearer(key, x_user_id="usr_named", x_tenant_id="ten_other", x_platform_role="platform-admin")
    job = api.trigger(headers=named)
    assert (job["tenant_id"], job["triggered_by"]) == ("ten_test", "usr_named")
    # To the trail, too, it is the key, and the user that its holder has named is a label.
    audited = [entry["actor"] for entry in api.get("/v1/ava/audit").get_json()["data"]]
    by_key = {"id": key["id"], "kind": "key", "via": "key", "label": None}
    by_user = {"id": "usr_test", "kind": "user", "via": "headers", "label": None}
    assert audited == [by_key | {"label": "usr_named"}, by_key, by_user]
    for name, value, number in (("actor_id", key["id"], 2), ("label", "usr_named", 1), ("actor_id", "usr_named", 0)):
        found = api.get("/v1/ava/audit", query_string={f"filter[{name}]": value}).get_json()["data"]
        assert len(found) == number, (name, value)
    error_of(api.get(JOBS, headers=bearer(key, x_user_id="nobody")), 400, "validation_error")


def test_the_trail_has_the_entries_that_are_being_written(api: Api) -> None:
    with ThreadPoolExecutor(1) as threads:
        with api.database.transaction() as connection:
            connection.exec_driver_sql("LOCK TABLE audit IN SHARE MODE")
            api.trigger()
            wait_until(lambda: not api.app.extensions["ava"].admin.audit._buffered)
            read = threads.submit(api.get, "/v1/ava/audit")
            with pytest.raises(TimeoutError):
                read.result(0.5)
        assert [entry["actor"]["id"] for entry in read.result(30).get_json()["data"]] == ["usr_test"]


def test_a_key_has_its_role_and_grants_none_above_its_makers(shared_api: Api) -> None:
    reader = create(shared_api, "tenant-user")
    assert shared_api.get(JOBS, headers=bearer(reader)).status_code == 200
    error_of(shared_api.post(JOBS, json={"worker_id": "wkr_open"}, headers=bearer(reader)), 403, "forbidden")
    error_of(shared_api.post(KEYS, json={"name": "more", "role": "platform-admin"}), 403, "forbidden")
    writer = create(shared_api)
    by_key = shared_api.post(KEYS, json={"name": "more", "role": "platform-admin"}, headers=bearer(writer))
    error_of(by_key, 403, "forbidden")
    made = shared_api.post(KEYS, json={"name": "child", "role": "tenant-admin"}, headers=bearer(writer)).get_json()[
        "data"
    ]
    assert made["created_by"] == writer["id"]


def test_a_key_ends_with_the_key_with_which_it_was_made(api: Api) -> None:
    parent = create(api, expires_at="2990-01-01T00:00:00Z")
    body = {"name": "child", "role": "tenant-system-admin"}
    made = api.post(KEYS, json=body, headers=bearer(parent)).get_json()["data"]
    assert made["expires_at"] == parent["expires_at"], "it does not outlive its maker's expiry"
    sooner = api.post(KEYS, json=body | {"expires_at": "2980-01-01"}, headers=bearer(parent)).get_json()["data"]
    assert sooner["expires_at"].startswith("2980")
    # A session of the key makes no key that outlives it either.
    cookie = api.post("/v1/ava/session", headers=bearer(made)).headers["Set-Cookie"].partition(";")[0]
    in_session = {**NONE, "cookie": cookie, "x-tenant-id": "ten_test"}
    grandchild = api.post(KEYS, json=body, headers=in_session).get_json()["data"]
    assert (grandchild["created_by"], grandchild["expires_at"]) == (made["id"], parent["expires_at"])
    apart = create(api)
    assert api.get(JOBS, headers=bearer(grandchild)).status_code == 200
    assert api.request("DELETE", f"{KEYS}/{parent['id']}").status_code == 200
    for each in (parent, made, sooner, grandchild):
        error_of(api.get(JOBS, headers=bearer(each)), 401, "unauthorized")
    assert api.get(JOBS, headers=bearer(apart)).status_code == 200
    assert [each["id"] for each in api.get(KEYS).get_json()["data"]] == [apart["id"]]


def test_a_key_that_was_revoked_a_moment_ago_makes_no_key(api: Api) -> None:
    parent = create(api)
    assert api.get(JOBS, headers=bearer(parent)).status_code == 200
    # Another process has revoked it, and this one still trusts what it has read.
    api.execute("DELETE FROM api_keys")
    response = api.post(KEYS, json={"name": "late", "role": "tenant-user"}, headers=bearer(parent))
    error_of(response, 401, "unauthorized")


def test_what_is_made_with_a_key_is_by_the_key_whatever_user_its_holder_names(api: Api) -> None:
    key = create(api)
    named = bearer(key, x_user_id="usr_forged")
    made = [
        api.post(KEYS, json={"name": "child", "role": "tenant-user"}, headers=named),
        api.post(
            "/v1/ava/schedules", json={"worker_id": "wkr_open", "cron": "0 4 * * *", "timezone": "UTC"}, headers=named
        ),
        api.post(f"{JOBS}/cancel", json={"filter": {"status": "queued"}}, headers=named),
    ]
    assert [response.get_json()["data"]["created_by"] for response in made] == [key["id"]] * 3, [m.text for m in made]


def test_the_database_and_the_lists_hold_no_token(api: Api) -> None:
    key = create(api)
    api.get(JOBS, headers=bearer(key))
    stored = str(api.execute("SELECT k.* FROM api_keys AS k"))
    assert key["prefix"] in stored
    assert key["token"][-43:] not in stored
    listed = api.get(KEYS)
    assert key["token"] not in listed.text
    (shown,) = listed.get_json()["data"]
    assert shown["last_used_at"] is not None
    assert "token" not in shown
    assert key["token"] not in api.get("/v1/ava/audit").text


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer ava_",
        "Bearer ava_00." + "x" * 59,
        "Bearer ava_00." + "é" * 59,
        "Bearer avases_00." + "x" * 59,
        "Basic eDp5",
        "x" * 3000,
    ],
)
def test_any_other_token_is_unauthorized(shared_api: Api, value: str) -> None:
    error_of(shared_api.get(JOBS, headers=NONE | {"authorization": value}), 401, "unauthorized")


def test_a_known_lookup_with_another_secret_is_unauthorized(shared_api: Api) -> None:
    token = create(shared_api)["token"]
    for other in (token[:-43] + "x" * 43, "avases" + token[3:]):
        error_of(shared_api.get(JOBS, headers=bearer({"token": other})), 401, "unauthorized")
    # Whichever cell made it: its rows may have moved here from another.
    assert shared_api.get(JOBS, headers=bearer({"token": token.replace("ava_00.", "ava_e1.")})).status_code == 200


def test_a_token_bears_the_mark_of_its_cell(database_settings: Settings) -> None:
    with Api.running(replace(database_settings, cell="e1")) as api:
        assert create(api)["token"].startswith("ava_e1.")
        assert "=avases_e1." in api.post("/v1/ava/session").headers["set-cookie"]
        assert "=avalink_e1." in api.post("/v1/ava/session/links").get_json()["data"]["path"]


def test_a_shared_key_decides_where_both_are_sent(api: Api) -> None:
    assert api.get(JOBS, headers={"authorization": "Bearer of-a-proxy"}).status_code == 200
    both = HEADERS | bearer(create(api)) | {"x-internal-secret": "wrong"}
    error_of(api.get(JOBS, headers=both), 401, "unauthorized")


def test_an_expired_key_is_unauthorized(api: Api) -> None:
    error_of(
        api.post(KEYS, json={"name": "a", "role": "tenant-user", "expires_at": "2020-01-01"}), 422, "validation_error"
    )
    key = create(api, expires_at="2099-01-01T00:00:00Z")
    assert api.get(JOBS, headers=bearer(key)).status_code == 200
    api.execute("UPDATE api_keys SET expires_at = now()")
    api.app.extensions["ava"].api_keys._known.clear()
    error_of(api.get(JOBS, headers=bearer(key)), 401, "unauthorized")


def test_a_revoked_key_is_refused_at_once_here_and_soon_elsewhere(api: Api, database_settings: Settings) -> None:
    key = create(api)
    now = [100.0]
    with Api.running(database_settings, workers=False) as other:
        other.app.extensions["ava"].api_keys._clock = lambda: now[0]
        assert other.get(JOBS, headers=bearer(key)).status_code == 200
        assert api.get(JOBS, headers=bearer(key)).status_code == 200
        assert api.request("DELETE", f"{KEYS}/{key['id']}").get_json()["data"] == {"id": key["id"], "deleted": True}
        error_of(api.get(JOBS, headers=bearer(key)), 401, "unauthorized")
        now[0] += 1.9
        error_of(other.get(JOBS, headers=bearer(key)), 401, "unauthorized")
    error_of(api.request("DELETE", f"{KEYS}/{key['id']}"), 404, "resource_not_found")
    assert api.get(KEYS).get_json()["data"] == []


def test_what_a_key_has_opened_ends_when_it_is_revoked(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    key = create(api)
    job = api.trigger(headers=bearer(key))
    path = f"{JOBS}/{job['id']}"
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(watches, "_CLIENT_CHECK_SECONDS", 0.05)
    followed = iter(api.get(f"{path}/stream", headers=bearer(key)).response)
    assert b"event: status" in bytes(next(followed))
    with ThreadPoolExecutor(1) as thread:
        waited = thread.submit(api.get, f"{path}?wait=60", headers=bearer(key))
        wait_until(lambda: api.app.extensions["ava"].watches._waiters)
        assert api.request("DELETE", f"{KEYS}/{key['id']}").status_code == 200
        # What others write of the job from now on reaches neither.
        api.post(f"{path}/cancel")
        assert b"cancelled" not in b"".join(map(bytes, followed))
        error_of(waited.result(30), 401, "unauthorized")


def test_a_process_asks_the_database_once_for_a_while(api: Api) -> None:
    key = create(api)
    assert api.get(JOBS, headers=bearer(key)).status_code == 200
    used = api.execute("SELECT last_used_at FROM api_keys")
    api.execute("UPDATE api_keys SET role = 'tenant-user'")
    # What was read a moment ago still counts, …
    assert api.trigger(headers=bearer(key))
    api.app.extensions["ava"].api_keys._known.clear()
    # … and what is read now counts then. The use is noted once a minute.
    error_of(api.post(JOBS, json={"worker_id": "wkr_open"}, headers=bearer(key)), 403, "forbidden")
    assert api.execute("SELECT last_used_at FROM api_keys") == used


def test_the_number_of_keys_is_limited_exactly(api: Api) -> None:
    api.execute(
        "INSERT INTO api_keys (tenant_id, name, role, lookup, hash, created_by, person) "
        "SELECT 'ten_test', 'k', 'tenant-user', n::text, '', 'usr_test', 'usr_test' "
        f"FROM generate_series(3, {API_KEYS.value}) AS n"
    )
    with ThreadPoolExecutor(4) as threads:
        body = {"name": "a", "role": "tenant-user"}
        responses = list(threads.map(lambda _: api.app.test_client().post(KEYS, json=body, headers=HEADERS), range(4)))
    assert sorted(response.status_code for response in responses) == [201, 201, 409, 409]
    assert "(limit api_keys)" in next(response.text for response in responses if response.status_code == 409)


def test_rates_count_per_key(database_settings: Settings) -> None:
    with Api.running(replace(database_settings, rate_limit_read="2/minute")) as api:
        keys = [create(api), create(api)]
        for key in keys:
            assert [api.get(JOBS, headers=bearer(key)).status_code for _ in range(3)] == [200, 200, 429]
        refused = error_of(api.get(JOBS, headers=bearer(keys[0])), 429, "rate_limited")
        assert "the rate limit of this API key is 2/minute" in refused["message"]
        assert "(limit rate_limit_read)" in refused["message"]
        assert api.get(JOBS).status_code == 200


def test_all_keys_of_a_tenant_together_have_a_rate(database_settings: Settings) -> None:
    settings = replace(database_settings, rate_limit_read="4/minute", rate_limit_tenant_keys=2)
    with Api.running(settings) as api:
        keys = [create(api) for _ in range(4)]
        statuses = [api.get(JOBS, headers=bearer(key)).status_code for key in keys for _ in range(3)]
        assert statuses == [200] * 8 + [429] * 4
        refused = api.get(JOBS, headers=bearer(create(api)))
        message = error_of(refused, 429, "rate_limited")["message"]
        assert "the rate limit of all API keys of this tenant is 8/minute" in message
        assert message.endswith("(limit rate_limit_tenant_keys)")
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["X-RateLimit-Limit"] == "8"
        # Callers without a key, and another tenant's keys, have rates of their own.
        assert api.get(JOBS).status_code == 200
        body = {"name": "a", "role": "tenant-user"}
        other = api.post(KEYS, json=body, headers={"x-tenant-id": "ten_other"}).get_json()["data"]
        assert api.get(JOBS, headers=bearer(other)).status_code == 200
