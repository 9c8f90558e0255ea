"""Expiry: a job whose handler was not entered in time never begins, and is cancelled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ava.dispatcher.duties.statistics import EndedJobs
from ava.dispatcher.duties.waiting_jobs import cancel_expired_jobs
from harness.api import JOBS, Api, wrong_fields
from tests.runs import claim_by_node

LONGEST = 31_622_400


def _show(api: Api, job_id: str) -> dict[str, Any]:
    record: dict[str, Any] = api.get(f"{JOBS}/{job_id}").get_json()["data"]
    return record


def _let_expire(api: Api) -> None:
    """A moment passes for each job that expires, and the dispatcher has not looked yet."""
    api.execute(
        "UPDATE jobs SET expires_at = now() - interval '1 ms' WHERE expires_at IS NOT NULL AND status = 'queued'"
    )


def _expire(api: Api) -> int:
    return cancel_expired_jobs(api.database)


def _seconds(record: dict[str, Any], since: str) -> float:
    begins = datetime.fromisoformat(record[since])
    return (datetime.fromisoformat(record["expires_at"]) - begins).total_seconds()


def _post(api: Api, **fields: Any) -> TestResponse:
    return api.post(JOBS, json={"worker_id": "wkr_open", **fields})


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"expires_in_seconds": 60, "start_before": "2099-01-01T00:00:00Z"}, "start_before"),
        ({"scheduled_at": "2026-12-01T00:00:00Z", "start_before": "2026-12-01T00:00:00Z"}, "start_before"),
        ({"start_before": "2027-01-01T00:00:00Z", "debounce": {"key": "k", "seconds": 5}}, "start_before"),
    ],
)
def test_a_wrong_expiry_is_refused_by_its_name(shared_api: Api, fields: dict[str, Any], wrong: str) -> None:
    assert wrong in wrong_fields(_post(shared_api, **fields))
    response = shared_api.post(
        f"{JOBS}/bulk", json={"jobs": [{"worker_id": "wkr_open"}, {"worker_id": "wkr_open", **fields}]}
    )
    assert f"jobs[1].{wrong}" in wrong_fields(response)


def test_an_expiry_counts_from_the_date_else_from_the_creation(api: Api) -> None:
    assert api.trigger()["expires_at"] is None
    assert _seconds(api.trigger(expires_in_seconds=LONGEST), "created_at") == pytest.approx(LONGEST, abs=1)
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert _seconds(api.trigger(expires_in_seconds=60, scheduled_at=later), "scheduled_at") == 60
    # A date in the past means now.
    earlier = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert _seconds(api.trigger(expires_in_seconds=60, scheduled_at=earlier), "created_at") == pytest.approx(60, abs=1)
    before = (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="seconds")
    dated = api.trigger(start_before=before, scheduled_at=later)
    assert datetime.fromisoformat(dated["expires_at"]) == datetime.fromisoformat(before)


def test_the_triggers_expiry_holds_over_the_workers(api: Api) -> None:
    api.execute("UPDATE workers SET expires_in_seconds = 600 WHERE id = 'wkr_open'")
    assert _seconds(api.trigger(), "created_at") == pytest.approx(600, abs=1)
    assert _seconds(api.trigger(expires_in_seconds=60, tags={"a": "1"}), "created_at") == pytest.approx(60, abs=1)
    assert api.get("/v1/ava/workers/wkr_open").get_json()["data"]["expires_in_seconds"] == 600


def test_a_job_that_has_expired_is_refused_to_a_claim_and_then_cancelled(api: Api) -> None:
    job, other = api.trigger(expires_in_seconds=60), api.trigger()
    assert _expire(api) == 0
    assert "it expires if it has not started by" in api.get(f"{JOBS}/{job['id']}/why").get_json()["data"]["sentence"]
    _let_expire(api)
    assert not claim_by_node(api, job)
    assert _show(api, job["id"])["status"] == "queued"
    assert _expire(api) == 1
    expired = _show(api, job["id"])
    assert expired["status"] == "cancelled"
    assert expired["error"] == f"Expired: not started by {expired['expires_at']}"
    assert (expired["cancelled_by"], expired["started_at"]) == (None, None)
    assert expired["cancel_requested_at"]
    assert expired["error"] in api.get(f"{JOBS}/{job['id']}/why").get_json()["data"]["sentence"]
    assert _show(api, other["id"])["status"] == "queued"


def test_an_expired_job_frees_its_key_and_is_retried_with_the_same_seconds(api: Api) -> None:
    rule = {"key": "k", "mode": "refuse"}
    job = api.trigger(expires_in_seconds=60, dedupe=rule)
    # The earlier job's expiry stays.
    again = api.trigger(expires_in_seconds=900, dedupe={"key": "k"})
    assert (again["id"], again["expires_at"]) == (job["id"], job["expires_at"])
    _let_expire(api)
    assert _expire(api) == 1
    assert api.trigger(dedupe=rule)["id"] != job["id"]
    first = "id = (SELECT id FROM jobs ORDER BY id LIMIT 1)"
    api.execute(f"UPDATE jobs SET expires_at = created_at + interval '60 s' WHERE {first}")
    retried = api.post(f"{JOBS}/{job['id']}/retry").get_json()["data"]
    assert _seconds(retried, "created_at") == pytest.approx(60, abs=1)


def test_the_expiry_of_a_debounced_job_counts_from_its_due_time(api: Api) -> None:
    first = api.trigger(expires_in_seconds=60, debounce={"key": "k", "seconds": 500})
    assert _seconds(first, "scheduled_at") == 60
    debounced = api.trigger(expires_in_seconds=70, debounce={"key": "k", "seconds": 900, "keep": "first"})
    assert (debounced["id"], _seconds(debounced, "scheduled_at")) == (first["id"], 60)
    last = api.trigger(expires_in_seconds=70, debounce={"key": "k", "seconds": 900})
    assert (last["id"], _seconds(last, "scheduled_at")) == (first["id"], 70)


def test_analytics_count_expired_jobs_apart(api: Api) -> None:
    for _ in range(3):
        api.trigger(expires_in_seconds=60)
    cancelled = api.trigger()
    assert api.post(f"{JOBS}/{cancelled['id']}/cancel").status_code == 200
    _let_expire(api)
    assert _expire(api) == 3
    for _ in range(2):
        # The second call counts what the first one has seen.
        EndedJobs(api.database).run_once(0)
    found = api.get("/v1/ava/analytics?group_by=day").get_json()["data"]
    assert {name: found["jobs"][name] for name in ("total", "cancelled", "expired")} == {
        "total": 4, "cancelled": 4, "expired": 3
    }  # fmt: skip
    assert found["by_worker"]["wkr_open"]["expired"] == 3
    assert found["series"][-1]["expired"] == 3


def test_a_schedule_says_when_its_jobs_expire(api: Api) -> None:
    body = {"worker_id": "wkr_open", "cron": "0 0 1 1 *", "timezone": "UTC", "expires_in_seconds": 90}
    made = api.post("/v1/ava/schedules", json=body).get_json()["data"]
    assert (list(made)[-1], made["expires_in_seconds"]) == ("expires_in_seconds", 90)
    job = api.post(f"/v1/ava/schedules/{made['id']}/run").get_json()["data"]
    assert _seconds(job, "created_at") == pytest.approx(90, abs=1)
    changed = api.request("PATCH", f"/v1/ava/schedules/{made['id']}", json={"expires_in_seconds": None})
    assert changed.get_json()["data"]["expires_in_seconds"] is None
    wrong = api.request("PATCH", f"/v1/ava/schedules/{made['id']}", json={"expires_in_seconds": 0})
    assert "expires_in_seconds" in wrong_fields(wrong)
