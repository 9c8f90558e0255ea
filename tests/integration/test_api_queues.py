"""`/v1/ava/queues`: what a tenant and an operator see of the queues and their pauses."""

from __future__ import annotations

from typing import Any

from harness.api import Api, error_of

QUEUES = "/v1/ava/queues"
OPERATOR = {"x-platform-role": "platform-admin"}


def _queues(api: Api, headers: dict[str, str], **query: str) -> dict[str, Any]:
    """Returns the pauses of the queues as a caller sees them."""
    found = api.get(QUEUES, headers=headers, query_string=query).get_json()["data"]["queues"]
    return {each["queue"]: each["paused"] for each in found}


def test_a_key_that_pauses_is_the_actor_and_its_user_a_label(api: Api) -> None:
    made = api.post("/v1/ava/keys", json={"name": "ops", "role": "platform-admin"}, headers=OPERATOR)
    key = made.get_json()["data"]
    bearer = dict.fromkeys(["x-internal-secret", "x-tenant-id", "x-platform-role"])
    bearer |= {"authorization": f"Bearer {key['token']}", "x-user-id": "usr_ann"}
    paused = api.post(f"{QUEUES}/default/pause", headers=bearer).get_json()["data"]["paused"]
    assert paused["by"] == {"id": key["id"], "kind": "key", "via": "key", "label": "usr_ann"}


def test_a_tenant_sees_the_queues_of_its_own_workers_and_not_who_paused_them(api: Api) -> None:
    api.execute("UPDATE workers SET queue = 'private' WHERE id = 'wkr_theirs'")
    for queue in ("default", "private"):
        body = {"reason": f"move {queue}"}
        api.post(f"{QUEUES}/{queue}/pause", headers=OPERATOR | {"x-user-id": "usr_operator"}, json=body)
    for role in ("tenant-user", "tenant-system-admin"):
        found = _queues(api, {"x-platform-role": role})
        assert list(found) == ["default"]
        assert (found["default"]["by"], found["default"]["reason"]) == (None, "move default")
    assert list(_queues(api, {"x-tenant-id": "ten_other"})) == ["default", "private"]
    # An operator also sees those that only other tenants' workers use.
    for_operators = _queues(api, OPERATOR)
    assert {queue: pause["by"]["id"] for queue, pause in for_operators.items()} == {
        "default": "usr_operator",
        "private": "usr_operator",
    }
    why = f"/v1/ava/jobs/{api.trigger()['id']}/why"
    tenants, operators = (api.get(why, headers=each).get_json()["data"]["sentence"] for each in ({}, OPERATOR))
    assert "paused by the platform since 2" in tenants
    assert tenants.endswith(": move default")
    assert "paused by usr_operator since 2" in operators


def test_only_a_known_queue_is_paused_and_only_by_the_platform(api: Api) -> None:
    for call in ("pause", "resume"):
        error_of(api.post(f"{QUEUES}/unknown/{call}", headers=OPERATOR), 404, "resource_not_found")
        error_of(api.post(f"{QUEUES}/default/{call}"), 403, "forbidden")
        error_of(api.post(f"{QUEUES}/a%00b/{call}", headers=OPERATOR), 404, "resource_not_found")
        error_of(api.post(f"{QUEUES}/default/{call}", headers=OPERATOR, json={"a": 1}), 422, "validation_error")
