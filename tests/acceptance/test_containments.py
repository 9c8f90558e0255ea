"""Containments against real processes: no handler of a scope is entered, and each held job runs once afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.polling import wait_until
from harness.system import System
from harness.timestamps import LATER
from tests.acceptance.conftest import HANDLERS, on_redis, running_system
from tests.acceptance.witness import Witness

pytestmark = on_redis
PATH = "/v1/ava/containments"
FIELDS = (
    *("id", "scope", "reason", "state", "effective_at", "complete_at", "by", "held_count", "stopped_count"),
    *("running", "running_count", "lifted_at", "lifted_by"),
)
OPERATOR = {"x-platform-role": "platform-admin"}
OTHER_TENANT = {"x-tenant-id": "ten_other"}


@pytest.fixture(scope="module")
def fleet(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node of four processes and ten slots, with the handlers of these tests too."""
    handlers = f"{HANDLERS},tests.acceptance.contained_handlers,tests.acceptance.slot_handlers"
    start: dict[str, Any] = {"workers": 0, "environ": {"AVA_HANDLERS": handlers}}
    folder = tmp_path_factory.mktemp("fleet")
    with running_system(folder, module_database_url, module_broker_url, **start) as system:
        system.start_worker("--slots", "10", concurrency=4)
        yield system


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
    other = fleet.trigger("wkr_t_work", input={"seconds": 2}, tags=good)
    fleet.wait_for(running["id"], "running")
    fleet.wait_for(other["id"], "running")
    jobs = [{"worker_id": "wkr_t_work", "input": {"seconds": 0.3}, "tags": tags} for tags in [bad, good] * 10]
    waiting = fleet.post("/v1/ava/jobs/bulk", json={"jobs": jobs}).json()["data"]
    fleet.trigger("wkr_t_echo", tags=bad, debounce={"key": "later", "seconds": 60})
    fleet.trigger("wkr_t_echo", tags=bad, scheduled_at=LATER, dedupe={"key": "same"})
    body = {"scope": {"tag": {"key": "agent", "value": "bad"}}, "reason": "a rehearsal", "dry_run": True}
    rehearsed = fleet.post(PATH, json=body)
    assert rehearsed.status_code == 200
    assert rehearsed.json()["data"]["running_count"] >= 1

    made = contain(fleet, {"tag": {"key": "agent", "value": "bad"}})
    assert tuple(made) == FIELDS
    assert (made["state"], made["effective_at"], made["complete_at"]) == ("active", None, None)
    for keyed in ({"debounce": {"key": "later", "seconds": 60}}, {"dedupe": {"key": "same", "mode": "return"}}):
        again = fleet.post("/v1/ava/jobs", json={"worker_id": "wkr_t_echo", "tags": bad, **keyed})
        assert (again.status_code, again.json()["error"].get("containment_id")) == (409, made["id"]), keyed
    refused = fleet.post("/v1/ava/jobs", json={"worker_id": "wkr_t_echo", "tags": bad})
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "contained"
    assert refused.json()["error"]["containment_id"] == made["id"]
    assert fleet.post("/v1/ava/jobs", json={"worker_id": "wkr_t_echo", "tags": good}).status_code == 201
    found = complete(fleet, made["id"])
    assert datetime.fromisoformat(found["effective_at"]) <= datetime.fromisoformat(found["complete_at"])
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


def data(system: System, method: str, path: str, status: int, **sent: Any) -> Any:
    response = system.request(method, path, **sent)
    assert response.status_code == status, response.text
    return response.json()["data"]


def make_key(system: System, **fields: Any) -> tuple[str, dict[str, Any]]:
    """Create an API key. Returns its id and the headers of its requests."""
    key = data(system, "POST", "/v1/ava/keys", 201, json={"name": "agent", **fields})
    only = dict.fromkeys(system.session.headers, None)
    return key["id"], only | {"Authorization": f"Bearer {key['token']}"}


def is_held(system: System, job_id: str) -> bool:
    return bool(system.show(job_id)["waits_for"] == "contained")


def test_runs_that_are_left_to_end_create_held_children(fleet: System, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    parent = fleet.trigger("wkr_t_parent", input={"until": str(gate)})
    fleet.wait_for(parent["id"], "running")
    made = contain(fleet, {"tree_id": parent["id"]}, running="let_end")
    shown = wait_until(
        lambda: (found := data(fleet, "GET", f"{PATH}/{made['id']}", 200))["effective_at"] and found,
        what="it is effective while the parent runs",
    )
    assert (shown["complete_at"], shown["running_count"], shown["stopped_count"]) == (None, 1, 0)
    (run,) = shown["running"]
    assert run["job_id"] == parent["id"]
    assert run["since"] < run["lease_ends_at"]
    gate.touch()
    child = fleet.wait_for(parent["id"], "completed")["output"]
    assert is_held(fleet, child)
    assert complete(fleet, made["id"])["running"] == []
    assert fleet.wait_for(fleet.trigger("wkr_t_echo")["id"])["status"] == "completed"
    lift(fleet, made["id"])
    assert fleet.wait_for(child)["status"] == "completed"


def test_a_containment_is_effective_only_after_a_claimed_run_was_entered(fleet: System, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job = fleet.trigger("wkr_t_behind_gate", input={"until": str(gate)})
    fleet.wait_for(job["id"], "running")
    made = contain(fleet, {"tree_id": job["id"]}, running="let_end")
    # The containment has settled, apart from this run.
    other = contain(fleet, {"worker_id": "wkr_t_behind_gate", "tree_id": fleet.trigger("wkr_t_echo")["id"]})
    complete(fleet, other["id"])
    assert data(fleet, "GET", f"{PATH}/{made['id']}", 200)["effective_at"] is None
    gate.touch()
    shown = wait_until(
        lambda: (found := data(fleet, "GET", f"{PATH}/{made['id']}", 200))["effective_at"] and found,
        what="the handler was entered",
    )
    assert shown["complete_at"] is None
    Path(f"{gate}.end").touch()
    entered_at = fleet.wait_for(job["id"], "completed")["output"]
    assert entered_at < datetime.fromisoformat(shown["effective_at"]).timestamp()
    complete(fleet, made["id"])
    for each in (made, other):
        lift(fleet, each["id"])


def test_slots_and_pulled_runs_are_contained(fleet: System) -> None:
    tags = {"agent": "many"}
    slots = [fleet.trigger("wkr_slot_sleep", input={"seconds": 60}, tags=tags)["id"] for _ in range(3)]
    data(fleet, "POST", "/v1/ava/workers", 201, json={"slug": "afar", "runtime": "pull"})
    _, box = make_key(fleet, role="worker", workers=["wkr_afar"])
    claimed = fleet.trigger("wkr_afar", tags=tags)["id"]
    for job_id in slots:
        fleet.wait_for(job_id, "running")
    claim = {"workers": ["wkr_afar"], "capacity": 5, "wait": 5, "name": "box"}
    (first,) = data(fleet, "POST", "/v1/ava/runs/claim", 200, json=claim, headers=box)
    data(fleet, "POST", "/v1/ava/runs/heartbeat", 200, json={"runs": [first["run"]]}, headers=box)
    unused = fleet.trigger("wkr_afar", tags=tags)["id"]
    (second,) = data(fleet, "POST", "/v1/ava/runs/claim", 200, json=claim, headers=box)
    left = fleet.trigger("wkr_afar", tags=tags)["id"]

    made = contain(fleet, {"tag": {"key": "agent", "value": "many"}})
    assert data(fleet, "POST", "/v1/ava/runs/claim", 200, json=claim | {"wait": 3}, headers=box) == []
    for job_id in slots:
        assert fleet.wait_for(job_id)["status"] == "cancelled"
    wait_until(lambda: is_held(fleet, left), what="the job that nobody claims is held")
    # The program of the one run has begun, and that of the other may not begin any more.
    wait_until(lambda: is_held(fleet, unused), what="the unused claim is requeued")
    for path, body in ((f"{second['run']}/progress", {"fraction": 0}), ("heartbeat", {"runs": [second["run"]]})):
        response = fleet.post(f"/v1/ava/runs/{path}", json=body, headers=box)
        assert response.status_code == 409 or response.json()["data"] == {"stop": [], "lost": [second["run"]]}
    shown = data(fleet, "GET", f"{PATH}/{made['id']}", 200, headers=OPERATOR)
    assert (shown["effective_at"], shown["running_count"], shown["stopped_count"]) == (None, 1, 4)
    assert (shown["running"][0]["job_id"], shown["running"][0]["node"]) == (claimed, "box")
    beat = data(fleet, "POST", "/v1/ava/runs/heartbeat", 200, json={"runs": [first["run"]]}, headers=box)
    assert beat == {"stop": [first["run"]], "lost": []}
    shown = wait_until(
        lambda: (found := data(fleet, "GET", f"{PATH}/{made['id']}", 200))["effective_at"] and found,
        what="it is effective, because the program has gone on",
    )
    assert shown["complete_at"] is None
    ended = data(fleet, "POST", f"/v1/ava/runs/{first['run']}/end", 200, json={"output": None}, headers=box)
    assert ended["status"] == "cancelled"
    complete(fleet, made["id"])
    lift(fleet, made["id"])
    again: set[str] = set()
    while len(again) < 2:
        claimed_now = data(fleet, "POST", "/v1/ava/runs/claim", 200, json=claim, headers=box)
        assert claimed_now
        again |= {each["job"]["id"] for each in claimed_now}
    assert again == {unused, left}


@pytest.mark.parametrize("triggers", ["refuse", "hold"])
def test_schedules_events_and_hooks_of_a_contained_worker(fleet: System, triggers: str) -> None:
    worker_id, type_ = "wkr_t_nothing", f"seen.{triggers}"
    schedule = {"worker_id": worker_id, "every_seconds": 1, "overlap": "allow"}
    subscription = {"event_type": type_, "worker_id": worker_id}
    sub = data(fleet, "POST", "/v1/ava/subscriptions", 201, json=subscription)
    hook = data(fleet, "POST", "/v1/ava/hooks", 201, json={"name": "h", "provider": "none", "worker_id": worker_id})
    made = contain(fleet, {"worker_id": worker_id}, triggers=triggers)
    every = data(fleet, "POST", "/v1/ava/schedules", 201, json=schedule)
    event = data(fleet, "POST", "/v1/ava/events", 201, json={"type": type_, "data": {}})
    url = "/" + hook["url"].split("/", 3)[3]
    sent = data(fleet, "POST", url, 202, json={"a": 1}, headers=dict.fromkeys(fleet.session.headers, None))
    firings = f"/v1/ava/schedules/{every['id']}/firings"
    fired = wait_until(lambda: data(fleet, "GET", firings, 200), what="the schedule fires")[-1]
    data(fleet, "POST", f"/v1/ava/schedules/{every['id']}/pause", 200, json={})
    deliveries = f"/v1/ava/hooks/{hook['id']}/deliveries"
    delivery = data(fleet, "GET", f"{deliveries}/{sent['delivery_id']}", 200)
    if triggers == "refuse":
        assert (fired["outcome"], fired["reason"], fired["job_id"]) == ("skipped", "contained", None)
        assert event["job_ids"] == []
        assert [each["subscription_id"] for each in event["refused"]] == [sub["id"]]
        assert (delivery["status"], delivery["job_ids"]) == ("skipped", [])
        complete(fleet, made["id"])
        lift(fleet, made["id"])
        replayed = data(fleet, "POST", f"{deliveries}/{delivery['id']}/replay", 202)
        (job_id,) = replayed["job_ids"]
        assert fleet.wait_for(job_id)["status"] == "completed"
    else:
        held = [fired["job_id"], *event["job_ids"], *delivery["job_ids"]]
        assert len(held) == 3
        assert all(is_held(fleet, job_id) for job_id in held)
        by_hand = fleet.trigger(worker_id)
        assert is_held(fleet, by_hand["id"])
        lifted = lift(fleet, made["id"], "cancel")
        assert lifted["done"] >= 4
        ended = [fleet.wait_for(job_id) for job_id in [*held, by_hand["id"]]]
        assert {(job["status"], job["cancelled_by"]) for job in ended} == {("cancelled", "usr_test")}
    data(fleet, "DELETE", f"/v1/ava/subscriptions/{sub['id']}", 200)


def test_jobs_stay_held_until_the_last_of_two_containments_ends_by_time(fleet: System) -> None:
    tags = {"agent": "twice"}
    later = fleet.trigger("wkr_t_echo", tags=tags, scheduled_at=LATER)["id"]
    by_tag = contain(fleet, {"tag": {"key": "agent", "value": "twice"}}, triggers="hold")
    by_both = contain(fleet, {"worker_id": "wkr_t_echo", "tag": {"key": "agent", "value": "twice"}}, ends_in_seconds=4)
    # The one that refuses decides.
    refused = fleet.post("/v1/ava/jobs", json={"worker_id": "wkr_t_echo", "tags": tags})
    assert (refused.status_code, refused.json()["error"].get("containment_id")) == (409, by_both["id"])
    other = fleet.trigger("wkr_t_brief", tags=tags)["id"]
    data(fleet, "PATCH", f"/v1/ava/jobs/{later}", 200, json={"scheduled_at": None})
    assert is_held(fleet, later)
    lift(fleet, by_tag["id"])
    assert fleet.wait_for(other)["status"] == "completed"
    assert is_held(fleet, later)
    assert fleet.wait_for(later)["status"] == "completed"
    ended = data(fleet, "GET", f"{PATH}/{by_both['id']}", 200)
    assert (ended["state"], ended["lifted_by"]) == ("ended", None)
    assert ended["lifted_at"] is not None


def test_an_operator_contains_all_tenants(fleet: System) -> None:
    body = {"scope": {"all": True}, "reason": "a leak", "triggers": "hold"}
    assert fleet.post(PATH, json=body).status_code == 403
    made = data(fleet, "POST", PATH, 201, json=body, headers=OPERATOR)
    assert made["scope"] == {"all": True}
    jobs = [
        data(fleet, "POST", "/v1/ava/jobs", 201, json={"worker_id": "wkr_t_echo"}, headers=headers)["id"]
        for headers in ({}, OTHER_TENANT)
    ]
    assert is_held(fleet, jobs[0])
    assert fleet.post(f"{PATH}/{made['id']}/lift", json={}).status_code == 403
    started = data(fleet, "POST", f"{PATH}/{made['id']}/lift", 202, json={}, headers=OPERATOR)
    assert started["kind"] == "lift"
    for job_id, headers in zip(jobs, ({}, OTHER_TENANT), strict=True):
        path = f"/v1/ava/jobs/{job_id}"
        assert data(fleet, "GET", path, 200, params={"wait": 20}, headers=headers)["status"] == "completed"


def test_a_contained_key_claims_no_run_and_its_objects_create_nothing(fleet: System) -> None:
    data(fleet, "POST", "/v1/ava/workers", 201, json={"slug": "near", "runtime": "pull"})
    worker_key, box = make_key(fleet, role="worker", workers=["wkr_near"])
    admin_key, admin = make_key(fleet, role="tenant-system-admin")
    type_ = f"owned.{uuid.uuid4().hex[:6]}"
    subscription = {"event_type": type_, "worker_id": "wkr_t_echo"}
    data(fleet, "POST", "/v1/ava/subscriptions", 201, json=subscription, headers=admin)
    schedule = data(
        fleet, "POST", "/v1/ava/schedules", 201, json={"worker_id": "wkr_t_echo", "every_seconds": 1}, headers=admin
    )
    job = fleet.trigger("wkr_near")["id"]
    both = [contain(fleet, {"key_id": key})["id"] for key in (worker_key, admin_key)]
    claim = {"workers": ["wkr_near"], "capacity": 1, "wait": 2}
    response = fleet.post("/v1/ava/runs/claim", json=claim, headers=box)
    assert response.status_code == 409 or response.json()["data"] == [], response.text
    assert fleet.show(job)["status"] == "queued"
    # The sender of an event is its origin, not the creator of the subscription.
    event = data(fleet, "POST", "/v1/ava/events", 201, json={"type": type_, "data": {}})
    assert len(event["job_ids"]) == 1
    assert fleet.post("/v1/ava/events", json={"type": type_, "data": {}}, headers=admin).status_code == 409
    firings = f"/v1/ava/schedules/{schedule['id']}/firings"
    wait_until(
        lambda: (data(fleet, "GET", firings, 200) or [{"reason": None}])[0]["reason"] == "contained",
        what="a firing is skipped",
    )
    for containment_id in both:
        lift(fleet, containment_id)
    (run,) = data(fleet, "POST", "/v1/ava/runs/claim", 200, json=claim, headers=box)
    assert run["job"]["id"] == job
    data(fleet, "DELETE", f"/v1/ava/schedules/{schedule['id']}", 200)
