"""The routes of schedules: the record, what is refused and why, pages, and the idempotency key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.api import Api, error_of

SCHEDULES = "/v1/ava/schedules"
FIELDS = [
    *("id", "worker_id", "tenant_id", "name", "cron", "timezone", "input", "priority", "enabled", "overlap"),
    *("catch_up", "catch_up_seconds", "spread_seconds", "starts_at", "ends_at", "next_run_at", "last_run_at"),
    *("last_job_id", "created_by", "created_at", "updated_at", "paused", "every_seconds", "approval"),
    "expires_in_seconds",
]
DAILY = {"worker_id": "wkr_open", "cron": "30 9 * * 1-5", "timezone": "Europe/Berlin"}


def _create(api: Api, **fields: Any) -> dict[str, Any]:
    response = api.post(SCHEDULES, json={**DAILY, **fields})
    assert response.status_code == 201, response.text
    record: dict[str, Any] = response.get_json()["data"]
    return record


def _change(api: Api, schedule: dict[str, Any], **fields: Any) -> dict[str, Any]:
    response = api.request("PATCH", f"{SCHEDULES}/{schedule['id']}", json=fields)
    assert response.status_code == 200, response.text
    record: dict[str, Any] = response.get_json()["data"]
    return record


# Create ---------------------------------------------------------------------------------------------------------------


def test_a_schedule_has_the_contracts_fields_in_its_order_and_its_defaults(shared_api: Api) -> None:
    response = shared_api.post(SCHEDULES, json=DAILY)
    record = response.get_json()["data"]
    assert list(record) == FIELDS
    assert response.headers["Location"] == f"{SCHEDULES}/{record['id']}"
    assert record["id"].startswith("sch_")
    expected = {
        "name": None,
        "input": {},
        "priority": 5,
        "enabled": True,
        "overlap": "allow",
        "catch_up": "last",
        "catch_up_seconds": 3600,
        "spread_seconds": 0,
        "starts_at": None,
        "ends_at": None,
        "last_run_at": None,
        "last_job_id": None,
        "approval": None,
        "created_by": "usr_test",
        "tenant_id": "ten_test",
    }
    assert {name: record[name] for name in expected} == expected
    slots = shared_api.get(f"{SCHEDULES}/{record['id']}/next?count=1").get_json()["data"]
    assert [slot["at"] for slot in slots] == [record["next_run_at"]]
    assert shared_api.get(f"{SCHEDULES}/{record['id']}").get_json()["data"] == record


def test_every_field_is_kept_as_it_was_given(shared_api: Api) -> None:
    given = {
        "name": "Täglich \N{ALARM CLOCK}",
        "input": {"a": ["\0", "\ud800", 1]},
        "priority": 1,
        "enabled": False,
        "overlap": "cancel_running",
        "catch_up": "all",
        "catch_up_seconds": 60,
        "spread_seconds": 3600,
        "starts_at": "2030-01-01T00:00:00Z",
        "ends_at": "2031-01-01T00:00:00Z",
        "timezone": "Asia/Calcutta",
    }
    record = _create(shared_api, **given)
    assert {name: record[name] for name in given} == given
    assert record["next_run_at"] is None
    enabled = _change(shared_api, record, enabled=True, spread_seconds=0, timezone="UTC")
    assert enabled["next_run_at"] == "2030-01-01T09:30:00Z"


_WRONG: list[tuple[str, Any]] = [
    ("cron", "0 0 9 * * *"),
    ("cron", "0 0 30 2 *"),
    ("cron", "0 0 31 2 *"),
    ("cron", "0 25 * * *"),
    ("cron", "@midnightish"),
    ("cron", "* " * 10_000),
    ("cron", "0 9 * * \0"),
    ("timezone", "Mars/Base"),
    ("timezone", "../../etc/passwd"),
    ("timezone", "Europe/Berlin\0"),
]


def test_a_wrong_field_is_422_and_named(shared_api: Api) -> None:
    schedule = _create(shared_api)
    for field, value in _WRONG:
        for response in (
            shared_api.post(SCHEDULES, json={**DAILY, field: value}),
            shared_api.request("PATCH", f"{SCHEDULES}/{schedule['id']}", json={field: value}),
        ):
            error = error_of(response, 422, "validation_error")
            assert list(error["fields"]) == [field], (field, value)


def test_the_message_names_the_wrong_field_of_a_pattern(shared_api: Api) -> None:
    error = error_of(shared_api.post(SCHEDULES, json={**DAILY, "cron": "0 25 * * *"}), 422, "validation_error")
    assert "hour" in error["message"]


def test_it_must_end_after_its_start(shared_api: Api) -> None:
    dates = {"starts_at": "2030-01-01T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"}
    error = error_of(shared_api.post(SCHEDULES, json={**DAILY, **dates}), 422, "validation_error")
    assert list(error["fields"]) == ["ends_at"]
    schedule = _create(shared_api, starts_at="2030-01-01T00:00:00Z")
    response = shared_api.request("PATCH", f"{SCHEDULES}/{schedule['id']}", json={"ends_at": "2029-01-01T00:00:00Z"})
    error_of(response, 422, "validation_error")


@pytest.mark.parametrize("timestamp", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_the_ends_of_the_calendar_are_moments_too(shared_api: Api, timestamp: str) -> None:
    assert _create(shared_api, starts_at=timestamp)["starts_at"] == timestamp
    assert _create(shared_api, ends_at=timestamp)["ends_at"] == timestamp


def test_an_input_of_a_schedule_is_bounded(shared_api: Api) -> None:
    _create(shared_api, input={"a": "x" * 65_000})
    response = shared_api.post(SCHEDULES, json={**DAILY, "input": {"a": "x" * 65_600}})
    message = error_of(response, 413, "payload_too_large")["message"]
    assert "65,536" in message
    assert message.endswith("(limit schedule_input_bytes)")


def test_the_worker_must_be_one_that_the_tenant_sees(shared_api: Api) -> None:
    for worker in ("wkr_none", "wkr_theirs"):
        error_of(shared_api.post(SCHEDULES, json={**DAILY, "worker_id": worker}), 404, "resource_not_found")
    schedule = _create(shared_api)
    response = shared_api.request("PATCH", f"{SCHEDULES}/{schedule['id']}", json={"worker_id": "wkr_theirs"})
    error_of(response, 404, "resource_not_found")


def test_a_tenant_has_a_limit_with_a_name(api: Api) -> None:
    api.app.extensions["ava"].schedules._max_schedules = 2
    first = _create(api)
    _create(api)
    message = error_of(api.post(SCHEDULES, json=DAILY), 409, "resource_conflict")["message"]
    assert "AVA_MAX_SCHEDULES" in message
    assert message.endswith("(limit schedules)")
    other = {"x-tenant-id": "ten_other"}
    assert api.post(SCHEDULES, json=DAILY, headers=other).status_code == 201
    assert api.request("DELETE", f"{SCHEDULES}/{first['id']}").status_code == 200
    _create(api)


# Change and delete ----------------------------------------------------------------------------------------------------


def test_a_change_of_the_pattern_makes_the_next_firing_the_first_from_now(shared_api: Api) -> None:
    schedule = _create(shared_api, cron="0 0 1 1 *", timezone="UTC")
    changed = _change(shared_api, schedule, cron="* * * * *")
    next_run = datetime.fromisoformat(changed["next_run_at"])
    assert timedelta(0) <= next_run - datetime.now(UTC) + timedelta(seconds=5) <= timedelta(seconds=65)
    before, after = (datetime.fromisoformat(record["updated_at"]) for record in (schedule, changed))
    assert after > before


def test_disabling_stops_it_and_enabling_catches_nothing_up(api: Api) -> None:
    schedule = _create(api, cron="* * * * *")
    assert _change(api, schedule, enabled=False)["next_run_at"] is None
    api.execute("UPDATE schedules SET decided_until = now() - interval '1 day'")
    enabled = _change(api, schedule, enabled=True)
    assert datetime.fromisoformat(enabled["next_run_at"]) > datetime.now(UTC) - timedelta(seconds=5)


def test_enabled_is_the_opposite_of_paused(api: Api) -> None:
    schedule = _create(api)
    disabled = _change(api, schedule, enabled=False)
    assert (disabled["paused"]["by"]["id"], disabled["paused"]["reason"]) == ("usr_test", None)
    # A second pause changes nothing.
    assert _change(api, schedule, enabled=False) == disabled
    assert api.post(f"{SCHEDULES}/{schedule['id']}/pause", json={"reason": "x"}).get_json()["data"] == disabled
    resumed = api.post(f"{SCHEDULES}/{schedule['id']}/resume").get_json()["data"]
    assert (resumed["enabled"], resumed["paused"]) == (True, None)
    assert resumed["next_run_at"] is not None


@pytest.mark.parametrize(
    ("given", "is_paused"),
    [({"paused": True}, True), ({"paused": False}, False), ({"enabled": False, "paused": True}, True), ({}, False)],
)
def test_a_schedule_is_created_paused(api: Api, given: dict[str, bool], is_paused: bool) -> None:
    made = _create(api, **given)
    assert (made["enabled"], made["paused"] is not None, made["next_run_at"] is None) == (
        not is_paused, is_paused, is_paused,
    )  # fmt: skip
    if is_paused:
        assert made["paused"]["by"]["id"] == "usr_test"


def test_a_schedule_is_not_both_enabled_and_paused(api: Api) -> None:
    body = {"worker_id": "wkr_open", "cron": "* * * * *", "timezone": "UTC", "enabled": True, "paused": True}
    assert "paused" in error_of(api.post(SCHEDULES, json=body), 422, "validation_error")["fields"]


def test_a_change_of_another_field_keeps_what_is_due(api: Api) -> None:
    schedule = _create(api, cron="* * * * *")
    api.execute("UPDATE schedules SET decided_until = now() - interval '1 hour'")
    changed = _change(api, schedule, name="still due", catch_up="all")
    assert datetime.fromisoformat(changed["next_run_at"]) < datetime.now(UTC) - timedelta(minutes=50)


def test_a_deleted_schedule_is_gone_at_once(shared_api: Api) -> None:
    schedule = _create(shared_api)
    deleted = shared_api.request("DELETE", f"{SCHEDULES}/{schedule['id']}")
    assert deleted.get_json() == {"data": {"id": schedule["id"], "deleted": True}}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/next"), ("GET", "/firings"), ("POST", "/run")):
        response = shared_api.request(
            method, f"{SCHEDULES}/{schedule['id']}{path}", json={} if method == "POST" else None
        )
        error_of(response, 404, "resource_not_found")


# Lists ----------------------------------------------------------------------------------------------------------------


def test_schedules_are_listed_newest_first_and_by_filters(api: Api) -> None:
    made = [_create(api, enabled=number % 2 == 0)["id"] for number in range(5)]
    other = _create(api, worker_id="wkr_paused")["id"]
    assert [each["id"] for each in api.get(SCHEDULES).get_json()["data"]] == [other, *reversed(made)]
    found = api.get(f"{SCHEDULES}?filter[worker_id]=wkr_open&filter[enabled]=true").get_json()
    assert [each["id"] for each in found["data"]] == [made[4], made[2], made[0]]
    assert found["pagination"]["total"] == 3


def test_firings_are_listed_newest_first(api: Api) -> None:
    schedule = _create(api)
    api.execute(
        "INSERT INTO schedule_firings (tenant_id, schedule_id, timezone, slot, fold, at, outcome, reason, job_id)"
        " SELECT tenant_id, id, 'Europe/Berlin', timestamp '2026-10-25 02:00' + mod(n, 2) * interval '30 minutes',"
        " n / 2, timestamptz '2026-10-25 00:00Z' + n * interval '30 minutes',"
        " CASE WHEN n = 0 THEN 'missed' ELSE 'fired' END,"
        " CASE WHEN n = 0 THEN 'why' END, CASE WHEN n > 0 THEN ava_uuid7() END"
        " FROM schedules, generate_series(0, 3) AS n"
    )
    path = f"{SCHEDULES}/{schedule['id']}/firings"
    whole = api.get(path).get_json()
    assert [(each["slot"], each["at"][11:16]) for each in whole["data"]] == [
        ("2026-10-25T02:30", "01:30"),
        ("2026-10-25T02:00", "01:00"),
        ("2026-10-25T02:30", "00:30"),
        ("2026-10-25T02:00", "00:00"),
    ]
    assert whole["data"][3] == {
        "slot": "2026-10-25T02:00",
        "at": "2026-10-25T00:00:00Z",
        "outcome": "missed",
        "reason": "why",
        "job_id": None,
    }
    assert whole["pagination"]["total"] == 4


# Next, preview, run ---------------------------------------------------------------------------------------------------


def test_next_lists_slots_with_their_notes(shared_api: Api) -> None:
    schedule = _create(shared_api, cron="30 2 * * *", starts_at="2026-10-24T00:00:00Z", ends_at="2026-10-27T00:00:00Z")
    slots = shared_api.get(f"{SCHEDULES}/{schedule['id']}/next?count=50").get_json()["data"]
    assert all(list(slot) == ["slot", "at", "note"] for slot in slots)


def test_a_preview_describes_a_pattern_and_lists_its_slots(api: Api) -> None:
    response = api.post(f"{SCHEDULES}/preview", json={"cron": "30 9 * * 1-5", "timezone": "Europe/Berlin", "count": 3})
    preview = response.get_json()["data"]
    assert list(preview) == ["description", "next"]
    assert preview["description"].endswith("09:30, Berlin time")
    assert [slot["slot"][11:] for slot in preview["next"]] == ["09:30"] * 3
    assert api.get(SCHEDULES).get_json()["data"] == []
    # It needs no role that may write, and leaves no trace.
    reader = {"x-platform-role": "tenant-user"}
    body = {"cron": "0 0 30 2 *", "timezone": "Europe/Berlin"}
    error_of(api.post(f"{SCHEDULES}/preview", json=body, headers=reader), 422, "validation_error")
    actions = [entry["action"] for entry in api.get("/v1/ava/audit").get_json()["data"]]
    assert "schedules.show_preview" not in actions


def test_an_interval_replaces_the_pattern_and_the_time_zone(shared_api: Api) -> None:
    every = {"worker_id": "wkr_open", "every_seconds": 10}
    record = shared_api.post(SCHEDULES, json=every).get_json()["data"]
    assert (record["cron"], record["timezone"], record["every_seconds"]) == (None, None, 10)
    slots = shared_api.get(f"{SCHEDULES}/{record['id']}/next?count=6").get_json()["data"]
    assert sorted(int(slot["at"][17:19]) for slot in slots) == [0, 10, 20, 30, 40, 50]
    assert {slot["note"] for slot in slots} == {None}
    preview = shared_api.post(f"{SCHEDULES}/preview", json={"every_seconds": 1, "count": 2}).get_json()["data"]
    assert (preview["description"], len(preview["next"])) == ("Every second", 2)
    changed = _change(shared_api, record, every_seconds=15)
    assert changed["every_seconds"] == 15
    by_cron = _change(shared_api, record, cron="0 9 * * *", timezone="UTC")
    assert (by_cron["cron"], by_cron["timezone"], by_cron["every_seconds"]) == ("0 9 * * *", "UTC", None)
    again = _change(shared_api, record, every_seconds=59)
    assert (again["cron"], again["timezone"], again["every_seconds"]) == (None, None, 59)


@pytest.mark.parametrize(
    ("fields", "status", "wrong"),
    [
        ({"every_seconds": 10, "cron": "* * * * *"}, 422, "cron"),
        ({"every_seconds": 10, "timezone": "UTC"}, 422, "timezone"),
        ({}, 400, "cron"),
        ({"cron": "* * * * *"}, 400, "timezone"),
    ],
)
def test_a_schedule_has_either_an_interval_or_a_pattern(
    shared_api: Api, fields: dict[str, Any], status: int, wrong: str
) -> None:
    for path, more in ((SCHEDULES, {"worker_id": "wkr_open"}), (f"{SCHEDULES}/preview", {})):
        error = error_of(shared_api.post(path, json={**more, **fields}), status, "validation_error")
        assert list(error["fields"]) == [wrong]


def test_a_pattern_without_a_time_zone_does_not_replace_an_interval(shared_api: Api) -> None:
    record = shared_api.post(SCHEDULES, json={"worker_id": "wkr_open", "every_seconds": 10}).get_json()["data"]
    response = shared_api.request("PATCH", f"{SCHEDULES}/{record['id']}", json={"cron": "* * * * *"})
    assert list(error_of(response, 422, "validation_error")["fields"]) == ["timezone"]


def test_run_now_makes_a_manual_job_and_no_firing(shared_api: Api) -> None:
    schedule = _create(shared_api, input={"a": 1}, priority=3)
    headers = {"Idempotency-Key": "now"}
    responses = [shared_api.post(f"{SCHEDULES}/{schedule['id']}/run", headers=headers) for _ in range(2)]
    job = responses[0].get_json()["data"]
    assert (job["trigger"], job["triggered_by"], job["input"], job["priority"]) == ("manual", "usr_test", {"a": 1}, 3)
    assert responses[1].get_json()["data"]["id"] == job["id"]
    assert responses[0].headers["Location"] == f"/v1/ava/jobs/{job['id']}"
    assert shared_api.get(f"{SCHEDULES}/{schedule['id']}").get_json()["data"] == schedule
    assert shared_api.get(f"{SCHEDULES}/{schedule['id']}/firings").get_json()["data"] == []


def test_the_audit_trail_keeps_the_old_and_new_values_of_a_changed_schedule(api: Api) -> None:
    schedule = _create(api, input={"a": 1})
    _change(api, schedule, cron="0 8 * * *", timezone="UTC", input={"a": 2}, priority=7, overlap="allow", name="New")
    (entry,) = api.get("/v1/ava/audit?filter[action]=schedules.change").get_json()["data"]
    assert entry["target"] == schedule["id"]
    # What has the same value as before is no change.
    assert entry["changes"] == {
        "cron": ["30 9 * * 1-5", "0 8 * * *"],
        "timezone": ["Europe/Berlin", "UTC"],
        "input": [{"a": 1}, {"a": 2}],
        "priority": [5, 7],
        "name": [None, "New"],
    }


def test_the_audit_trail_keeps_no_values_of_a_refused_change(api: Api) -> None:
    schedule = _create(api)
    error_of(api.request("PATCH", f"{SCHEDULES}/{schedule['id']}", json={"cron": "x"}), 422, "validation_error")
    (entry,) = api.get("/v1/ava/audit?filter[action]=schedules.change").get_json()["data"]
    assert (entry["status"], entry["changes"]) == (422, None)
