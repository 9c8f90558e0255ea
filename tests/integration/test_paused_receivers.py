"""A paused hook skips deliveries, which can be replayed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ava.domain.events.hook import SKIP_REASON
from ava.settings import Settings
from harness.api import Api, error_of
from tests.integration.hook_sender import HOOKS, PULL, Hook, count_jobs

WEBHOOKS, SUBSCRIPTIONS = "/v1/webhooks", "/v1/ava/subscriptions"
#: What creates a record of each path.
BODIES = {
    HOOKS: {"name": "mine", "provider": "none"},
    SUBSCRIPTIONS: {"event_type": "order.paid", "worker_id": "wkr_open"},
    WEBHOOKS: {"url": "https://example.com/", "events": ["ava.job.failed"], "secret": "s" * 24},
}


def _made(api: Api, path: str, **fields: Any) -> dict[str, Any]:
    response = api.post(path, json=BODIES[path] | fields)
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.get_json()["data"]
    return found


# How each of them is paused and resumed: test_pauses.py.
@pytest.mark.parametrize("path", BODIES)
def test_a_record_is_created_paused_and_found_by_the_filter(api: Api, path: str) -> None:
    paused, other = _made(api, path, paused=True), _made(api, path)
    assert (paused["paused"]["by"]["id"], paused["paused"]["reason"], other["paused"]) == ("usr_test", None, None)
    found = api.get(path, query_string={"filter[paused]": "true"}).get_json()
    assert ([each["id"] for each in found["data"]], found["pagination"]["total"]) == ([paused["id"]], 1)
    # The same key with another `paused` is another request.
    key = {"Idempotency-Key": "a"}
    assert api.post(path, json=BODIES[path], headers=key).status_code == 201
    reused = api.post(path, json=BODIES[path] | {"paused": True}, headers=key)
    error_of(reused, 422, "idempotency_key_reused")


# Paused hooks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hook(api: Api) -> Hook:
    """A paused hook of GitHub whose deliveries make jobs."""
    return Hook(api, worker_id="wkr_open", paused=True)


def _replay(hook: Hook, delivery: dict[str, Any]) -> Any:
    response = hook.api.post(f"{HOOKS}/{hook.id}/deliveries/{delivery['id']}/replay")
    assert response.status_code == 202, response.text
    return response.get_json()["data"]


def _replay_skipped(hook: Hook) -> int:
    response = hook.api.post(f"{HOOKS}/{hook.id}/deliveries/replay", json={"since": "2020-01-01", "status": "skipped"})
    assert response.status_code == 202, response.text
    return int(response.get_json()["data"]["total"])


def _resume(hook: Hook) -> None:
    assert hook.api.post(f"{HOOKS}/{hook.id}/resume").status_code == 200


@pytest.mark.parametrize("makes", [{"worker_id": "wkr_open"}, {"event_type": "pull"}])
def test_a_paused_hook_responds_202_and_stores_the_delivery_as_skipped_until_it_is_replayed(
    api: Api, makes: dict[str, Any]
) -> None:
    api.post(SUBSCRIPTIONS, json={"event_type": "pull", "worker_id": "wkr_open"})
    hook = Hook(api, paused=True, **makes)
    body = {**PULL, "text": "x" * 500_000}
    received = hook.accepted(body)
    assert (received["duplicate"], received["job_ids"]) == (False, [])
    (delivery,) = hook.deliveries("?filter[status]=skipped")
    assert delivery["id"] == received["delivery_id"]
    assert (delivery["status"], delivery["response_status"]) == ("skipped", 202)
    assert (delivery["reason"], delivery["job_ids"], delivery["event_id"]) == (SKIP_REASON, [], None)
    # The body is whole, although that of a refused delivery is not.
    shown = api.get(f"{HOOKS}/{hook.id}/deliveries/{delivery['id']}").get_json()["data"]
    assert json.loads(shown["body"]) == body
    assert (count_jobs(api), api.execute("SELECT count(*) FROM events")) == (0, [(0,)])
    _resume(hook)
    replayed = _replay(hook, delivery)
    assert (len(replayed["job_ids"]), count_jobs(api)) == (1, 1)
    assert hook.job(replayed["job_ids"][0])["input"]["event"]["data"] == body
    assert hook.deliveries()[0]["replay_of"] == delivery["id"]


def test_a_paused_hook_still_verifies_answers_handshakes_and_refuses_large_bodies(api: Api, hook: Hook) -> None:
    error_of(hook.send(secret="wrong-secret"), 401, "unauthorized")
    error_of(hook.send(b"x" * (2**20 + 1)), 413, "payload_too_large")
    assert hook.send({"zen": "x"}, {"x-github-event": "ping"}).status_code == 200
    slack = Hook(api, "slack", worker_id="wkr_open", paused=True)
    response = slack.send({"type": "url_verification", "challenge": "3eZbrw1a"})
    assert (response.status_code, response.data) == (200, b"3eZbrw1a")
    assert slack.send({"event_id": "1", "event": {"type": "a"}}).status_code == 200
    assert [(each["status"], each["response_status"]) for each in slack.deliveries()] == [("skipped", 200)]
    assert [each["status"] for each in hook.deliveries()] == ["refused", "refused"]
    assert count_jobs(api) == 0


def test_a_skipped_delivery_is_processed_once_whoever_sends_it_again(api: Api, hook: Hook) -> None:
    for number in range(3):
        hook.accepted({"n": number}, {"x-github-delivery": f"d{number}"})
    # The provider repeats one during the pause: nothing was started, so it is no duplicate.
    assert hook.accepted({"n": 0}, {"x-github-delivery": "d0"})["duplicate"] is False
    assert [each["status"] for each in hook.deliveries()] == ["skipped"] * 4
    _resume(hook)
    # It repeats another one after the pause, before the replay.
    sent = hook.accepted({"n": 1}, {"x-github-delivery": "d1"})
    assert (sent["duplicate"], len(sent["job_ids"])) == (False, 1)
    assert _replay_skipped(hook) == 2
    assert count_jobs(api) == 3
    # And one after the replay.
    assert hook.accepted({"n": 2}, {"x-github-delivery": "d2"})["duplicate"] is True
    assert _replay_skipped(hook) == 0
    skipped = hook.deliveries("?filter[status]=skipped")
    assert [len(_replay(hook, each)["job_ids"]) for each in skipped] == [1] * 4
    assert count_jobs(api) == 3


def test_a_delivery_that_was_accepted_before_the_pause_stays_a_duplicate(api: Api) -> None:
    hook = Hook(api, worker_id="wkr_open")
    first = hook.accepted()
    api.post(f"{HOOKS}/{hook.id}/pause")
    again = hook.accepted()
    assert (again["duplicate"], again["job_ids"]) == (True, first["job_ids"])
    assert hook.deliveries()[0]["duplicate_of"] == first["delivery_id"]
    assert _replay_skipped(hook) == 0


def test_a_replay_is_processed_while_the_hook_is_paused_and_a_test_is_skipped(api: Api, hook: Hook) -> None:
    hook.accepted()
    assert len(_replay(hook, hook.deliveries()[0])["job_ids"]) == 1
    tried = api.post(f"{HOOKS}/{hook.id}/test", json={"headers": {"x-github-event": "push"}}).get_json()["data"]
    assert (tried["status"], tried["reason"], tried["job_ids"]) == (202, SKIP_REASON, [])
    assert count_jobs(api) == 1


def test_a_skipped_delivery_counts_against_the_limits_of_its_hook_and_its_tenant(
    api_settings: Settings,
) -> None:
    settings = replace(api_settings, tenant_max_stored_bytes=100_000, rate_limit_hook="4/minute")
    with Api.running(settings) as api:
        hook = Hook(api, worker_id="wkr_open", paused=True)
        hook.accepted({"text": "x" * 60_000}, {"x-github-delivery": "d1"})
        full = hook.send({"text": "x" * 60_000}, {"x-github-delivery": "d2"})
        assert "tenant_stored_bytes" in error_of(full, 429, "rate_limited")["message"]
        stored = sum(size for (size,) in api.execute("SELECT octet_length(body) FROM hook_deliveries"))
        assert stored < 100_000
        for _ in range(2):
            hook.send()
        assert "rate_limit_hook" in error_of(hook.send(), 429, "rate_limited")["message"]


def test_a_pause_applies_in_other_processes_within_two_seconds(api: Api, api_settings: Settings) -> None:
    hook = Hook(api, worker_id="wkr_open")
    with Api.running(api_settings, workers=False) as other:
        hook.api = other
        assert hook.accepted()["job_ids"]
        api.post(f"{HOOKS}/{hook.id}/pause")
        _wait_for(lambda n: hook.accepted({"n": n}, {"x-github-delivery": f"p{n}"})["job_ids"] == [])
        api.post(f"{HOOKS}/{hook.id}/resume")
        _wait_for(lambda n: hook.accepted({"n": n}, {"x-github-delivery": f"r{n}"})["job_ids"] != [])


def _wait_for(is_true: Callable[[int], bool]) -> None:
    until, number = time.monotonic() + 2, 0
    while not is_true(number):
        assert time.monotonic() < until
        time.sleep(0.2)
        number += 1
