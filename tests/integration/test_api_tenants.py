"""`/v1/ava/tenants`: the load of each, and what operators set for one."""

from __future__ import annotations

import pytest

from ava.store.reports import tenant_loads
from harness.api import Api, wrong_fields
from harness.timestamps import LATER
from tests.integration.test_pages import walk

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


def test_the_load_of_tenants_puts_failures_first_and_keeps_scheduled_apart(api: Api) -> None:
    for tenant in ("ten_a", "ten_a", "ten_b", "ten_c"):
        api.trigger(headers={"x-tenant-id": tenant})
    api.trigger(headers={"x-tenant-id": "ten_a"}, scheduled_at=LATER)
    api.trigger(headers={"x-tenant-id": "ten_a"}, priority=9)
    # As a node without the handler, or the handler, puts it off.
    api.execute(
        "UPDATE jobs SET waits_for = 'retry', run_at = now() + interval '1 h', run_no = 1, published_at = NULL"
        " WHERE priority = 9"
    )
    api.execute(
        """UPDATE jobs SET status = 'cancelled', completed_at = now(), cancel_requested_at = now(),
               stop_status = 'cancelled',
               cancelled_by = 'usr_b'
           WHERE tenant_id IN ('ten_b', 'ten_c')"""
    )
    api.execute(
        """INSERT INTO job_minutes (tenant_id, minute, worker_id, status, wait_bucket, run_bucket, jobs, retries,
               losses, wait_seconds, run_seconds)
           VALUES ('ten_b', date_trunc('minute', now()), 'wkr_open', 'failed', 0, 0, 2, 0, 0, 0, 3),
               ('ten_a', date_trunc('minute', now()), 'wkr_open', 'completed', 0, 0, 2, 0, 0, 0, 1),
               ('ten_c', now() - interval '2 hours', 'wkr_open', 'completed', 0, 0, 1, 0, 0, 0, 0)"""
    )
    found = api.get("/v1/ava/tenants", headers=OPERATOR).get_json()["data"]
    assert [(load["tenant_id"], load["waiting"], load["scheduled"], load["failed"]) for load in found] == [
        ("ten_a", 3, 1, 0),
        ("ten_b", 0, 0, 2),
    ]
    assert [load["share"] for load in found] == [0.25, 0.75]


def test_the_tenants_are_read_in_pages_that_scan_a_limited_number(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for tenant in ("ten_a", "ten_b", "ten_c", "ten_d", "ten_e"):
        api.trigger(headers={"x-tenant-id": tenant})
    api.execute(
        "UPDATE jobs SET status = 'completed', completed_at = now(), waits_for = NULL WHERE tenant_id = 'ten_c'"
    )
    monkeypatch.setattr(tenant_loads, "_TENANTS_PER_STATEMENT", 1)
    assert _tenant_pages(api, per_page=2) == [["ten_a", "ten_b"], ["ten_d", "ten_e"]]
    monkeypatch.setattr(tenant_loads, "MAX_SCANNED", 3)
    assert _tenant_pages(api, per_page=100) == [["ten_a", "ten_b"], ["ten_d", "ten_e"]]
    wrong = api.get("/v1/ava/tenants?cursor=x", headers=OPERATOR)
    assert "cursor" in wrong_fields(wrong, 400)


def _tenant_pages(api: Api, *, per_page: int) -> list[list[str]]:
    pages = walk(api, "/v1/ava/tenants", per_page=per_page)
    return [[load["tenant_id"] for load in page["data"]] for page in pages]
