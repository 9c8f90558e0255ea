"""`/v1/ava/queues`: pause and resume."""

from __future__ import annotations

from typing import Any

from harness.api import Api, error_of

QUEUES = "/v1/ava/queues"
OPERATOR = {"x-platform-role": "platform-admin"}


def _paused(api: Api, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Returns the paused queues as a caller sees them."""
    found: list[dict[str, Any]] = api.get(QUEUES, headers=headers).get_json()["data"]["paused_queues"]
    return found


def test_an_operator_pauses_and_resumes_a_queue(api: Api) -> None:
    paused = api.post(f"{QUEUES}/default/pause", headers=OPERATOR).get_json()["data"]
    assert list(paused) == ["queue", "paused_by", "paused_at"]
    assert (paused["queue"], paused["paused_by"]) == ("default", "usr_test")
    again = api.post(f"{QUEUES}/default/pause", headers=OPERATOR | {"x-user-id": "usr_other"}).get_json()["data"]
    assert again == paused
    assert _paused(api, OPERATOR) == [paused]
    resumed = api.post(f"{QUEUES}/default/resume", headers=OPERATOR, json={}).get_json()["data"]
    assert resumed == {"queue": "default", "was_paused": True}
    assert not api.post(f"{QUEUES}/default/resume", headers=OPERATOR).get_json()["data"]["was_paused"]
    assert _paused(api, OPERATOR) == []


def test_a_tenant_sees_the_paused_queues_of_its_own_workers_and_not_who_paused_them(api: Api) -> None:
    api.execute("UPDATE workers SET queue = 'private' WHERE id = 'wkr_theirs'")
    for queue in ("default", "private"):
        api.post(f"{QUEUES}/{queue}/pause", headers=OPERATOR | {"x-user-id": "usr_operator"})
    for role in ("tenant-user", "tenant-system-admin"):
        (paused,) = _paused(api, {"x-platform-role": role})
        assert (paused["queue"], paused["paused_by"]) == ("default", None)
    theirs = _paused(api, {"x-tenant-id": "ten_other"})
    assert [each["queue"] for each in theirs] == ["default", "private"]
    assert [(each["queue"], each["paused_by"]) for each in _paused(api, OPERATOR)] == [
        ("default", "usr_operator"),
        ("private", "usr_operator"),
    ]
    why = f"/v1/ava/jobs/{api.trigger()['id']}/why"
    assert "paused by the platform since 2" in api.get(why).get_json()["data"]["sentence"]
    assert "paused by usr_operator since 2" in api.get(why, headers=OPERATOR).get_json()["data"]["sentence"]


def test_only_a_known_queue_is_paused_and_only_by_the_platform(api: Api) -> None:
    for call in ("pause", "resume"):
        error_of(api.post(f"{QUEUES}/unknown/{call}", headers=OPERATOR), 404, "resource_not_found")
        error_of(api.post(f"{QUEUES}/default/{call}"), 403, "forbidden")
        error_of(api.post(f"{QUEUES}/a%00b/{call}", headers=OPERATOR), 404, "resource_not_found")
        error_of(api.post(f"{QUEUES}/default/{call}", headers=OPERATOR, json={"a": 1}), 422, "validation_error")
