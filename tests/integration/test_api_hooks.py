"""Hooks: what a provider sends is verified, known again, and makes its jobs in one transaction."""

from __future__ import annotations

import gzip
import io
import json
import logging
import time
from typing import Any

import pytest

from ava.domain.access import tokens
from ava.domain.access.tokens import TokenKind
from ava.domain.events.hook import Received
from ava.domain.events.verification import sign
from harness.api import Api, error_of, wrong_fields
from tests.integration.hook_sender import GITHUB, HOOKS, NO_HEADERS, PULL, SECRET, Hook, count_jobs


@pytest.fixture
def hook(api: Api) -> Hook:
    """A hook of GitHub whose deliveries make jobs."""
    return Hook(api, worker_id="wkr_open")


def test_a_delivery_makes_the_job_of_its_worker_without_any_header_of_ours(api: Api, hook: Hook) -> None:
    received = hook.accepted()
    assert (received["duplicate"], len(received["job_ids"])) == (False, 1)
    job = hook.job(received["job_ids"][0])
    assert (job["trigger"], job["triggered_by"], job["tenant_id"]) == ("webhook", hook.id, "ten_test")
    event = job["input"]["event"]
    assert (event["type"], event["data"], event["source_id"]) == ("github.pull_request.opened", PULL, "d1")
    assert event["headers"]["x-github-event"] == "pull_request"
    assert (hook.record["dedupe"], hook.record["tolerance_seconds"], hook.record["secrets"]) == ("both", 300, 1)
    (delivery,) = hook.deliveries()
    assert (delivery["status"], delivery["response_status"]) == ("accepted", 202)
    assert (delivery["id"], delivery["job_ids"]) == (received["delivery_id"], received["job_ids"])
    assert json.loads(hook.delivery(delivery["id"])["body"]) == PULL
    assert SECRET not in api.get(f"{HOOKS}/{hook.id}").text
    assert api.execute("SELECT count(*) FROM events") == [(0,)]


def test_without_a_worker_a_delivery_is_an_event_of_the_type_that_the_provider_names(api: Api) -> None:
    hook = Hook(api)
    subscription = {
        "event_type": "github.pull_request.*",
        "worker_id": "wkr_open",
        "match": {"headers": {"x-github-event": ["pull_request"]}},
    }
    sub = api.post("/v1/ava/subscriptions", json=subscription).get_json()["data"]
    received = hook.accepted()
    job = hook.job(received["job_ids"][0])
    assert (job["trigger"], job["triggered_by"]) == ("event", sub["id"])
    event = api.get(f"/v1/ava/events/{hook.deliveries()[0]['event_id']}").get_json()["data"]
    assert (event["type"], event["source"]) == ("github.pull_request.opened", f"/hooks/{hook.id}")
    assert (event["delivery_id"], event["job_ids"]) == (received["delivery_id"], received["job_ids"])
    assert hook.deliveries()[0]["job_ids"] == received["job_ids"]
    assert Hook(api, "none", secret=None, name="plain").accepted(is_signed=False)["job_ids"] == []
    assert api.get("/v1/ava/events").get_json()["data"][0]["type"] == "hook.plain"


@pytest.mark.parametrize("provider", ["github", "stripe", "slack"])
def test_a_request_that_is_replayed_with_a_new_id_makes_no_second_job(api: Api, provider: str) -> None:
    hook = Hook(api, provider, worker_id="wkr_open")
    body = {"type": "x", "id": "evt_1", "event_id": "Ev1"}
    first, again = hook.send(body), hook.send(body, {"x-github-delivery": "d2"})
    assert (first.status_code, again.status_code) == (hook.row.answer_status,) * 2
    assert count_jobs(api) == 1
    duplicate, accepted = hook.deliveries()
    assert (duplicate["status"], duplicate["duplicate_of"]) == ("duplicate", accepted["id"])
    if provider != "slack":
        assert again.get_json()["data"] == {**first.get_json()["data"], "duplicate": True}
    else:
        assert (first.data, first.mimetype) == (b"", "text/plain")
    third = hook.send({"type": "x", "id": "evt_1", "event_id": "Ev1", "more": 1}, {"x-github-delivery": "d2"})
    assert third.status_code == hook.row.answer_status
    assert count_jobs(api) == 1, "the id is known"


def test_an_honest_repeat_to_a_custom_hook_without_a_signed_time_makes_a_second_job(api: Api) -> None:
    row = {"scheme": "hmac", "header": "x-signature"}
    hook = Hook(api, "custom", verifier=row, worker_id="wkr_open")
    assert hook.record["dedupe"] == "none"
    assert hook.accepted({})["job_ids"] != hook.accepted({})["job_ids"]
    assert count_jobs(api) == 2


def test_what_is_not_genuine_is_401_and_leaves_a_trace(api: Api, hook: Hook) -> None:
    error_of(hook.send(is_signed=False), 401, "unauthorized")
    error_of(hook.send(secret="another-secret"), 401, "unauthorized")
    error_of(hook.send(changed=b"{}"), 401, "unauthorized")
    assert count_jobs(api) == 0
    refused = hook.deliveries("?filter[status]=refused")
    assert [each["response_status"] for each in refused] == [401] * 3
    assert "header x-hub-signature-256 is missing" in refused[-1]["reason"]
    assert hook.deliveries("?filter[status]=accepted") == []
    slack = Hook(api, "slack")
    response = error_of(slack.send(now=time.time() - 3600), 401, "unauthorized")
    assert "in the past" in response["message"]
    error_of(slack.send(now=time.time() + 3600), 401, "unauthorized")


def test_an_unknown_token_is_404_and_leaves_none(api: Api, hook: Hook) -> None:
    known = hook.path.rpartition("/")[2]
    other = known[:-1] + ("B" if known.endswith("A") else "A")
    for token in ("x", other, "avahook_00." + "a" * 59, "ava_00." + "a" * 59):
        error_of(api.post(f"/v1/hooks/{token}", data=b"{}", headers=NO_HEADERS), 404, "resource_not_found")
    assert hook.deliveries() == []
    stored = api.execute("SELECT lookup, hash, secrets::text FROM hooks")[0]
    assert known.partition(".")[2][16:] not in str(stored)
    assert SECRET not in str(stored)


def test_an_unknown_token_is_404_whatever_size_it_sends_and_its_body_is_not_read(shared_api: Api) -> None:
    for size in (0, 2**20 + 1, 2**27):
        body = io.BytesIO(b"{}" * 1000)
        environ = {"wsgi.input": body, "CONTENT_LENGTH": str(size)}
        response = shared_api.app.test_client().post("/v1/hooks/avahook_00." + "a" * 59, environ_overrides=environ)
        error_of(response, 404, "resource_not_found")
        assert body.tell() == 0, size


def test_a_signature_that_is_sent_twice_is_not_genuine(api: Api, hook: Hook) -> None:
    body = json.dumps(PULL).encode()
    request = Received(headers={}, body=body)
    good = sign(hook.row, SECRET, request, now=time.time())["x-hub-signature-256"]
    for values in ([good, "sha256=" + "0" * 64], ["sha256=" + "0" * 64, good], [good, good]):
        headers = [*GITHUB.items(), *(("x-hub-signature-256", value) for value in values)]
        error_of(api.app.test_client().post(hook.path, data=body, headers=headers), 401, "unauthorized")
    # Another header is stored with both of its values.
    twice = [*GITHUB.items(), ("x-hub-signature-256", good), ("x-note", "one"), ("x-note", "two")]
    assert api.app.test_client().post(hook.path, data=body, headers=twice).status_code == 202
    assert hook.deliveries()[0]["headers"]["x-note"].replace(" ", "") == "one,two"
    assert count_jobs(api) == 1


def test_a_signature_of_8_kib_is_401_and_its_trace_is_small(api: Api, hook: Hook) -> None:
    for signature in ("sha256=" + "0" * 8192, "0" * 8192, "sha256=" + "," * 8192):
        response = hook.send(headers={"x-hub-signature-256": signature}, is_signed=False)
        error_of(response, 401, "unauthorized")
    assert max(len(json.dumps(each["headers"])) for each in hook.deliveries()) < 16_384
    assert count_jobs(api) == 0


def test_a_token_is_rotated_and_a_hook_deleted(api: Api, hook: Hook) -> None:
    rotated = api.post(f"{HOOKS}/{hook.id}/rotate", json={"keep_seconds": 3600}).get_json()["data"]
    assert hook.accepted()["job_ids"]
    old, hook.path = hook.path, rotated["url"].partition("localhost")[2]
    assert old != hook.path
    assert hook.accepted({}, {"x-github-delivery": "d2"})["job_ids"]
    assert rotated["previous_token_until"] is not None
    api.post(f"{HOOKS}/{hook.id}/rotate")
    error_of(hook.send(), 404, "resource_not_found")
    hook = Hook(api)
    assert hook.accepted()
    assert api.request("DELETE", f"{HOOKS}/{hook.id}").get_json()["data"] == {"id": hook.id, "deleted": True}
    error_of(hook.send(), 404, "resource_not_found")
    error_of(api.get(f"{HOOKS}/{hook.id}"), 404, "resource_not_found")


def test_a_rotation_that_is_repeated_with_its_key_keeps_both_addresses(api: Api, hook: Hook) -> None:
    path, key = f"{HOOKS}/{hook.id}/rotate", {"Idempotency-Key": "lost-answer"}
    first = api.post(path, json={"keep_seconds": 3600}, headers=key)
    again = api.post(path, json={"keep_seconds": 3600}, headers=key)
    assert again.headers.get("Idempotent-Replayed") == "true"
    assert again.get_json()["data"] == {**first.get_json()["data"], "url": None}
    assert hook.accepted()["job_ids"]
    hook.path = first.get_json()["data"]["url"].partition("localhost")[2]
    assert hook.accepted({}, {"x-github-delivery": "d2"})["job_ids"]
    error_of(api.post(path, json={"keep_seconds": 0}, headers=key), 422, "idempotency_key_reused")
    error_of(api.post(f"{HOOKS}/hk_x/rotate", headers={"Idempotency-Key": "unknown"}), 404, "resource_not_found")


def test_several_secrets_are_valid_at_once_and_then_the_new_one(api: Api, hook: Hook) -> None:
    api.request("PATCH", f"{HOOKS}/{hook.id}", json={"secret": "the-new-secret"})
    assert api.get(f"{HOOKS}/{hook.id}").get_json()["data"]["secrets"] == 2
    assert hook.accepted({"a": 1}, {"x-github-delivery": "1"}, secret=SECRET)
    assert hook.accepted({"a": 2}, {"x-github-delivery": "2"}, secret="the-new-secret")
    api.request("PATCH", f"{HOOKS}/{hook.id}", json={"secret": "the-last-secret", "keep_secret_seconds": 0})
    assert api.get(f"{HOOKS}/{hook.id}").get_json()["data"]["secrets"] == 1
    error_of(hook.send(), 401, "unauthorized")
    assert hook.accepted(secret="the-last-secret")


def test_a_secret_is_made_up_and_shown_once_unless_the_provider_makes_it_up(api: Api) -> None:
    github = Hook(api, secret=None)
    assert github.accepted(secret=github.record["secret"])
    assert api.get(f"{HOOKS}/{github.id}").get_json()["data"]["secret"] is None
    stripe = Hook(api, "stripe", secret=None)
    assert stripe.record["secret"] is None
    assert "no secret yet" in error_of(stripe.send({"id": "1"}), 401, "unauthorized")["message"]
    api.request("PATCH", f"{HOOKS}/{stripe.id}", json={"secret": SECRET})
    assert stripe.accepted({"id": "1"})


def test_handshakes_are_answered_and_start_nothing(api: Api, hook: Hook) -> None:
    ping = hook.send({"zen": "x"}, {"x-github-event": "ping"})
    assert (ping.status_code, ping.data) == (200, b"")
    slack = Hook(api, "slack", worker_id="wkr_open")
    response = slack.send({"type": "url_verification", "challenge": "3eZbrw1a"})
    assert (response.status_code, response.data, response.mimetype) == (200, b"3eZbrw1a", "text/plain")
    error_of(slack.send({"type": "url_verification", "challenge": "x"}, is_signed=False), 401, "unauthorized")
    row = {"scheme": "hmac", "header": "x-s", "challenge": "hub.challenge"}
    custom = Hook(api, "custom", verifier=row)
    response = api.get(f"{custom.path}?hub.challenge=1158201444&hub.mode=subscribe", headers=NO_HEADERS)
    assert (response.status_code, response.data, response.mimetype) == (200, b"1158201444", "text/plain")
    error_of(api.get(hook.path, headers=NO_HEADERS), 404, "resource_not_found")
    origin = {**NO_HEADERS, "WebHook-Request-Origin": "eventemitter.example.com"}
    response = api.request("OPTIONS", hook.path, headers=origin)
    assert (response.status_code, response.headers["WebHook-Allowed-Origin"]) == (204, "eventemitter.example.com")
    assert count_jobs(api) == 0
    assert hook.deliveries() == []


_BODIES: list[tuple[bytes, dict[str, str], Any]] = [
    (b"token=x&command=%2Fdeploy", {"content-type": "application/x-www-form-urlencoded"}, None),
    (b"", {}, {"body": ""}),
    (b"not json", {}, {"body": "not json"}),
    (b"[1, 2]", {}, [1, 2]),
    (gzip.compress(b'{"a": 1}', mtime=0), {"content-encoding": "gzip"}, {"a": 1}),
    (b"\xff", {}, {"base64": "/w=="}),
    (b'"\\u0000"', {}, "\0"),
    (b"x" * 2**20, {}, {"body": "x" * 2**20}),
    (b'{"action": "\\u0000\\ud800"}', {"x-github-delivery": "\xff\x80"}, {"action": "\0\ud800"}),
]


def test_any_body_is_received(hook: Hook) -> None:
    for number, (body, headers, data) in enumerate(_BODIES):
        received = hook.accepted(body, {"x-github-delivery": f"body {number}", **headers})
        event = hook.job(received["job_ids"][0])["input"]["event"]
        assert event["data"] == ({"body": body.decode()} if data is None else data), body[:100]


def test_a_body_that_is_too_large_also_once_it_is_unpacked_is_413(api: Api, hook: Hook) -> None:
    error_of(hook.send(b"x" * (2**20 + 1)), 413, "payload_too_large")
    bomb = gzip.compress(b"x" * (2**20 + 1))
    error_of(hook.send(bomb, {"content-encoding": "gzip"}), 413, "payload_too_large")
    packed, large = hook.deliveries()
    assert (packed["body_bytes"], large["body_bytes"]) == (len(bomb), 2**20 + 1)
    assert hook.delivery(large["id"])["body"] is None
    error_of(api.post(f"{HOOKS}/{hook.id}/deliveries/{large['id']}/replay"), 409, "resource_conflict")


def test_a_worker_that_is_paused_takes_jobs_and_one_that_is_gone_refuses_the_delivery(api: Api) -> None:
    paused = Hook(api, worker_id="wkr_paused")
    assert paused.job(paused.accepted()["job_ids"][0])["status"] == "queued"
    api.announce("wkr_gone")
    hook = Hook(api, worker_id="wkr_gone")
    api.execute("DELETE FROM workers WHERE id = 'wkr_gone'")
    assert hook.accepted()["job_ids"] == []
    (refused,) = hook.deliveries()
    assert (refused["status"], refused["response_status"]) == ("refused", 202)
    assert "No such worker" in refused["reason"]
    # Once the worker is back, the sender's retry and a replay of all that was refused make the job.
    api.announce("wkr_gone")
    assert hook.replay_many(status="refused") == 1
    newest = hook.deliveries()[0]
    assert (newest["replay_of"], newest["status"], len(newest["job_ids"])) == (refused["id"], "accepted", 1)


def test_a_hook_whose_pattern_does_not_match_accepts_and_starts_nothing(api: Api) -> None:
    hook = Hook(api, worker_id="wkr_open", match={"data": {"action": ["closed"]}}, input={"n": {"$get": "data.number"}})
    assert hook.accepted()["job_ids"] == []
    received = hook.accepted({"action": "closed", "number": 3}, {"x-github-delivery": "d2"})
    assert hook.job(received["job_ids"][0])["input"] == {"n": 3}


# Making hooks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"provider": "custom"}, "verifier"),
        ({"provider": "custom", "verifier": {"scheme": "hmac"}}, "verifier.header"),
        ({"provider": "none", "secret": SECRET}, "secret"),
        ({"provider": "standard", "secret": "whsec_?!?!?!?!"}, "secret"),
        ({"worker_id": "wkr_open", "event_type": "a"}, "event_type"),
        ({"event_type": "ava.x"}, "event_type"),
        ({"input": {}}, "input"),
        ({"match": {"a": 1}}, "match.a"),
        ({"provider": "none", "dedupe": "id"}, "dedupe"),
    ],
)
def test_a_wrong_hook_is_refused_and_its_field_named(shared_api: Api, fields: dict[str, Any], field: str) -> None:
    response = shared_api.post(HOOKS, json={"name": "mine", "provider": "github", **fields})
    assert field in wrong_fields(response)
    if isinstance(fields.get("secret"), str):
        assert fields["secret"] not in response.text


def test_a_change_of_a_hook_is_checked_as_a_whole_and_audited_without_its_secret(api: Api, hook: Hook) -> None:
    path = f"{HOOKS}/{hook.id}"
    error_of(api.request("PATCH", path, json={"event_type": "a"}), 422, "validation_error")
    error_of(api.request("PATCH", path, json={"verifier": {"scheme": "none"}}), 422, "validation_error")
    error_of(api.request("PATCH", path, json={"keep_secret_seconds": 1}), 422, "validation_error")
    error_of(api.request("PATCH", path, json={"worker_id": "wkr_none"}), 404, "resource_not_found")
    changed = api.request("PATCH", path, json={"worker_id": None, "event_type": "a", "secret": "the-new-secret"})
    assert (changed.get_json()["data"]["event_type"], changed.get_json()["data"]["worker_id"]) == ("a", None)
    audit = api.get("/v1/ava/audit?filter[target]=" + hook.id).text
    assert "the-new-secret" not in audit
    assert "••••••" in audit or "\\u2022" in audit


def test_no_log_line_has_the_secret_of_a_token(
    api: Api, hook: Hook, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tokens.make(TokenKind.RUN, "00")
    caplog.set_level(logging.INFO)
    hook.accepted()
    api.post(f"/v1/ava/runs/{run.encoded}/lines", json={"lines": []}, headers=NO_HEADERS)
    # The cut after 200 characters must not hide a token from the function that looks for it.
    api.post(f"/{'x' * 150}/{run.encoded}", headers=NO_HEADERS)

    def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(api.app.extensions["ava"].hooks, "find", fail)
    assert hook.send().status_code == 500
    secret = hook.path[-43:]
    assert secret[:8] not in caplog.text
    assert run.secret[:8] not in caplog.text
    lines = [record.getMessage() for record in caplog.records]
    assert sum(f"{hook.path[:-43]}... " in f"{line} " for line in lines) == 3
    assert sum(f"{run.encoded[:-43]}.../lines" in line for line in lines) == 1
