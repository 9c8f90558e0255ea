"""Groups of errors: each failed job counts once, in the group of its fingerprint."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from string import ascii_lowercase
from typing import Any

import pytest

from ava.dispatcher.duties.statistics import EndedJobs
from ava.domain.limits.table import ERROR_VARIANTS
from ava.settings import Settings
from ava.store.errors import counting
from harness.api import NODE, Api

ERRORS = "/v1/ava/errors"
_DAY = 86_400
HOOKS = "/v1/webhooks"


@pytest.fixture
def api(database_settings: Settings) -> Iterator[Api]:
    with Api.running(replace(database_settings, encryption_keys=(os.urandom(32),))) as api:
        yield api


def fail_jobs(api: Api, *errors: str, seconds_ago: float = 10, worker_id: str = "wkr_open") -> None:
    """Make failed jobs, whose runs could not write their group."""
    for error in errors:
        api.execute(
            "INSERT INTO jobs (tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, started_at,"
            " completed_at, node_id, run_no, attempt, max_attempts, error) VALUES ('ten_test', %s, 'failed', 'manual',"
            f" 5, 'default', '{{}}', 'usr_test', now(), now() - %s * interval '1 second', '{NODE}', 1, 1, 1, %s)",
            worker_id,
            seconds_ago,
            error,
        )


def _groups(api: Api, **query: Any) -> list[dict[str, Any]]:
    response = api.get(ERRORS, query_string=query)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.get_json()["data"]
    return found


def _events(api: Api) -> list[str]:
    return [kind for (kind,) in api.execute("SELECT type FROM webhook_events ORDER BY n")]


def test_failed_jobs_are_grouped_and_counted_once(api: Api) -> None:
    fail_jobs(
        api, "ValueError: no channel 17", "ValueError: no channel 4", "KeyError: 'job_01jwnqrgt0e3rt0q9vz5k8x2mc'"
    )
    assert EndedJobs(api.database).run_once(0) == 2
    assert EndedJobs(api.database).run_once(0) == 0
    found = {group["kind"]: group for group in _groups(api)}
    group = found["ValueError"]
    assert list(group) == [
        *("id", "worker_id", "kind", "message", "variants", "count"),
        *("first_seen_at", "last_seen_at", "status", "sample_job_id", "daily"),
    ]
    assert (group["message"], group["count"], group["status"]) == ("no channel *", 2, "open")
    assert sum(day["jobs"] for day in group["daily"]) == 2
    assert found["KeyError"]["message"] == "'*'"
    assert api.get(f"{ERRORS}/{group['id']}").get_json()["data"] == group
    assert api.execute("SELECT count(*) FROM jobs WHERE error_id IS NULL") == [(0,)]
    listed = api.get("/v1/ava/jobs", query_string={"filter[error_id]": group["id"]}).get_json()["data"]
    assert {job["error"] for job in listed} == {"ValueError: no channel 17", "ValueError: no channel 4"}


def test_a_group_lists_the_first_different_messages_of_its_place(api: Api) -> None:
    def fail(*errors: str) -> Sequence[str]:
        fail_jobs(api, *errors)
        # Their runs wrote the group of their place.
        api.execute("UPDATE jobs SET error_id = '3f2504e0-4f89-81d3-8a0c-0305e82c3301'")
        EndedJobs(api.database).run_once(0)
        (group,) = _groups(api)
        assert (group["message"], group["count"]) == (group["variants"][0], next(numbers))
        variants: Sequence[str] = group["variants"]
        return variants

    numbers = iter((2, 5, 25, 26))
    assert len(fail("ValueError: no address 1 of north", "ValueError: no address 2 of north")) == 1
    found = fail(*(f"ValueError: no address 3 of {place}" for place in ("south", 'a"b\\', "north")))
    assert found[0] == "no address * of north"
    assert sorted(found[1:]) == ['no address * of a"b\\', "no address * of south"]
    more = fail(*(f"ValueError: no address of {letter * 3}" for letter in ascii_lowercase[:20]))
    assert (more[:3], len(more), len(set(more))) == (found, ERROR_VARIANTS.value, ERROR_VARIANTS.value)
    assert fail("ValueError: ") == more


def test_what_comes_back_after_it_was_resolved_is_open_again(api: Api) -> None:
    hook = {"url": "https://example.com/h", "events": ["ava.error.opened", "ava.error.regressed"], "secret": "x" * 20}
    assert api.post(HOOKS, json=hook).status_code == 201
    fail_jobs(api, "ValueError: no channel 1")
    EndedJobs(api.database).run_once(0)
    (group,) = _groups(api)
    assert _events(api) == ["ava.error.opened"]
    assert api.post(f"{ERRORS}/{group['id']}/resolve").get_json()["data"]["status"] == "resolved"
    # A job that failed before the group was resolved, and is counted later, does not open it.
    fail_jobs(api, "ValueError: no channel 2", seconds_ago=20)
    EndedJobs(api.database).run_once(0)
    assert _groups(api)[0]["status"] == "resolved"
    api.execute("UPDATE error_groups SET resolved_at = now() - interval '1 hour'")
    fail_jobs(api, "ValueError: no channel 3", seconds_ago=3)
    EndedJobs(api.database).run_once(0)
    assert _groups(api)[0]["status"] == "open"
    assert _events(api) == ["ava.error.opened", "ava.error.regressed"]


def test_a_time_range_has_the_groups_that_failed_in_it_with_the_failures_of_its_days(api: Api) -> None:
    fail_jobs(api, "AError: x", "BError: x", seconds_ago=10 * _DAY)
    fail_jobs(api, "AError: x", seconds_ago=0)
    fail_jobs(api, "CError: x", seconds_ago=40 * _DAY)
    EndedJobs(api.database).run_once(0)

    def counts(since: float | None, until: float | None) -> dict[str, int]:
        days = {"since": since, "until": until}
        query = {name: _days_ago(ago) for name, ago in days.items() if ago is not None}
        found = {group["kind"]: group["count"] for group in _groups(api, **query)}
        for group in _groups(api, **query):
            shown = api.get(f"{ERRORS}/{group['id']}", query_string=query).get_json()["data"]
            assert shown == group
        return found

    assert counts(None, None) == {"AError": 2, "BError": 1}
    assert counts(11, None) == {"AError": 2, "BError": 1}
    assert counts(11, 9) == {"AError": 1, "BError": 1}
    assert counts(9, None) == {"AError": 1}
    assert counts(8, 2) == {}
    assert counts(50, 12) == {"CError": 1}
    assert api.get(ERRORS, query_string={"since": _days_ago(1), "until": _days_ago(2)}).status_code == 400


def _days_ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def test_an_ignored_group_is_counted_and_says_nothing(api: Api) -> None:
    fail_jobs(api, "ValueError: 1", seconds_ago=20)
    EndedJobs(api.database).run_once(0)
    (group,) = _groups(api)
    assert api.post(f"{ERRORS}/{group['id']}/ignore").get_json()["data"]["status"] == "ignored"
    fail_jobs(api, "ValueError: 2", seconds_ago=5)
    EndedJobs(api.database).run_once(0)
    assert [(each["status"], each["count"]) for each in _groups(api)] == [("ignored", 2)]
    assert _groups(api, **{"filter[status]": "open"}) == []
    assert api.post(f"{ERRORS}/{group['id']}/reopen").get_json()["data"]["status"] == "open"


def test_a_tenant_has_no_more_groups_than_it_may(api: Api) -> None:
    fail_jobs(api, "AError: a", "BError: b", "CError: c", "DError: d")
    EndedJobs(api.database, max_groups=2).run_once(0)
    found = _groups(api)
    assert len(found) == 3
    (other,) = [group for group in found if group["kind"] == "Other"]
    assert other["count"] == 2
    listed = api.get("/v1/ava/jobs", query_string={"filter[error_id]": other["id"]}).get_json()["data"]
    assert len(listed) == 2


def test_groups_are_filtered_by_worker_the_last_seen_first(api: Api) -> None:
    for n, kind in enumerate("ABC"):
        fail_jobs(api, f"{kind}Error: x", seconds_ago=10 + n)
    fail_jobs(api, "DError: x", worker_id="wkr_other", seconds_ago=30)
    EndedJobs(api.database).run_once(0)
    assert [group["kind"] for group in _groups(api)] == ["AError", "BError", "CError", "DError"]
    assert [group["kind"] for group in _groups(api, **{"filter[worker_id]": "wkr_other"})] == ["DError"]


def test_a_dispatcher_that_dies_within_a_batch_counts_nothing_twice(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_jobs(api, "ValueError: 1", "ValueError: 2")
    with monkeypatch.context() as patch:
        patch.setattr(counting, "store", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            EndedJobs(api.database).run_once(0)
    assert _groups(api) == []
    assert api.execute("SELECT count(*) FROM job_counts") == [(0,)]
    EndedJobs(api.database).run_once(0)
    assert [group["count"] for group in _groups(api)] == [2]


def test_the_jobs_of_a_group_are_retried_the_newest_first(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_jobs(api, *(f"ValueError: {n}" for n in range(5)), "KeyError: x")
    EndedJobs(api.database).run_once(0)
    group = next(group for group in _groups(api) if group["kind"] == "ValueError")
    # The ids were made within one millisecond, by which a filter is bounded.
    api.execute(
        "UPDATE jobs SET id = overlay(id::text PLACING substr(error, 13, 1) FROM 3)::uuid WHERE error LIKE %s",
        "ValueError%",
    )
    started = api.post(f"{ERRORS}/{group['id']}/retry", headers={"idempotency-key": "r"})
    assert (started.status_code, started.get_json()["data"]["kind"]) == (202, "retry")
    operation = started.get_json()["data"]
    assert (operation["state"], operation["total"], operation["done"]) == ("done", 5, 5)
    assert api.execute("SELECT count(*) FROM jobs WHERE retry_of IS NOT NULL") == [(5,)]
    again = api.post(f"{ERRORS}/{group['id']}/retry", headers={"idempotency-key": "r"})
    assert again.get_json()["data"]["id"] == operation["id"]
    monkeypatch.setattr("ava.services.error_groups.MAX_RETRIED", 2)
    assert api.post(f"{ERRORS}/{group['id']}/retry").get_json()["data"]["total"] == 2


def test_old_groups_are_deleted(api: Api) -> None:
    fail_jobs(api, "ValueError: 1")
    EndedJobs(api.database).run_once(0)
    api.execute("UPDATE error_groups SET last_seen_at = now() - interval '95 days'")
    api.execute("UPDATE error_days SET day = day - interval '95 days'")
    with api.database.connect() as connection:
        assert counting.delete_old(connection, limit=100) == 2
    assert _groups(api) == []
