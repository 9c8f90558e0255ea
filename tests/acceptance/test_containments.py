"""Containments against real processes: no handler of a scope is entered, and each held job runs once afterwards."""

from __future__ import annotations

from typing import Any

from harness.system import System
from harness.timestamps import LATER
from tests.acceptance.conftest import on_redis
from tests.acceptance.witness import Witness

pytestmark = on_redis
PATH = "/v1/ava/containments"


def contain(system: System, scope: dict[str, Any], **more: Any) -> dict[str, Any]:
    response = system.post(PATH, json={"scope": scope, "reason": "it misbehaves", **more})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()["data"]
    return found


def complete(system: System, containment_id: str) -> dict[str, Any]:
    response = system.get(f"{PATH}/{containment_id}", params={"wait": 30}, timeout=60)
    found: dict[str, Any] = response.json()["data"]
    assert found["complete_at"] is not None, found
    return found


def lift(system: System, containment_id: str, held: str = "release") -> dict[str, Any]:
    response = system.post(f"{PATH}/{containment_id}/lift", json={"held": held})
    assert response.status_code == 202, response.text
    started = response.json()["data"]
    path = f"/v1/ava/operations/{started['id']}"
    found: dict[str, Any] = system.get(path, params={"wait": 30}, timeout=60).json()["data"]
    assert (found["kind"], found["state"]) == ("lift", "done"), found
    return found


def test_a_tag_is_contained_and_lifted(fleet: System, witness: Witness) -> None:
    bad, good = {"agent": "bad"}, {"agent": "good"}
    running = fleet.trigger("wkr_t_work", input={**witness.input, "seconds": 60}, tags=bad)
    other = fleet.trigger("wkr_t_work", input={"seconds": 4}, tags=good)
    fleet.wait_for(running["id"], "running")
    fleet.wait_for(other["id"], "running")
    jobs = [{"worker_id": "wkr_t_work", "input": {"seconds": 1}, "tags": tags} for tags in [bad, good] * 10]
    waiting = fleet.post("/v1/ava/jobs/bulk", json={"jobs": jobs}).json()["data"]
    body = {"scope": {"tag": {"key": "agent", "value": "bad"}}, "reason": "a rehearsal", "dry_run": True}
    rehearsed = fleet.post(PATH, json=body)
    assert rehearsed.status_code == 200
    assert rehearsed.json()["data"]["running_count"] >= 1

    made = contain(fleet, {"tag": {"key": "agent", "value": "bad"}})
    assert (made["state"], made["effective_at"], made["complete_at"]) == ("active", None, None)
    refused = fleet.post("/v1/ava/jobs", json={"worker_id": "wkr_t_echo", "tags": bad})
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "contained"
    assert refused.json()["error"]["containment_id"] == made["id"]
    assert fleet.post("/v1/ava/jobs", json={"worker_id": "wkr_t_echo", "tags": good}).status_code == 201
    found = complete(fleet, made["id"])
    assert found["effective_at"] <= found["complete_at"]
    assert found["running_count"] == 0
    assert fleet.show(running["id"])["status"] == "cancelled"
    held = [job for job in waiting if job["tags"] == bad and fleet.show(job["id"])["status"] == "queued"]
    assert held
    assert {fleet.show(job["id"])["waits_for"] for job in held} == {"contained"}
    why = fleet.get(f"/v1/ava/jobs/{held[0]['id']}/why").json()["data"]
    assert made["id"] in str(why)
    for job in waiting:
        if job["tags"] == good:
            assert fleet.wait_for(job["id"])["status"] == "completed"
    listed = fleet.get(f"{PATH}/{made['id']}/jobs", params={"per_page": 100}).json()["data"]
    assert {job["id"] for job in held} | {running["id"]} <= {job["id"] for job in listed}

    lifted = lift(fleet, made["id"])
    assert lifted["done"] == len(held)
    for job in held:
        assert fleet.wait_for(job["id"])["status"] == "completed"
    assert fleet.get(f"{PATH}/{made['id']}").json()["data"]["state"] == "lifted"
    assert fleet.post(f"{PATH}/{made['id']}/lift", json={}).status_code == 409


def test_a_contained_key_may_only_cancel_and_its_jobs_are_held(fleet: System) -> None:
    body = {"name": "agent", "role": "tenant-system-admin"}
    key = fleet.post("/v1/ava/keys", json=body).json()["data"]
    headers = {"Authorization": f"Bearer {key['token']}"}
    only = dict.fromkeys(fleet.session.headers, None) | headers
    below = fleet.post("/v1/ava/keys", json=body, headers=only).json()["data"]
    of_below = only | {"Authorization": f"Bearer {below['token']}"}
    later = {"worker_id": "wkr_t_echo", "scheduled_at": LATER}
    waiting = fleet.post("/v1/ava/jobs", json=later, headers=of_below).json()["data"]
    assert waiting["origin"]["id"] == below["id"]

    made = contain(fleet, {"key_id": key["id"]}, triggers="hold")
    for sent in (only, of_below):
        for path, refused in (
            ("/v1/ava/jobs", {"worker_id": "wkr_t_echo"}),
            ("/v1/ava/keys", body),
            (f"{PATH}/{made['id']}/lift", {}),
        ):
            response = fleet.post(path, json=refused, headers=sent)
            assert (response.status_code, response.json()["error"]["code"]) == (409, "contained"), path
    # A label is no identity.
    named = fleet.post("/v1/ava/jobs", json={"worker_id": "wkr_t_echo"}, headers={"x-user-id": "usr_other"})
    assert fleet.wait_for(named.json()["data"]["id"])["status"] == "completed"
    complete(fleet, made["id"])
    # The date of a job of the contained key comes, and it is held.
    assert fleet.request("PATCH", f"/v1/ava/jobs/{waiting['id']}", json={"scheduled_at": None}).status_code == 200
    assert fleet.show(waiting["id"])["waits_for"] == "contained"
    assert fleet.request("PATCH", f"/v1/ava/jobs/{waiting['id']}", json={"tags": {"a": "b"}}).status_code == 409
    other = fleet.post("/v1/ava/jobs", json=later).json()["data"]
    assert fleet.post(f"/v1/ava/jobs/{other['id']}/cancel", headers=only).status_code == 200
    lift(fleet, made["id"])
    assert fleet.wait_for(waiting["id"])["status"] == "completed"
    assert fleet.post("/v1/ava/jobs", json={"worker_id": "wkr_t_echo"}, headers=only).status_code == 201
