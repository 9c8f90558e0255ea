"""`/v1/ava/queues`: what a tenant and an operator see of the queues and their pauses."""

from __future__ import annotations

from typing import Any

import pytest

from ava.domain import ids
from ava.store.reports import queue_counts
from harness.api import Api, error_of

QUEUES = "/v1/ava/queues"
OPERATOR = {"x-platform-role": "platform-admin"}
_WAIT = (
    "UPDATE jobs SET waits_for = 'children', created_at = now() - interval '1 hour', run_no = 1, published_at = NULL"
)


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


def test_a_queue_has_the_tenants_own_jobs_and_the_age_of_its_oldest_startable_one(api: Api) -> None:
    api.execute("UPDATE workers SET queue = 'mail' WHERE id = 'wkr_paused'")
    jobs = [api.trigger()["id"] for _ in range(4)]
    api.trigger(worker_id="wkr_open", headers={"x-tenant-id": "ten_other"})
    api.execute("UPDATE jobs SET created_at = now() - interval '1 hour' WHERE tenant_id = 'ten_other'")
    api.execute(
        _WAIT + " WHERE id = %s::uuid",
        _uuid(jobs[0]),
    )
    api.execute("UPDATE jobs SET created_at = now() - interval '90 seconds' WHERE id = %s::uuid", _uuid(jobs[1]))
    # The oldest may be published or not.
    for published in ("NULL", "now()"):
        api.execute(f"UPDATE jobs SET published_at = {published} WHERE status = 'queued' AND waits_for IS NULL")
        found = api.get(QUEUES).get_json()["data"]
        default, mail = found["queues"]
        assert list(default) == ["queue", "queued", "running", "waiting", "paused", "oldest_seconds"]
        assert [default[name] for name in ("queue", "queued", "running", "waiting")] == ["default", 3, 0, 1]
        assert 90 <= default["oldest_seconds"] < 900
        assert (mail["queued"], mail["oldest_seconds"]) == (0, None)
        assert (found["total_queued"], found["total_waiting"]) == (3, 1)
    paused = api.post(f"{QUEUES}/default/pause", headers=OPERATOR).get_json()["data"]
    resumed = api.post(f"{QUEUES}/default/resume", headers=OPERATOR).get_json()["data"]
    assert [(each["queued"], each["waiting"]) for each in (paused, resumed)] == [(3, 1), (3, 1)]
    assert (paused["paused"] is None, resumed["paused"]) == (False, None)


@pytest.mark.parametrize(("most", "max_waiting", "queued"), [(10, 10, 2), (3, 10, 2), (1, 10, 1), (3, 3, None)])
def test_queued_jobs_are_counted_beside_many_that_wait(
    api: Api, monkeypatch: pytest.MonkeyPatch, most: int, max_waiting: int, queued: int | None
) -> None:
    """The first `most` jobs may all wait. Without a count of the waiting ones the number is a lower bound."""
    jobs = [api.trigger()["id"] for _ in range(5)]
    for job in jobs[:3]:
        api.execute(f"{_WAIT} WHERE id = %s::uuid", _uuid(job))
    monkeypatch.setattr(queue_counts, "MAX_COUNTED_OF_WORKER", most)
    monkeypatch.setattr(queue_counts, "_MAX_WAITING", max_waiting)
    found = api.get(QUEUES).get_json()["data"]
    assert [count["queued"] for count in found["by_worker"]] == ([] if queued is None else [queued])
    assert found["total_waiting"] == 3


def _uuid(job_id: str) -> str:
    return str(ids.decode("job", job_id))
