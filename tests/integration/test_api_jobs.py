"""Trigger, show, log and cancel, as the contract defines them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import redis

from ava.settings import Settings
from harness.api import FIELDS, HEADERS, JOBS, NODE, Api, error_of, wrong_fields
from harness.timestamps import LATER, LATER_DAY

#: The number of jobs.
COUNT = "SELECT count(*) FROM jobs"
RECORD_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")


def test_the_first_node_of_a_deploy_sets_the_schema_and_an_old_node_that_restarts_sets_the_old_one(api: Api) -> None:
    """What docs/operate/maintenance.md says of a stricter schema."""
    loose: dict[str, Any] = {"type": "object"}
    strict = loose | {"required": ["account"]}
    api.announce("wkr_typed", input_schema=loose)
    accepted = api.trigger("wkr_typed", input={})
    api.announce("wkr_typed", input_schema=strict)
    body = {"worker_id": "wkr_typed", "input": {}}
    error_of(api.post(JOBS, json=body), 422, "validation_error")
    # What was accepted before is not checked again.
    assert api.get(f"{JOBS}/{accepted['id']}").get_json()["data"]["status"] == "queued"
    api.announce("wkr_typed", input_schema=loose)
    assert api.post(JOBS, json=body).status_code == 201


def test_the_contracts_request_returns_the_contracts_record(shared_api: Api) -> None:
    payload = {"incident_id": "inc_01hxyz", "channel": "#security-ops"}
    response = shared_api.post(JOBS, json={"worker_id": "wkr_open", "priority": 2, "input": payload})
    assert response.status_code == 201
    record = response.get_json()["data"]
    assert response.headers["Location"] == f"/v1/ava/jobs/{record['id']}"
    assert shared_api.get(response.headers["Location"]).get_json()["data"] == record
    assert list(record) == FIELDS
    assert re.fullmatch(r"job_[0-7][0-9a-hjkmnp-tv-z]{25}", record.pop("id"))
    assert RECORD_TIME.fullmatch(record.pop("created_at"))
    assert record == {
        "worker_id": "wkr_open", "tenant_id": "ten_test", "status": "queued", "trigger": "manual", "priority": 2,
        "input": payload, "triggered_by": "usr_test", "started_at": None, "completed_at": None, "duration_ms": None,
        "output": None, "error": None, "scheduled_at": None, "attempt": 0, "max_attempts": 1,
        "cancel_requested_at": None, "cancelled_by": None, "progress": None, "retry_of": None, "tags": {},
        "expires_at": None, "parent_id": None, "tree_id": None, "waiting_for": None, "deadline_at": None, "usage": None,
        "waits_for": None, "origin": {"id": "usr_test", "kind": "user", "via": "headers", "label": None},
    }  # fmt: skip


def test_defaults_are_the_contracts(shared_api: Api) -> None:
    record = shared_api.trigger()
    assert (record["trigger"], record["priority"], record["input"], record["scheduled_at"]) == ("manual", 5, {}, None)


@pytest.mark.parametrize("trigger", ["manual", "scheduled", "webhook", "event"])
def test_every_trigger_is_accepted(shared_api: Api, trigger: str) -> None:
    assert shared_api.trigger(trigger=trigger)["trigger"] == trigger


def test_a_job_is_published_at_once_and_a_scheduled_one_is_not(api: Api, api_settings: Settings) -> None:
    api.trigger()
    api.trigger(scheduled_at=LATER)
    api.trigger(scheduled_at="1999-01-01T00:00:00Z")
    with redis.Redis.from_url(api_settings.broker_url) as broker:
        waiting = sum(broker.llen(key) for key in broker.keys("default*"))
    assert waiting == 2
    assert api.execute("SELECT count(*) FROM jobs WHERE published_at IS NULL") == [(1,)]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (LATER, LATER),
        (f"{LATER_DAY}T02:00:00+02:00", LATER),
        (f"{LATER_DAY}T00:00:00.25", f"{LATER_DAY}T00:00:00.250Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_scheduled_at_is_read_with_its_offset_or_as_utc(shared_api: Api, given: str, shown: str) -> None:
    record = shared_api.trigger(scheduled_at=given)
    assert record["scheduled_at"] == shown
    assert shared_api.get(f"{JOBS}/{record['id']}").get_json()["data"] == record


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "application/json; charset=utf-16", "application/json; charset=latin-1"],
)
def test_another_media_type_or_charset_is_unsupported(shared_api: Api, content_type: str) -> None:
    error_of(shared_api.post_raw(b'{"worker_id":"wkr_open"}', content_type=content_type), 415, "unsupported_media_type")


def test_a_request_that_offers_an_upgrade_is_answered_as_one_that_does_not(shared_api: Api) -> None:
    offered = {"connection": "keep-alive, Upgrade", "upgrade": "websocket"}
    made = shared_api.trigger(headers=offered)
    assert shared_api.get(f"{JOBS}/{made['id']}", headers=offered).get_json()["data"]["id"] == made["id"]
    assert shared_api.get(JOBS, headers=offered).status_code == 200


def test_a_body_without_a_media_type_is_unsupported(shared_api: Api) -> None:
    error_of(shared_api.post_raw(b'{"worker_id":"wkr_open"}', content_type=None), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; Charset=UTF-8", 'application/json; charset="utf-8"']
)
def test_json_in_utf_8_is_supported(shared_api: Api, content_type: str) -> None:
    assert (
        shared_api.post_raw(
            '{"worker_id":"wkr_open","input":{"é":"ü"}}'.encode(), content_type=content_type
        ).status_code
        == 201
    )


def test_three_megabytes_are_too_large(shared_api: Api) -> None:
    error_of(
        shared_api.post(JOBS, json={"worker_id": "wkr_open", "input": {"x": "y" * 3_000_000}}), 413, "payload_too_large"
    )


def test_an_input_of_one_mebibyte_is_accepted_and_one_byte_more_is_not(shared_api: Api) -> None:
    most = 2**20 - len('{"x":""}')
    assert shared_api.trigger(input={"x": "y" * most})["input"]["x"] == "y" * most
    error_of(
        shared_api.post(JOBS, json={"worker_id": "wkr_open", "input": {"x": "y" * (most + 1)}}),
        413,
        "payload_too_large",
    )


def test_the_input_limit_counts_bytes_of_utf_8_and_not_of_the_stored_text(shared_api: Api) -> None:
    body = json.dumps({"worker_id": "wkr_open", "input": {"x": "é" * 500_000}}, ensure_ascii=False).encode()
    assert shared_api.post_raw(body).status_code == 201


def test_a_missing_worker_id_is_400_whatever_else_is_wrong(shared_api: Api) -> None:
    fields = wrong_fields(shared_api.post(JOBS, json={"priority": 11}), 400)
    assert set(fields) == {"worker_id", "priority"}


#: What the schema has no words for: test_refused_fields.py has the rest.
_WRONG = (
    ("priority", 1e400),
    *[("scheduled_at", value) for value in ("tomorrow", "2025-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00")],
    *[(name, 1) for name in ("id", "status", "tenant_id", "")],
)


def test_a_wrong_field_is_named(shared_api: Api) -> None:
    before = shared_api.execute(COUNT)
    for field, value in _WRONG:
        body = json.dumps({"worker_id": "wkr_open", field: value}).encode().replace(b"Infinity", b"1e400")
        assert field in wrong_fields(shared_api.post_raw(body))
    assert shared_api.execute(COUNT) == before


@pytest.mark.parametrize("worker_id", ["wkr_unknown", "wkr_01hxyz", "wkr_theirs"])
def test_a_worker_that_the_tenant_cannot_see_is_404(shared_api: Api, worker_id: str) -> None:
    error_of(shared_api.post(JOBS, json={"worker_id": worker_id}), 404, "resource_not_found")


def test_a_deprecated_worker_is_409(api: Api) -> None:
    api.set_status("wkr_open", "deprecated")
    error_of(api.post(JOBS, json={"worker_id": "wkr_open"}), 409, "resource_conflict")


def _nested(levels: int) -> Any:
    value: Any = "deep"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "payload",
    [
        {"x": "\0"},
        {"\0": 1},
        {"x": "\ud800"},
        {"x": "\udc00 \ud83d"},
        {"x": _nested(400)},
        {"x": 7 * 10**399},
        {"x": -0.0},
        {"x": 1e308},
        {"x": [None, True, False, "", {}]},
        {"x": "\u2028<script>&'\""},
        {"": ""},
        {"x": "😀"},
        {"x": "'; DROP TABLE jobs;--"},
        {"x": "%(id)s %s %%"},
    ],
)
def test_strange_but_valid_inputs_survive_the_round_trip(shared_api: Api, payload: Any) -> None:
    record = shared_api.trigger(input=payload)
    assert record["input"] == payload
    assert shared_api.get(f"{JOBS}/{record['id']}").get_json()["data"]["input"] == payload


def test_a_number_beyond_a_double_is_refused_by_name(shared_api: Api) -> None:
    assert "input" in wrong_fields(shared_api.post_raw(b'{"worker_id":"wkr_open","input":{"x":1e400}}'))


# Cancel -------------------------------------------------------------------------------------------------------------


def test_a_queued_job_is_cancelled_at_once(shared_api: Api) -> None:
    job = shared_api.trigger()
    record = shared_api.post(f"{JOBS}/{job['id']}/cancel").get_json()["data"]
    assert (record["status"], record["cancelled_by"], record["error"]) == ("cancelled", "usr_test", None)
    assert record["completed_at"]
    assert record["cancel_requested_at"]
    error_of(shared_api.post(f"{JOBS}/{job['id']}/cancel"), 409, "resource_conflict")


def test_a_running_job_is_asked_to_stop_and_a_second_cancel_succeeds(api: Api) -> None:
    job = api.trigger()
    api.execute("UPDATE jobs SET status = 'running', started_at = now(), run_no = 1, attempt = 1, node_id = %s", NODE)
    first = api.post(f"{JOBS}/{job['id']}/cancel", json={})
    assert first.status_code == 200
    assert first.get_json()["data"]["status"] == "running"
    assert first.get_json()["data"]["cancel_requested_at"]
    assert api.post(f"{JOBS}/{job['id']}/cancel").get_json() == first.get_json()


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_final_job_cannot_be_cancelled(api: Api, status: str) -> None:
    job = api.trigger()
    error = "'E: x'" if status == "failed" else "NULL"
    api.execute(f"UPDATE jobs SET status = '{status}', completed_at = now(), error = {error}")
    assert status in error_of(api.post(f"{JOBS}/{job['id']}/cancel"), 409, "resource_conflict")["message"]


def test_a_cancel_takes_no_fields(shared_api: Api) -> None:
    job = shared_api.trigger()
    assert "force" in wrong_fields(shared_api.post(f"{JOBS}/{job['id']}/cancel", json={"force": True}))
    error_of(shared_api.post_raw(b"{", f"{JOBS}/{job['id']}/cancel"), 400, "bad_request")


# Routes, methods and outages ----------------------------------------------------------------------------------------


def test_an_unknown_route_is_404_and_a_wrong_method_405_with_what_is_allowed(shared_api: Api) -> None:
    for path in (
        "/nope",
        "/v1/ava/jobs/",
        "//v1/ava/jobs",
        "/v1/ava/job",
        "/v1/ava/jobs/x/y/z",
        "/static/x/../../app.py",
    ):
        error_of(shared_api.get(path), 404, "resource_not_found")
    response = shared_api.request("DELETE", JOBS)
    error_of(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD, POST"


def test_options_says_what_is_allowed(shared_api: Api) -> None:
    response = shared_api.request("OPTIONS", JOBS)
    assert (response.status_code, response.data, response.headers["Allow"]) == (204, b"", "GET, HEAD, OPTIONS, POST")


def test_head_is_get_without_a_body(shared_api: Api) -> None:
    job = shared_api.trigger()
    for path, status in ((f"{JOBS}/{job['id']}", 200), (JOBS, 200), (f"{JOBS}/x", 404)):
        head, get = shared_api.request("HEAD", path), shared_api.get(path)
        assert (head.status_code, head.data) == (status, b"")
        assert head.headers["Content-Length"] == get.headers["Content-Length"]


def test_without_its_database_the_api_answers_503_in_time(api_without_database: Api) -> None:
    for response in (api_without_database.get(JOBS), api_without_database.post(JOBS, json={"worker_id": "wkr_open"})):
        error_of(response, 503, "unavailable")
        assert int(response.headers["Retry-After"]) >= 1


def test_an_internal_error_is_reported_without_its_traceback(fresh_api: Api, caplog: pytest.LogCaptureFixture) -> None:
    fresh_api.execute("ALTER TABLE jobs RENAME COLUMN priority TO gone")
    response = fresh_api.get(JOBS)
    error = error_of(response, 500, "internal_error")
    assert "gone" not in response.text
    assert "Traceback" not in response.text
    assert error["request_id"] in [getattr(record, "request_id", None) for record in caplog.records]


def test_without_the_broker_jobs_are_still_accepted(api_settings: Settings) -> None:
    from dataclasses import replace

    with Api.running(replace(api_settings, broker_url="redis://127.0.0.1:1/0")) as api:
        record = api.trigger()
        assert record["status"] == "queued"
        assert api.execute("SELECT published_at FROM jobs") == [(None,)]
        ready = api.get("/readyz", headers=dict.fromkeys(HEADERS))
        assert (ready.status_code, ready.get_json()["status"]) == (200, "degraded")
        assert ready.get_json()["checks"]["broker"]["reason"]


def test_readiness_names_what_is_missing(api: Api, api_without_database: Api) -> None:
    assert api.get("/readyz").get_json() == {
        "status": "ok",
        "checks": {name: {"ok": True} for name in ("database", "migrations", "writes", "disk", "broker")},
    }
    response = api_without_database.get("/readyz")
    assert response.status_code == 503
    assert response.get_json()["checks"]["database"]["ok"] is False
    assert "127.0.0.1" not in response.text
    assert api_without_database.get("/livez").get_json() == {"status": "ok"}


def test_readiness_reports_a_database_that_is_not_migrated(fresh_api: Api) -> None:
    fresh_api.execute("UPDATE alembic_version SET version_num = '0000'")
    assert fresh_api.get("/readyz").get_json()["checks"]["migrations"]["ok"] is False
