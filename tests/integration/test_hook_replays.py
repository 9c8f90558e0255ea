"""Deliveries of hooks are replayed, and hooks are tested."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest

from ava.dispatcher.duties.probed_work import EventFanOut
from ava.services.creation.job_creator import JobCreator
from ava.services.events.event_jobs import EventJobs
from harness.api import Api, error_of, wrong_fields
from tests.integration.hook_fuzz import fuzz
from tests.integration.hook_sender import HOOKS, Hook, count_jobs


@pytest.fixture
def hook(api: Api) -> Hook:
    """A hook of GitHub whose deliveries make jobs."""
    return Hook(api, worker_id="wkr_open")


def test_a_delivery_is_replayed_through_what_is_subscribed_now(api: Api) -> None:
    hook = Hook(api)
    first = hook.accepted()
    api.post("/v1/ava/subscriptions", json={"event_type": "github.*", "worker_id": "wkr_open"})
    hook.send()
    duplicate = hook.deliveries()[0]
    for delivery_id in (first["delivery_id"], duplicate["id"]):
        path = f"{HOOKS}/{hook.id}/deliveries/{delivery_id}/replay"
        response = api.post(path, headers={"Idempotency-Key": delivery_id})
        assert response.status_code == 202, response.text
        made = response.get_json()["data"]
        assert (made["replay_of"], made["status"], len(made["job_ids"])) == (delivery_id, "accepted", 1)
        assert made | {"body": hook.delivery(made["id"])["body"]} == hook.delivery(made["id"])
        again = api.post(path, headers={"Idempotency-Key": delivery_id})
        assert (again.get_json(), again.headers["Idempotent-Replayed"]) == (response.get_json(), "true")
    assert count_jobs(api) == 2
    # Of a range neither repetitions nor replays.
    assert hook.replay_many() == 1


def test_a_replay_of_many_deliveries_creates_a_hundred_jobs_of_events_in_its_transaction(api: Api) -> None:
    hook = Hook(api)
    for number in range(3):
        hook.accepted({"number": number}, {"X-GitHub-Delivery": f"00000000-0000-0000-0000-00000000000{number}"})
    for _ in range(40):
        api.post("/v1/ava/subscriptions", json={"event_type": "github.*", "worker_id": "wkr_open"})
    assert hook.replay_many() == 3
    assert count_jobs(api) == 100
    duty = EventFanOut(api.database, EventJobs(JobCreator()))
    while duty.run_once(0):
        pass
    assert count_jobs(api) == 3 * 40


@pytest.mark.parametrize("until", ["2019-12-31", "2020-01-01"])
def test_a_range_that_ends_before_it_begins_is_refused(hook: Hook, until: str) -> None:
    response = hook.api.post(f"{HOOKS}/{hook.id}/deliveries/replay", json={"since": "2020-01-01", "until": until})
    assert wrong_fields(response) == {"until": ["It must be later than `since`."]}


def test_a_delivery_with_a_wrong_signature_is_replayed_once_the_secret_is_right(api: Api, hook: Hook) -> None:
    hook.send(secret="the-right-secret")
    (refused,) = hook.deliveries()
    path = f"{HOOKS}/{hook.id}/deliveries/{refused['id']}/replay"
    assert "not genuine" in error_of(api.post(path), 409, "resource_conflict")["message"]
    assert count_jobs(api) == 0
    api.request("PATCH", f"{HOOKS}/{hook.id}", json={"secret": "the-right-secret"})
    assert len(api.post(path).get_json()["data"]["job_ids"]) == 1
    error_of(api.post(f"{HOOKS}/{hook.id}/deliveries/del_x/replay"), 404, "resource_not_found")


def test_secrets_in_headers_are_masked_and_what_they_proved_holds_for_a_replay(api: Api) -> None:
    row = {"scheme": "shared_secret", "header": "X-Own"}
    hook = Hook(api, "custom", verifier=row, worker_id="wkr_open", secret="a-shared-secret")
    headers = {"authorization": "Bearer other", "x-own": "a-shared-secret"}
    received = hook.accepted({}, headers, secret="a-shared-secret")
    (delivery,) = hook.deliveries()
    assert (delivery["headers"]["x-own"], delivery["headers"]["authorization"]) == ("••••••", "••••••")
    assert "a-shared-secret" not in str(api.execute("SELECT headers::text FROM hook_deliveries"))
    assert "a-shared-secret" not in str(hook.job(received["job_ids"][0]))
    replay = api.post(f"{HOOKS}/{hook.id}/deliveries/{delivery['id']}/replay")
    assert len(replay.get_json()["data"]["job_ids"]) == 1
    error_of(hook.send({}, {"x-own": "wrong-secret"}, is_signed=False), 401, "unauthorized")
    path = f"{HOOKS}/{hook.id}/deliveries/{hook.deliveries()[0]['id']}/replay"
    error_of(api.post(path), 409, "resource_conflict")


@pytest.mark.parametrize("write", [str, lambda path: quote(path, safe=""), lambda path: path.replace("_", "%5f")])
def test_the_address_of_the_hook_in_the_headers_of_its_sender_is_stored_without_its_secret(
    api: Api, write: Callable[[str], str]
) -> None:
    hook = Hook(api)
    address = write(f"https://api.example.com{hook.path}?x=1")
    received = hook.accepted(headers={"referer": address, "x-original-uri": address, "x-own": f"<{address}>"})
    secret = write(hook.path[-43:])
    for table in ("hook_deliveries", "events"):
        ((headers,),) = api.execute(f"SELECT headers::text FROM {table}")
        assert secret not in headers
        # It ends after the part that finds the hook.
        assert headers.count(write(hook.path[-59:-43]) + "...") == 3
    assert secret not in str(hook.deliveries())
    error_of(hook.send(headers={"referer": address}, secret="wrong-secret"), 401, "unauthorized")
    assert secret not in str(api.execute("SELECT headers::text FROM hook_deliveries"))
    assert received["job_ids"] == []


def test_a_test_is_signed_tampered_or_unsigned(api: Api, hook: Hook) -> None:
    path = f"{HOOKS}/{hook.id}/test"
    headers = {"x-github-event": "push"}
    signed = api.post(path, json={"body": "{}", "headers": headers}).get_json()["data"]
    assert (signed["status"], len(signed["job_ids"])) == (202, 1)
    for mode in ("tampered", "unsigned"):
        tried = api.post(path, json={"mode": mode, "headers": headers}).get_json()["data"]
        assert (tried["status"], tried["job_ids"]) == (401, []), mode
    assert count_jobs(api) == 1
    assert len(hook.deliveries()) == 3


def test_no_wrong_request_is_a_5xx_and_none_makes_a_job_without_a_valid_signature(api: Api) -> None:
    found = fuzz(api, 250)
    assert {202, 401, 404} <= found.keys()
