"""`/v1/ava/queues`: pause and resume."""

from __future__ import annotations

from harness.api import Api, error_of

QUEUES = "/v1/ava/queues"
OPERATOR = {"x-platform-role": "platform-admin"}


def test_an_operator_pauses_and_resumes_a_queue(api: Api) -> None:
    paused = api.post(f"{QUEUES}/default/pause", headers=OPERATOR).get_json()["data"]
    assert list(paused) == ["queue", "paused_by", "paused_at"]
    assert (paused["queue"], paused["paused_by"]) == ("default", "usr_test")
    again = api.post(f"{QUEUES}/default/pause", headers=OPERATOR | {"x-user-id": "usr_other"}).get_json()["data"]
    assert again == paused
    assert api.get(QUEUES).get_json()["data"]["paused_queues"] == [paused]
    resumed = api.post(f"{QUEUES}/default/resume", headers=OPERATOR, json={}).get_json()["data"]
    assert resumed == {"queue": "default", "was_paused": True}
    assert not api.post(f"{QUEUES}/default/resume", headers=OPERATOR).get_json()["data"]["was_paused"]
    assert api.get(QUEUES).get_json()["data"]["paused_queues"] == []


def test_a_pause_is_audited(api: Api) -> None:
    api.post(f"{QUEUES}/default/pause", headers=OPERATOR)
    entry = api.get("/v1/ava/audit").get_json()["data"][0]
    assert (entry["action"], entry["target"], entry["status"]) == ("queues.pause", "default", 200)


def test_only_a_known_queue_is_paused_and_only_by_the_platform(api: Api) -> None:
    for call in ("pause", "resume"):
        error_of(api.post(f"{QUEUES}/unknown/{call}", headers=OPERATOR), 404, "resource_not_found")
        error_of(api.post(f"{QUEUES}/default/{call}"), 403, "forbidden")
        error_of(api.post(f"{QUEUES}/a%00b/{call}", headers=OPERATOR), 404, "resource_not_found")
        error_of(api.post(f"{QUEUES}/default/{call}", headers=OPERATOR, json={"a": 1}), 422, "validation_error")
