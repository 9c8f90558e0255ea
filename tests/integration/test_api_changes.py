"""`PATCH /v1/ava/jobs/:id`: what waits is changed, exactly beside its start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from harness.api import JOBS, Api, error_of, wrong_fields
from harness.timestamps import LATER
from tests.runs import claim_by_node


def _patch(api: Api, job: dict[str, Any], **changes: Any) -> TestResponse:
    return api.request("PATCH", f"{JOBS}/{job['id']}", json=changes)


def _changed(api: Api, job: dict[str, Any], **changes: Any) -> dict[str, Any]:
    response = _patch(api, job, **changes)
    assert response.status_code == 200, response.text
    record: dict[str, Any] = response.get_json()["data"]
    assert record == api.get(f"{JOBS}/{job['id']}").get_json()["data"]
    return record


def _row(api: Api, columns: str) -> Any:
    ((*values,),) = api.execute(f"SELECT {columns} FROM jobs")
    return values[0] if len(values) == 1 else tuple(values)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"scheduled_at": "2030-01-01T00:00:00Z"}, "scheduled_at"),
        ({"tags": {"A B": "x"}}, "tags"),
        ({"start_before": LATER}, "start_before"),
    ],
)
def test_a_wrong_change_is_refused_by_its_name(shared_api: Api, changes: dict[str, Any], wrong: str) -> None:
    job = shared_api.trigger()
    fields = error_of(_patch(shared_api, job, **changes), 422, "validation_error").get("fields", {})
    assert wrong in fields
    assert shared_api.get(f"{JOBS}/{job['id']}").get_json()["data"] == job


def test_the_same_priority_and_other_tags_leave_the_message(api: Api) -> None:
    job = api.trigger(priority=5, tags={"a": "1", "b": "2"})
    changed = _changed(api, job, priority=5, tags={"b": "2", "c": "3"})
    assert changed["tags"] == {"b": "2", "c": "3"}
    for tag, count in (("a", 0), ("b", 1), ("c", 1)):
        value = {"a": "1", "b": "2", "c": "3"}[tag]
        assert len(api.get(f"{JOBS}?filter[tag.{tag}]={value}").get_json()["data"]) == count
    assert claim_by_node(api, job, run_no=1)
    assert _changed(api, api.trigger(tags={"a": "1"}), tags={})["tags"] == {}


def test_a_date_is_set_moved_and_taken_away(api: Api) -> None:
    job = api.trigger()
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    dated = _changed(api, job, scheduled_at=later.isoformat())
    assert datetime.fromisoformat(dated["scheduled_at"]) == later
    assert _row(api, "waits_for, published_at IS NULL, run_at = scheduled_at") == ("schedule", True, True)
    assert not claim_by_node(api, job, run_no=1)
    _changed(api, job, scheduled_at=(later + timedelta(hours=1)).isoformat())
    assert _row(api, "run_at = scheduled_at") is True
    assert _changed(api, job, scheduled_at=None)["scheduled_at"] is None
    assert _row(api, "waits_for IS NULL AND run_at IS NULL") is True


def test_an_expiry_counts_from_the_change_or_from_a_later_date(api: Api) -> None:
    job = api.trigger()
    api.execute("UPDATE jobs SET created_at = created_at - interval '1 hour'")
    now = datetime.now(UTC)
    expires = datetime.fromisoformat(_changed(api, job, expires_in_seconds=60)["expires_at"])
    assert timedelta(seconds=59) < expires - now < timedelta(seconds=90)
    later = now.replace(microsecond=0) + timedelta(hours=1)
    fields = wrong_fields(_patch(api, job, scheduled_at=later.isoformat()))
    assert "expires_in_seconds" in fields["scheduled_at"][0]
    dated = _changed(api, job, scheduled_at=later.isoformat(), expires_in_seconds=60)
    assert datetime.fromisoformat(dated["expires_at"]) == later + timedelta(seconds=60)
    assert _changed(api, job, expires_in_seconds=None)["expires_at"] is None


def test_what_has_started_keeps_its_date_and_its_expiry(api: Api) -> None:
    job = api.trigger(expires_in_seconds=60)
    assert claim_by_node(api, job, run_no=1)
    error_of(_patch(api, job, priority=1), 409, "resource_conflict")
    api.execute("UPDATE jobs SET status = 'queued', started_at = NULL, node_id = NULL, published_at = NULL")
    assert "scheduled_at" in error_of(_patch(api, job, scheduled_at=LATER), 409, "resource_conflict")["message"]
    error_of(_patch(api, job, expires_in_seconds=None), 409, "resource_conflict")
    assert _changed(api, job, priority=2, tags={"a": "1"})["priority"] == 2


def test_a_change_is_audited_and_no_more_urgent_than_the_tenant_may_be(api: Api) -> None:
    job = api.trigger(priority=9)
    operator = {"x-platform-role": "platform-admin"}
    limits = {"most_urgent_priority": 4}
    assert api.put("/v1/ava/tenants/ten_test/limits", json=limits, headers=operator).status_code == 200
    assert _changed(api, job, priority=1)["priority"] == 4
    (entry,) = api.get("/v1/ava/audit?filter[action]=jobs.change").get_json()["data"]
    assert (entry["target"], entry["changes"]) == (job["id"], {"priority": [9, 4]})


def test_a_trigger_may_lower_the_attempts_of_its_job(api: Api) -> None:
    api.execute("UPDATE workers SET max_retries = 5 WHERE id = 'wkr_open'")
    assert api.trigger()["max_attempts"] == 6
    assert api.trigger(max_retries=2)["max_attempts"] == 3
    assert api.trigger(max_retries=0)["max_attempts"] == 1
    assert api.trigger(max_retries=25)["max_attempts"] == 6
