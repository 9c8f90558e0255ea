"""`?dry_run=true` makes every check of a change; that it stores nothing: test_callers_matrix.py."""

from __future__ import annotations

import json

from ava.store.engine.database import dry_run
from harness.api import HEADERS, Api, error_of

_SCHEDULE = {"worker_id": "wkr_open", "cron": "0 3 * * *", "timezone": "Europe/Berlin"}
_WEBHOOK = {"url": "https://93.184.216.34/hook", "events": ["ava.job.failed"], "secret": "of-this-test-only-0"}
_OPERATOR = {"x-platform-role": "platform-admin"}


def test_the_response_has_what_would_be_changed(api: Api) -> None:
    worker = api.request(
        "PATCH", "/v1/ava/workers/wkr_open?dry_run=true", json={"status": "paused", "config": {"A": "b"}}
    )
    assert (worker.status_code, worker.get_json()["data"]["status"]) == (200, "paused"), worker.text
    limits = {"max_running": 3, "weight": 2, "most_urgent_priority": 1, "retention_days": None}
    put = api.put("/v1/ava/tenants/ten_test/limits?dry_run=true", json=limits, headers=_OPERATOR)
    assert (put.status_code, put.get_json()["data"]["max_running"]) == (200, 3), put.text


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
        response = api.post(f"/v1/ava/schedules{query}", json=_SCHEDULE, headers={"idempotency-key": "k"})
        assert (response.status_code, "idempotent-replayed" in response.headers) == (201, False)


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
