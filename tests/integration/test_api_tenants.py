"""`/v1/ava/tenants/:id/limits`: what operators set for one tenant."""

from __future__ import annotations

from harness.api import Api

LIMITS = "/v1/ava/tenants/ten_test/limits"
OPERATOR = {"x-platform-role": "platform-admin", "x-tenant-id": "ten_platform"}


def test_an_operator_sets_what_holds_for_a_tenant_and_the_tenant_sees_it(api: Api) -> None:
    nothing = api.get(LIMITS).get_json()["data"]
    settings = ["max_running", "weight", "most_urgent_priority", "retention_days"]
    assert list(nothing) == ["tenant_id", *settings, "updated_by", "updated_at"]
    assert list(nothing.values()) == ["ten_test", *(None for _ in nothing)][: len(nothing)]
    sent = {"max_running": 0, "weight": 2.5, "most_urgent_priority": 4, "retention_days": 0.5}
    found = api.put(LIMITS, headers=OPERATOR, json=sent).get_json()["data"]
    assert sent.items() <= found.items()
    assert found["updated_by"] == "usr_test"
    assert api.get(LIMITS).get_json()["data"] == found
    # It replaces all of them.
    found = api.put(LIMITS, headers=OPERATOR, json={"weight": 3, "max_running": None}).get_json()["data"]
    assert [found[name] for name in settings] == [None, 3, None, None]
    entry = api.get("/v1/ava/audit", headers=OPERATOR).get_json()["data"][0]
    assert (entry["action"], entry["target"]) == ("tenants.put_limits", "ten_test")
    assert entry["changes"]["weight"] == [2.5, 3]


def test_a_job_that_is_too_urgent_for_its_tenant_gets_the_most_urgent_priority_that_holds(api: Api) -> None:
    assert api.trigger(priority=1)["priority"] == 1
    api.put(LIMITS, headers=OPERATOR, json={"most_urgent_priority": 4})
    found = [api.trigger(priority=number)["priority"] for number in (1, 4, 9)]
    assert found == [4, 4, 9]
    debounce = {"key": "a", "seconds": 60}
    assert [api.trigger(priority=number, debounce=debounce)["priority"] for number in (9, 1)] == [9, 4]


def test_the_jobs_of_a_limited_tenant_are_left_to_the_dispatcher(api: Api) -> None:
    api.post(f"/v1/ava/jobs/{api.trigger()['id']}/cancel")
    api.put(LIMITS, headers=OPERATOR, json={"max_running": 1})
    job = api.trigger()
    assert api.execute("SELECT published_at IS NULL FROM jobs ORDER BY id") == [(False,), (True,)]
    api.put("/v1/ava/tenants/ten_other/limits", headers=OPERATOR, json={"max_running": 0})
    assert "limit" not in api.get(f"/v1/ava/jobs/{job['id']}/why").get_json()["data"]["sentence"]
    api.put(LIMITS, headers=OPERATOR, json={"max_running": 0})
    why = api.get(f"/v1/ava/jobs/{job['id']}/why").get_json()["data"]["sentence"]
    assert why == "queued: limit: this tenant runs 0 of 0"
    limits = {limit["name"]: limit for limit in api.get("/v1/ava/limits?per_page=100").get_json()["data"]}
    assert (limits["tenant_running_jobs"]["value"], limits["tenant_running_jobs"]["used"]) == (0, 0)
