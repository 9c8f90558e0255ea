"""Identities: the origin of each job, and the person behind an actor, whatever label or chain of keys hides it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ava.dispatcher.duties.schedules import fire_due_schedules
from ava.domain.access.actor import SYSTEM, Actor, source_cause
from ava.domain.declarations import DECLARER
from ava.services.due_firings import DueFirings
from ava.store.access import api_keys
from ava.store.jobs.reads import lists
from harness.api import HEADERS, JOBS, Api
from tests.integration.hook_sender import Hook
from tests.integration.test_api_sessions import sign_in, with_cookie
from tests.pulled import call, claim, data, make_key, make_worker

KEYS = "/v1/ava/keys"
TEST = {"id": "usr_test", "kind": "user", "via": "headers", "label": None}
OTHER = {**TEST, "id": "usr_other"}
AS_OTHER = {"x-user-id": "usr_other"}


def _key(api: Api, headers: Any = None) -> tuple[str, dict[str, str | None]]:
    """Create a key. Returns its id, and the headers of a request with it."""
    key = data(api.post(KEYS, json={"name": "k", "role": "tenant-system-admin"}, headers=headers), 201)
    return key["id"], dict.fromkeys(HEADERS) | {"authorization": f"Bearer {key['token']}"}


def _of_key(key_id: str, label: str | None = None) -> dict[str, str | None]:
    return {"id": key_id, "kind": "key", "via": "key", "label": label}


def _show(api: Api, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = data(api.get(f"{JOBS}/{job_id}"))
    return found


def _identities(api: Api, job_id: str) -> list[str]:
    """Returns the identities behind a job as they are stored."""
    with api.database.connect() as connection:
        job = lists.show(connection, tenant_id="ten_test", job_id=job_id)
    assert job is not None
    return [each.text for each in job.identities]


def test_the_origin_is_the_caller_and_a_label_is_no_identity(shared_api: Api) -> None:
    key_id, key = _key(shared_api)
    declarer = shared_api.trigger(headers={"x-user-id": "usr_handlers"})
    assert declarer["origin"] == {**TEST, "id": "usr_handlers"}
    assert shared_api.trigger()["origin"] == TEST
    by_key = shared_api.trigger(headers=key)
    assert by_key["origin"] == _of_key(key_id)
    labelled = shared_api.trigger(headers=key | AS_OTHER)
    assert (labelled["triggered_by"], labelled["origin"]) == ("usr_other", _of_key(key_id, "usr_other"))
    # Only the label takes space in the row.
    stored = dict(shared_api.execute("SELECT triggered_by, origin FROM jobs ORDER BY id DESC LIMIT 3"))
    assert stored == {"usr_test": None, key_id: None, "usr_other": f"{key_id} key usr_other"}
    shown = data(shared_api.get(JOBS, query_string={"fields": "id,origin"}))
    assert [job["origin"] for job in shown[:3]] == [labelled["origin"], by_key["origin"], TEST]


def test_a_session_of_a_key_has_the_keys_identity_whatever_user_it_names(shared_api: Api) -> None:
    key_id, key = _key(shared_api)
    cookie = sign_in(shared_api, key | AS_OTHER)
    body = {"worker_id": "wkr_open"}
    response = with_cookie(shared_api, "POST", JOBS, cookie, {"x-tenant-id": "ten_test"}, json=body)
    assert data(response, 201)["origin"] == _of_key(key_id, "usr_other")
    (entry, *_) = data(shared_api.get("/v1/ava/audit", query_string={"filter[action]": "jobs.trigger"}))
    assert entry["actor"] == _of_key(key_id, "usr_other")


def test_a_schedules_jobs_have_its_creator_and_a_run_now_the_caller(api: Api) -> None:
    key_id, key = _key(api)
    body = {"worker_id": "wkr_open", "cron": "* * * * *", "timezone": "UTC"}
    schedule = data(api.post("/v1/ava/schedules", json=body, headers=key | AS_OTHER), 201)
    assert schedule["created_by"] == key_id
    firings = DueFirings(api.database, api.app.extensions["ava"].jobs.control)
    assert fire_due_schedules(api.database, firings, now=datetime.now(UTC) + timedelta(minutes=1)) == 1
    fired = _show(api, data(api.get(f"/v1/ava/schedules/{schedule['id']}"))["last_job_id"])
    assert (fired["triggered_by"], fired["origin"]) == (schedule["id"], _of_key(key_id, "usr_other"))
    now = data(api.post(f"/v1/ava/schedules/{schedule['id']}/run"), 201)
    assert (now["origin"], _identities(api, now["id"])) == (TEST, ["usr_test", f"{key_id} key usr_other"])
    # Another input, sent with a key, has a person behind it; another name changes nothing.
    _, others = _key(api, AS_OTHER)
    for fields, headers in (({"input": {"a": 1}}, others), ({"name": "n"}, {"x-user-id": "usr_third"})):
        data(api.request("PATCH", f"/v1/ava/schedules/{schedule['id']}", json=fields, headers=headers))
    assert fire_due_schedules(api.database, firings, now=datetime.now(UTC) + timedelta(minutes=2)) == 1
    fired = data(api.get(f"/v1/ava/schedules/{schedule['id']}"))["last_job_id"]
    assert _identities(api, fired) == [f"{key_id} key usr_other", "usr_other"]


def test_an_events_jobs_have_its_sender_and_retain_the_subscriptions_creator(api: Api) -> None:
    path, body = "/v1/ava/subscriptions", {"event_type": "a.b", "worker_id": "wkr_open"}
    subscription = data(api.post(path, json=body, headers=AS_OTHER), 201)
    event = data(api.post("/v1/ava/events", json={"type": "a.b", "data": {}}), 201)
    (job_id,) = event["job_ids"]
    # Without the subscription its creator is still known, and whoever changed it.
    third = {"x-user-id": "usr_third"}
    data(api.request("PATCH", f"{path}/{subscription['id']}", json={"input": {"a": 1}}, headers=third))
    (changed_id,) = data(api.post("/v1/ava/events", json={"type": "a.b", "data": {}}), 201)["job_ids"]
    assert api.request("DELETE", f"{path}/{subscription['id']}").status_code == 200
    assert _show(api, job_id)["origin"] == TEST
    cause = source_cause("/").text
    assert _identities(api, job_id) == ["usr_test", "usr_other", cause]
    assert _identities(api, changed_id) == ["usr_test", "usr_other", "usr_third", cause]


@pytest.mark.parametrize("is_subscribed", [False, True])
def test_a_hooks_jobs_have_its_creator_and_a_replay_its_caller_too(api: Api, is_subscribed: bool) -> None:
    if is_subscribed:
        body = {"event_type": "hook.mine", "worker_id": "wkr_open"}
        data(api.post("/v1/ava/subscriptions", json=body, headers={"x-user-id": "usr_third"}), 201)
    hook = Hook(api, worker_id=None if is_subscribed else "wkr_open", event_type="hook.mine" if is_subscribed else None)
    received = hook.accepted()
    (job_id,) = received["job_ids"]
    source = source_cause(f"/hooks/{hook.id}").text
    behind = [f"{hook.id} system", *(["usr_third", source] if is_subscribed else [])]
    assert (_show(api, job_id)["origin"], _identities(api, job_id)) == (TEST, ["usr_test", *behind])
    path = f"/v1/ava/hooks/{hook.id}/deliveries/{received['delivery_id']}/replay"
    changed = {"json": {"tolerance_seconds": 60}, "headers": {"x-user-id": "usr_fourth"}}
    data(api.request("PATCH", f"/v1/ava/hooks/{hook.id}", **changed))
    (again,) = data(api.post(path, headers=AS_OTHER), 202)["job_ids"]
    assert _show(api, again)["origin"] == OTHER
    assert _identities(api, again) == ["usr_other", "usr_test", "usr_fourth", *behind]


def test_children_inherit_all_identities_and_a_retry_has_its_callers(api: Api) -> None:
    make_worker(api)
    key = make_key(api, triggers=["*"])
    claim(api, key)
    body = {"event_type": "a.b", "worker_id": "wkr_resize"}
    data(api.post("/v1/ava/subscriptions", json=body, headers=AS_OTHER), 201)
    data(api.post("/v1/ava/events", json={"type": "a.b", "data": {}}), 201)
    for _ in range(2):
        (run,) = claim(api, key)
        (child,) = data(call(api, run, "children", children=[{"name": "one", "worker_id": "wkr_resize"}]))
        assert _identities(api, child["id"]) == ["usr_test", "usr_other", source_cause("/").text]
        # The worker's key runs the job, and stands behind nothing.
        assert _show(api, child["id"])["origin"] == TEST
        # As the dispatcher does.
        api.execute("UPDATE jobs SET published_at = now() WHERE parent_id IS NOT NULL AND status = 'queued'")
    assert data(api.post(f"{JOBS}/{child['id']}/cancel"))["status"] == "cancelled"
    again = data(api.post(f"{JOBS}/{child['id']}/retry", headers=AS_OTHER), 201)
    assert (again["origin"], _identities(api, again["id"])) == (OTHER, ["usr_other", "usr_test"])
    key_id, writer = _key(api)
    labelled = writer | {"x-user-id": "usr_label"}
    operation = data(api.post(f"{JOBS}/retry", json={"filter": {"status": "cancelled"}}, headers=labelled), 202)
    assert (operation["created_by"], operation["total"]) == (key_id, 1)
    (newest,) = data(api.get(JOBS, query_string={"per_page": 1}))
    assert (newest["retry_of"], newest["origin"]) == (child["id"], _of_key(key_id, "usr_label"))


def test_a_debounced_job_has_the_origin_of_the_trigger_whose_input_it_takes(api: Api) -> None:
    body = {"debounce": {"key": "k", "seconds": 60, "keep": "last"}}
    first = api.trigger(**body)
    assert first["origin"] == TEST
    key_id, key = _key(api)
    assert api.trigger(**body, headers=key | AS_OTHER)["id"] == first["id"]
    assert _show(api, first["id"])["origin"] == _of_key(key_id, "usr_other")
    api.trigger(**body)
    assert _show(api, first["id"])["origin"] == TEST


def test_behind_a_key_is_the_user_who_began_its_chain_also_after_it_was_revoked(api: Api) -> None:
    first_id, first = _key(api, AS_OTHER)
    # A label does not change whose key it is.
    second_id, second = _key(api, first | {"x-user-id": "usr_test"})
    third_id, _ = _key(api, second)
    own_id, _ = _key(api)
    keys = [first_id, second_id, third_id]
    actors = [
        *map(Actor.parse, [*keys, own_id, f"{first_id} key usr_test", "usr_test oidc", "job_1"]),
        SYSTEM,
        DECLARER,
    ]
    expected = dict.fromkeys(keys, "usr_other") | {own_id: "usr_test", "usr_test": "usr_test"}
    expected |= {"job_1": None, DECLARER.id: None}
    for is_revoked in (False, True):
        if is_revoked:
            assert api.request("DELETE", f"{KEYS}/{first_id}").status_code == 200
            assert api.execute("SELECT count(*) FROM api_keys WHERE tenant_id = 'ten_test'") == [(1,)]
        with api.database.connect() as connection:
            assert api_keys.behind(connection, tenant_id="ten_test", actors=actors) == expected
            # Another tenant learns nothing.
            assert api_keys.behind(connection, tenant_id="ten_other", actors=actors)[first_id] is None
            found = [
                sorted(api_keys.keys_of(connection, tenant_id="ten_test", identity_id=identity_id))
                for identity_id in (first_id, second_id, third_id, "usr_other", "usr_test")
            ]
        assert found == [sorted(keys), sorted([second_id, third_id]), [third_id], sorted(keys), [own_id]]
    with api.database.transaction() as connection:
        assert api_keys.delete_old(connection, retention_days=1, limit=10) == 0
    api.execute("UPDATE former_keys SET revoked_at = now() - interval '2 days'")
    with api.database.transaction() as connection:
        assert api_keys.delete_old(connection, retention_days=1, limit=10) == 3
        assert api_keys.behind(connection, tenant_id="ten_test", actors=actors)[first_id] is None
