"""Workers of a tenant, whose runs are pulled, and keys of the role worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ava.store.fleet import pull_workers
from harness.api import Api, error_of, wrong_fields
from tests.lock_waits import await_lock_waits
from tests.pulled import JOBS, OTHER, RUNS, WORKERS, data, make_worker, show


def test_a_worker_is_its_tenants_alone_and_its_id_is_free_for_others(api: Api) -> None:
    made = make_worker(api, name="Resize", input_schema={"type": "object", "required": ["width"]}, rate="10/minute")
    assert (made["id"], made["runtime"], made["queue"], made["live"]) == ("wkr_resize", "pull", "pull", False)
    assert (made["name"], made["rate"], made["scope"]) == ("Resize", "10/minute", "tenant")
    error_of(api.get(f"{WORKERS}/wkr_resize", headers=OTHER), 404, "resource_not_found")
    error_of(api.post(JOBS, json={"worker_id": "wkr_resize"}, headers=OTHER), 404, "resource_not_found")
    error_of(api.post(JOBS, json={"worker_id": "wkr_resize"}), 422, "validation_error")
    error_of(api.post(WORKERS, json={"slug": "resize", "runtime": "pull"}), 409, "resource_conflict")
    error_of(api.post(WORKERS, json={"slug": "open", "runtime": "pull"}), 409, "resource_conflict")
    assert make_worker(api, headers=OTHER)["input_schema"] is None
    listed = {worker["id"] for worker in data(api.get(WORKERS))}
    assert "wkr_resize" in listed
    # A handler that is deployed later does not replace it, and `ava doctor` names both.
    with api.database.connect() as connection:
        assert pull_workers.hiding(connection, limit=9) == []
        api.announce("wkr_resize")
        assert pull_workers.hiding(connection, limit=9) == [("ten_other", "wkr_resize"), ("ten_test", "wkr_resize")]
    assert data(api.get(f"{WORKERS}/wkr_resize"))["runtime"] == "pull"
    assert data(api.get(f"{WORKERS}/wkr_resize", headers={"x-tenant-id": "ten_third"}))["runtime"] == "python"


def test_a_worker_is_changed_and_deleted_by_its_owner(api: Api) -> None:
    make_worker(api)
    changed = data(
        api.request(
            "PATCH", f"{WORKERS}/wkr_resize", json={"timeout_seconds": 20, "max_running": 2, "config": {"A": "b"}}
        )
    )
    assert (changed["timeout_seconds"], changed["max_running"], changed["config"]) == (20, 2, {"A": "b"})
    error_of(
        api.request("PATCH", f"{WORKERS}/wkr_resize", json={"secrets": {"TOKEN": "abcd"}}), 422, "validation_error"
    )
    job = api.trigger("wkr_resize")
    error_of(api.request("DELETE", f"{WORKERS}/wkr_resize"), 409, "resource_conflict")
    api.post(f"{JOBS}/{job['id']}/cancel")
    assert data(api.request("DELETE", f"{WORKERS}/wkr_resize")) == {"id": "wkr_resize", "deleted": True}
    error_of(api.get(f"{WORKERS}/wkr_resize"), 404, "resource_not_found")
    error_of(api.request("DELETE", f"{WORKERS}/wkr_open"), 403, "forbidden")
    assert show(api, job)["status"] == "cancelled"


def test_two_changes_of_a_worker_at_once_both_hold(api: Api) -> None:
    make_worker(api)
    with ThreadPoolExecutor(1) as threads:
        with api.database.transaction() as connection:
            connection.exec_driver_sql("UPDATE workers SET max_running = 1 WHERE id = 'wkr_resize'")
            response = threads.submit(api.request, "PATCH", f"{WORKERS}/wkr_resize", json={"timeout_seconds": 5})
            await_lock_waits(api.database)
        changed = data(response.result())
    assert (changed["timeout_seconds"], changed["max_running"]) == (5, 1)


def test_a_key_of_the_role_worker_may_nothing_else(api: Api, key: dict[str, str | None]) -> None:
    make_worker(api, "other")
    for method, path in [("GET", JOBS), ("POST", JOBS), ("GET", WORKERS), ("GET", "/v1/ava/keys"), ("POST", WORKERS)]:
        error_of(api.request(method, path, headers=key, json={} if method == "POST" else None), 403, "forbidden")
    error_of(api.get(f"{WORKERS}/wkr_other", headers=key), 403, "forbidden")
    assert data(api.get(f"{WORKERS}/wkr_resize", headers=key))["live"] is True
    error_of(api.post(f"{RUNS}/claim", json={"workers": ["wkr_other"]}, headers=key), 403, "forbidden")
    error_of(api.post(f"{RUNS}/claim", json={"workers": ["wkr_resize"]}), 403, "forbidden")
    error_of(api.get(JOBS, headers={"x-platform-role": "worker"}), 403, "forbidden")


def test_a_key_with_wrong_workers_is_refused(api: Api) -> None:
    make_worker(api)
    wrong: list[dict[str, Any]] = [
        {"role": "worker"},
        *({"role": "worker", "workers": workers} for workers in ([], ["wkr_open"], ["wkr_none"], "wkr_resize")),
        {"role": "tenant-user", "workers": ["wkr_resize"]},
    ]
    for fields in wrong:
        assert list(wrong_fields(api.post("/v1/ava/keys", json={"name": "box", **fields}))) == ["workers"], fields
    of_platform = {"name": "box", "role": "tenant-user", "scope": "platform"}
    assert list(wrong_fields(api.post("/v1/ava/keys", json=of_platform))) == ["scope"]
