"""What bounds the requests that hooks receive: rates of hooks and addresses, stored bytes, and an outage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ava.settings import Settings
from harness.api import Api, error_of
from tests.integration.hook_sender import HOOKS, NO_HEADERS, SECRET, Hook


@pytest.fixture
def limited(api_settings: Settings) -> Iterator[Api]:
    """An API with small limits. Their periods are days: a new period counts the requests of the last one in part."""
    settings = replace(api_settings, rate_limit_hook="3/day", rate_limit_address="5/day", tenant_max_queued=2)
    with Api.running(settings) as api:
        yield api


def test_valid_deliveries_count_only_against_their_hook_and_the_address_for_what_is_not_valid(limited: Api) -> None:
    ours, theirs = (Hook(limited, worker_id="wkr_open", secret=SECRET) for _ in range(2))
    # One provider sends for both tenants, from one address: more than the address may send without a valid token.
    for hook in (ours, theirs):
        statuses = [hook.send({"n": n}, {"x-github-delivery": f"d{n}"}).status_code for n in range(3)]
        assert set(statuses) <= {202, 429}
        assert "rate_limit_address" not in str([each["reason"] for each in hook.deliveries()])
    for _ in range(5):
        error_of(limited.post("/v1/hooks/unknown", headers=NO_HEADERS), 404, "resource_not_found")
    assert "rate_limit_address" in limited.post("/v1/hooks/unknown", headers=NO_HEADERS).text
    # An address that has sent too much reaches the hooks that it has reached before.
    assert "rate_limit_hook" in error_of(ours.send(), 429, "rate_limited")["message"]
    fresh = Hook(limited, worker_id="wkr_open")
    assert "rate_limit_address" in error_of(fresh.send(), 429, "rate_limited")["message"]


def test_wrong_signatures_count_against_the_address(limited: Api) -> None:
    for _ in range(2):
        hook = Hook(limited, worker_id="wkr_open")
        assert [hook.send(secret="wrong-secret").status_code for _ in range(3)][:2] == [401, 401]
    error = error_of(Hook(limited, worker_id="wkr_open").send(secret="wrong-secret"), 429, "rate_limited")
    assert "rate_limit_address" in error["message"]


def test_a_delivery_that_is_refused_stores_16_kib_of_its_body_and_of_its_headers(api: Api) -> None:
    hook = Hook(api, worker_id="wkr_open")
    body = '{"title": "' + "é" * 500_000 + '"}'
    headers = {f"x-long-{n}": "y" * 4_000 for n in range(10)}
    error_of(hook.send(body.encode(), headers, secret="wrong-secret"), 401, "unauthorized")
    (refused,) = hook.deliveries()
    shown = api.get(f"{HOOKS}/{hook.id}/deliveries/{refused['id']}").get_json()["data"]
    assert (shown["body"], shown["body_bytes"]) == (body[:8_197], len(body.encode()))
    assert shown["headers"]["x-hub-signature-256"]
    ((size,),) = api.execute("SELECT octet_length(body) + octet_length(headers::text) FROM hook_deliveries")
    assert size < 33 * 2**10
    api.request("PATCH", f"{HOOKS}/{hook.id}", json={"secret": "wrong-secret"})
    replay = api.post(f"{HOOKS}/{hook.id}/deliveries/{refused['id']}/replay")
    assert "beginning of this body" in error_of(replay, 409, "resource_conflict")["message"]


def test_a_hook_and_an_address_have_limits_and_a_full_queue_is_429(limited: Api) -> None:
    hook = Hook(limited, "none", secret=None, worker_id="wkr_open")
    assert [hook.send(is_signed=False).status_code for _ in range(2)] == [202, 202]
    full = hook.send(is_signed=False)
    assert "tenant_queued_jobs" in error_of(full, 429, "rate_limited")["message"]
    assert int(full.headers["Retry-After"]) >= 1
    assert hook.deliveries()[0]["response_status"] == 429
    assert "rate_limit_hook" in error_of(hook.send(is_signed=False), 429, "rate_limited")["message"]
    for _ in range(5):
        limited.post("/v1/hooks/unknown", headers=NO_HEADERS)
    by_address = limited.post("/v1/hooks/unknown", headers=NO_HEADERS)
    assert "rate_limit_address" in error_of(by_address, 429, "rate_limited")["message"]
    assert int(by_address.headers["Retry-After"]) >= 1
    # A replay is refused as a delivery is, and nothing of it is stored.
    before = len(hook.deliveries())
    path = f"{HOOKS}/{hook.id}/deliveries/{hook.deliveries()[-1]['id']}/replay"
    error_of(limited.post(path), 429, "rate_limited")
    assert len(hook.deliveries()) == before


def test_without_the_database_the_sender_may_try_again(api_without_database: Api) -> None:
    token = "avahook_00." + "a" * 59
    response = api_without_database.post(f"/v1/hooks/{token}", data=b"{}", headers=NO_HEADERS)
    error_of(response, 503, "unavailable")
    assert int(response.headers["Retry-After"]) >= 1
