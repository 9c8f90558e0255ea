"""`?dry_run=true` makes every check of a change and stores nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ava.store.engine.database import dry_run
from harness.api import HEADERS, Api, error_of

#: The tables that these changes write.
_TABLES = (
    *("schedules", "subscriptions", "hooks", "webhook_endpoints", "worker_settings", "tenant_limits"),
    *("idempotency_keys", "schedule_firings"),
)
_SCHEDULE = {"worker_id": "wkr_open", "cron": "0 3 * * *", "timezone": "Europe/Berlin"}
_SUBSCRIPTION = {"event_type": "order.paid", "worker_id": "wkr_open"}
_HOOK = {"name": "mine", "provider": "github", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
_WEBHOOK = {"url": "https://93.184.216.34/hook", "events": ["ava.job.failed"], "secret": "of-this-test-only-0"}
#: The collections, a body that creates an entry, and one that changes it.
_COLLECTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "/v1/ava/schedules": (_SCHEDULE, {"cron": "0 4 * * *"}),
    "/v1/ava/subscriptions": (_SUBSCRIPTION, {"priority": 3}),
    "/v1/ava/hooks": (_HOOK, {"name": "other"}),
    "/v1/webhooks": (_WEBHOOK, {"enabled": False}),
}
_OPERATOR = {"x-platform-role": "platform-admin"}


def _stored(api: Api) -> list[Any]:
    return [api.execute(f"SELECT json_agg(t ORDER BY t::text)::text FROM {table} AS t") for table in _TABLES]


@pytest.mark.parametrize("path", _COLLECTIONS)
def test_a_collection_is_left_as_it_was(api: Api, path: str) -> None:
    new, changes = _COLLECTIONS[path]
    before = _stored(api)
    answer = api.post(f"{path}?dry_run=true", json=new)
    assert answer.status_code == 201, answer.text
    assert _stored(api) == before
    made = api.post(f"{path}?dry_run=false", json=new)
    entry = f"{path}/{made.get_json()['data']['id']}"
    stored = _stored(api)
    assert stored != before
    changed = api.request("PATCH", f"{entry}?dry_run=true", json=changes)
    assert changed.status_code == 200, changed.text
    assert changes.items() <= changed.get_json()["data"].items() or path == "/v1/webhooks"
    assert api.request("DELETE", f"{entry}?dry_run=true").status_code == 200
    assert _stored(api) == stored
    assert api.request("PATCH", entry, json=changes).status_code == 200
    assert api.request("DELETE", entry).status_code == 200
    assert _stored(api) != stored


def test_settings_of_workers_and_tenants_are_left_as_they_were(api: Api) -> None:
    before = _stored(api)
    worker = api.request(
        "PATCH", "/v1/ava/workers/wkr_open?dry_run=true", json={"status": "paused", "config": {"A": "b"}}
    )
    assert (worker.status_code, worker.get_json()["data"]["status"]) == (200, "paused"), worker.text
    limits = {"max_running": 3, "weight": 2, "most_urgent_priority": 1, "retention_days": None}
    put = api.put("/v1/ava/tenants/ten_test/limits?dry_run=true", json=limits, headers=_OPERATOR)
    assert (put.status_code, put.get_json()["data"]["max_running"]) == (200, 3), put.text
    assert _stored(api) == before


def test_each_check_of_the_change_is_made(api: Api) -> None:
    schema = json.dumps({"required": ["a"]})
    api.execute("UPDATE workers SET input_schema = %s::json, input_schema_version = 'v1' WHERE id = 'wkr_open'", schema)
    schedules = "/v1/ava/schedules?dry_run=true"
    error_of(api.post(schedules, json={**_SCHEDULE, "worker_id": "wkr_unknown"}), 404, "resource_not_found")
    error_of(api.post(schedules, json=_SCHEDULE), 422, "validation_error")
    error_of(api.post(schedules, json={**_SCHEDULE, "cron": "0 99 * * *"}), 422, "validation_error")
    error_of(api.post(schedules, json=_SCHEDULE, headers={"x-platform-role": "tenant-user"}), 403, "forbidden")
    error_of(
        api.post("/v1/webhooks?dry_run=true", json={**_WEBHOOK, "url": "http://10.0.0.1/"}), 422, "validation_error"
    )
    error_of(api.put("/v1/ava/tenants/ten_test/limits?dry_run=true", json={"weight": 2}), 403, "forbidden")


def test_an_idempotency_key_of_a_dry_run_is_free_afterwards(api: Api) -> None:
    for query in ("?dry_run=true", "?dry_run=true", ""):
        answer = api.post(f"/v1/ava/schedules{query}", json=_SCHEDULE, headers={"idempotency-key": "k"})
        assert (answer.status_code, "idempotent-replayed" in answer.headers) == (201, False)


def test_a_change_that_cannot_be_only_checked_refuses_the_parameter(api: Api) -> None:
    error_of(api.post("/v1/ava/jobs?dry_run=true", json={"worker_id": "wkr_open"}), 400, "validation_error")
    error_of(api.post("/v1/ava/schedules?dry_run=yes", json=_SCHEDULE), 400, "validation_error")
    assert api.execute("SELECT count(*) FROM jobs") == [(0,)]


def test_the_audit_trail_marks_a_dry_run(api: Api) -> None:
    api.post("/v1/ava/schedules?dry_run=true", json=_SCHEDULE)
    api.app.extensions["ava"].admin.audit.flush()
    (entry,) = api.get("/v1/ava/audit?filter[action]=schedules.create").get_json()["data"]
    assert entry["changes"] == {"dry_run": [None, True]}


def test_another_thread_is_not_affected_and_a_connection_is_usable_afterwards(api: Api) -> None:
    insert = "INSERT INTO tenant_limits (tenant_id, weight, updated_by) VALUES (%s, 2, 'usr_test')"
    with dry_run(), api.database.transaction() as connection:
        connection.exec_driver_sql(insert, ("ten_dry",))
    with api.database.connect() as connection:
        connection.exec_driver_sql(insert, ("ten_wet",))
    assert api.execute("SELECT tenant_id FROM tenant_limits") == [("ten_wet",)]
    assert HEADERS["x-tenant-id"] == "ten_test"
