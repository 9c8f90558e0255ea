"""`dedupe` and `debounce` of a trigger: several triggers with one key make one job."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ava.dispatcher.duties import retention
from ava.domain.jobs.job_change import JobChange
from ava.store.jobs.transitions import change, park
from harness.api import JOBS, Api, error_of, wrong_fields
from harness.timestamps import LATER
from tests.lock_waits import await_lock_waits

START = (
    "UPDATE jobs SET status = 'running', started_at = now(), run_no = 1, attempt = 1,"
    " node_id = '00000000-0000-7000-8000-000000000001'"
)
END = (
    "UPDATE jobs SET status = 'completed', completed_at = now(), waits_for = NULL, run_at = NULL"
    " WHERE status IN ('queued', 'running')"
)


def _dedupe(api: Api, mode: str, key: str = "k", **fields: Any) -> TestResponse:
    return api.post(JOBS, json={"worker_id": "wkr_open", "dedupe": {"key": key, "mode": mode}, **fields})


def _debounce(
    api: Api, seconds: int = 60, key: str = "k", headers: dict[str, str | None] | None = None, **fields: Any
) -> TestResponse:
    rule: dict[str, Any] = {"key": key, "seconds": seconds}
    rule |= {name: fields.pop(name) for name in ("max_seconds", "keep") if name in fields}
    return api.post(JOBS, json={"worker_id": "wkr_open", "debounce": rule, **fields}, headers=headers)


def _id(response: TestResponse) -> str:
    assert response.status_code == 201, response.text
    job_id: str = response.get_json()["data"]["id"]
    return job_id


def _statuses(api: Api) -> list[str]:
    return [row[0] for row in api.execute("SELECT status FROM jobs ORDER BY id")]


def _seconds_ahead(api: Api) -> list[int]:
    return [
        row[0] for row in api.execute("SELECT round(extract(epoch FROM run_at - now()))::int FROM jobs ORDER BY id")
    ]


def test_return_answers_with_the_unfinished_job_until_it_is_final(api: Api) -> None:
    first = _dedupe(api, "return", input={"n": 1})
    assert "Existing-Job" not in first.headers
    again = _dedupe(api, "return", input={"n": 2})
    assert again.headers["Existing-Job"] == "true"
    assert again.get_json()["data"] == first.get_json()["data"]
    api.execute(START)
    assert _id(_dedupe(api, "return")) == _id(first)
    api.execute(END)
    assert _id(_dedupe(api, "return")) != _id(first)


def test_a_key_belongs_to_its_tenant_and_worker(api: Api) -> None:
    api.announce("wkr_second")
    found = {_id(_dedupe(api, "refuse")), _id(_dedupe(api, "refuse", worker_id="wkr_second"))}
    body = {"worker_id": "wkr_open", "dedupe": {"key": "k", "mode": "refuse"}}
    found.add(_id(api.post(JOBS, json=body, headers={"x-tenant-id": "ten_other"})))
    assert len(found) == 3


def test_refuse_is_a_conflict_that_names_the_job(api: Api) -> None:
    first = _id(_dedupe(api, "refuse"))
    assert first in error_of(_dedupe(api, "refuse"), 409, "resource_conflict")["message"]
    api.execute(END)
    assert _id(_dedupe(api, "refuse")) != first


def test_replace_cancels_a_queued_job_and_conflicts_with_one_that_has_just_started(api: Api) -> None:
    first = _id(_dedupe(api, "replace", tags={"a": "1"}))
    second = _id(_dedupe(api, "replace", input={"n": 2}))
    assert _statuses(api) == ["cancelled", "queued"]
    replaced = api.get(f"{JOBS}/{first}").get_json()["data"]
    assert (replaced["cancelled_by"], replaced["error"]) == (
        second,
        f"Replaced: {second} has the same deduplication key",
    )
    assert replaced["cancel_requested_at"]
    api.execute(f"{START} WHERE status = 'queued'")
    error = error_of(_dedupe(api, "replace"), 409, "resource_conflict")
    assert second in error["message"]
    assert "runs already" in error["message"]
    assert _statuses(api) == ["cancelled", "running"]


def test_a_refused_trigger_replaces_nothing(api: Api) -> None:
    _dedupe(api, "replace")
    api.set_status("wkr_open", "deprecated")
    error_of(_dedupe(api, "replace"), 409, "resource_conflict")
    error_of(_debounce(api), 409, "resource_conflict")
    error_of(_dedupe(api, "return", worker_id="wkr_none"), 404, "resource_not_found")
    assert _statuses(api) == ["queued"]


def _answered(client: Api, mode: str) -> TestResponse:
    """Returns the answer to a trigger, repeated while a busy machine takes longer than its bound."""
    while (response := _dedupe(client, mode)).status_code == 503:
        assert "Retry-After" in response.headers
    return response


@pytest.mark.parametrize("mode", ["return", "replace", "refuse"])
def test_fifty_triggers_of_one_key_at_once_leave_one_job(api: Api, mode: str) -> None:
    barrier = threading.Barrier(10)

    def call(_: int) -> list[TestResponse]:
        client = Api(api.app, api.database)
        barrier.wait()
        return [_answered(client, mode) for _ in range(5)]

    with ThreadPoolExecutor(10) as threads:
        found = [response for responses in threads.map(call, range(10)) for response in responses]
    made = [response for response in found if response.status_code == 201 and "Existing-Job" not in response.headers]
    assert _statuses(api).count("queued") == 1
    assert len(made) == len(_statuses(api)) == (50 if mode == "replace" else 1)
    assert {response.status_code for response in found} == ({201, 409} if mode == "refuse" else {201})


def test_many_debounced_triggers_at_once_make_one_job(api: Api) -> None:
    with ThreadPoolExecutor(10) as threads:
        found = list(threads.map(lambda n: _debounce(Api(api.app, api.database), input={"n": n}), range(50)))
    assert len({_id(response) for response in found}) == 1
    assert api.execute("SELECT count(*) FROM debounces") == [(1,)]


def test_a_debounced_job_starts_some_seconds_after_the_last_trigger(api: Api) -> None:
    first = _debounce(api, 60, input={"n": 1}, priority=3, tags={"a": "1", "b": "2"})
    assert "Existing-Job" not in first.headers
    api.execute("UPDATE jobs SET run_at = run_at - interval '50 seconds'")
    last = _debounce(api, 60, input={"n": 2}, tags={"b": "2", "c": "3"}, headers={"x-user-id": "usr_last"})
    assert last.headers["Existing-Job"] == "true"
    assert _id(last) == _id(first)
    assert _seconds_ahead(api) == [60]
    record = api.get(f"{JOBS}/{_id(first)}").get_json()["data"]
    assert (record["input"], record["priority"], record["triggered_by"]) == ({"n": 2}, 5, "usr_last")
    assert record["tags"] == {"b": "2", "c": "3"}
    assert sorted(api.execute("SELECT key, value FROM job_tags")) == [("b", "2"), ("c", "3")]
    why = api.get(f"{JOBS}/{_id(first)}/why").get_json()["data"]["sentence"]
    assert why.startswith("waiting until ")
    assert "debounce: each trigger with its key delays it, since " in why


def test_a_debounced_job_is_dated_by_a_client_and_deferred_by_its_trigger_at_once(api: Api) -> None:
    job_id = _id(_debounce(api))
    with ThreadPoolExecutor(1) as threads:
        with api.database.transaction() as connection:
            job = change.lock(connection, tenant_id="ten_test", job_id=job_id)
            assert job is not None
            trigger = threads.submit(_debounce, api)
            await_lock_waits(api.database)
            dated = datetime.now(UTC) + timedelta(hours=1)
            wanted = JobChange(names={"scheduled_at"}, scheduled_at=dated)
            changed = change.change(connection, job, wanted)
        assert changed is not None
        assert changed.run_at == dated
        deferred = trigger.result()
    assert _id(deferred) == job_id
    assert _seconds_ahead(api) == [60]


def test_what_the_first_trigger_sent_is_kept_if_the_trigger_says_so(api: Api) -> None:
    job_id = _id(_debounce(api, 30, input={"n": 1}, priority=3, keep="first"))
    _debounce(api, 60, input={"n": 2}, keep="first")
    record = api.get(f"{JOBS}/{job_id}").get_json()["data"]
    assert (record["input"], record["priority"], _seconds_ahead(api)) == ({"n": 1}, 3, [60])


def test_a_debounced_job_starts_at_most_max_seconds_after_the_first_trigger(api: Api) -> None:
    _debounce(api, 60, max_seconds=100)
    api.execute("UPDATE debounces SET first_at = first_at - interval '70 seconds', "
                "latest_at = latest_at - interval '70 seconds'")  # fmt: skip
    # Its own is that of the first trigger.
    job_id = _id(_debounce(api, 60, max_seconds=600))
    assert _seconds_ahead(api) == [30]
    assert " at most" in api.get(f"{JOBS}/{job_id}/why").get_json()["data"]["sentence"]


def test_a_debounced_job_that_is_due_cancelled_or_final_is_followed_by_another(api: Api) -> None:
    first = _id(_debounce(api, 3600))
    assert api.post(f"{JOBS}/{first}/cancel").get_json()["data"]["status"] == "cancelled"
    second = _id(_debounce(api, 3600))
    api.execute("UPDATE jobs SET run_at = now() WHERE status = 'queued'")
    third = _id(_debounce(api, 3600))
    assert len({first, second, third}) == 3
    assert _statuses(api) == ["cancelled", "queued", "queued"]
    # What waits for an active worker once it was due is not moved either.
    api.set_status("wkr_open", "paused")
    api.execute("UPDATE jobs SET run_at = now() - interval '1 second' WHERE status = 'queued'")
    with api.database.connect() as connection:
        assert park.make_due(connection, limit=10) == 2
    assert _id(_debounce(api, 3600)) not in {first, second, third}


def test_the_rows_of_jobs_that_were_due_are_deleted(api: Api) -> None:
    first = _id(_debounce(api, 60, key="old"))
    _debounce(api, 60, key="new")
    api.execute("UPDATE debounces SET fires_at = now() - interval '2 minutes' WHERE key = 'old'")
    duty = retention.of_jobs(api.database, retention_days=1, audit_days=1, silent_nodes=list)
    assert duty.run_once(0) == 1
    assert api.execute("SELECT key FROM debounces") == [("new",)]
    assert _id(_debounce(api, 60, key="old")) != first


def test_a_schema_that_changes_is_checked_for_a_moved_job_too(api: Api) -> None:
    _debounce(api, input={"n": "text"})
    api.execute("UPDATE workers SET input_schema_version = 'v2', "
                """input_schema = '{"properties": {"n": {"type": "integer"}}}' WHERE id = 'wkr_open'""")  # fmt: skip
    assert "input.n" in wrong_fields(_debounce(api, input={"n": "text"}))
    _id(_debounce(api, input={"n": 2}))
    assert _statuses(api) == ["queued"]


def test_a_bulk_takes_keys_and_names_the_entry_that_is_refused(api: Api) -> None:
    def entry(kind: str, key: str, **rule: Any) -> dict[str, Any]:
        return {"worker_id": "wkr_open", "input": {"key": key}, kind: {"key": key, **rule}}

    plain = {"worker_id": "wkr_open", "input": {"key": "plain"}}
    jobs = [entry("dedupe", "z"), plain, entry("debounce", "z", seconds=9), entry("dedupe", "a"), entry("dedupe", "z")]
    found = api.post(f"{JOBS}/bulk", json={"jobs": jobs}).get_json()["data"]
    assert [record["input"]["key"] for record in found] == ["z", "plain", "z", "a", "z"]
    assert found[0] == found[4]
    assert len(_statuses(api)) == 4
    for wrong, status, name in (
        ([plain, entry("dedupe", "a", mode="refuse")], 409, "jobs[1].dedupe"),
        ([entry("dedupe", "b"), entry("dedupe", "b", mode="replace")], 422, "jobs[1].dedupe.key"),
        ([entry("debounce", "b", seconds=1), entry("debounce", "b", seconds=1)], 422, "jobs[1].debounce.key"),
    ):
        code = "resource_conflict" if status == 409 else "validation_error"
        assert name in error_of(api.post(f"{JOBS}/bulk", json={"jobs": wrong}), status, code)["fields"]
    assert len(_statuses(api)) == 4


def test_bulks_with_the_same_keys_in_another_order_make_one_job_of_each(api: Api) -> None:
    keys = [f"key {number}" for number in range(2_000)]

    def send(part: list[str]) -> int:
        jobs = [{"worker_id": "wkr_open", "dedupe": {"key": key}} for key in part]
        return Api(api.app, api.database).post(f"{JOBS}/bulk", json={"jobs": jobs}).status_code

    with ThreadPoolExecutor(4) as threads:
        parts = [keys[:1000], keys[:1000][::-1], keys[1000:], keys[1000:][::-1]]
        assert list(threads.map(send, parts)) == [201] * 4
    assert api.execute("SELECT count(*), count(DISTINCT dedupe_key) FROM jobs") == [(2_000, 2_000)]


def test_what_is_no_key_or_rule_is_refused_by_name(api: Api) -> None:
    # What a schema says is tried by test_refused_fields.py.
    too_brief = {"key": "k", "seconds": 10, "max_seconds": 9}
    response = api.post(JOBS, json={"worker_id": "wkr_open", "debounce": too_brief})
    assert "debounce.max_seconds" in wrong_fields(response)
    for body in ({"dedupe": {}}, {"debounce": {"key": "k"}}):
        error_of(api.post(JOBS, json={"worker_id": "wkr_open", **body}), 400, "validation_error")
    for other in ({"dedupe": {"key": "k"}}, {"scheduled_at": LATER}):
        assert "debounce" in wrong_fields(_debounce(api, **other))


def test_strange_but_valid_keys_are_keys_like_others(api: Api) -> None:
    for key in ("'; DROP TABLE jobs; --", "\u202e%s%(key)s", "𝕏" * 200, "\n\t\x01", "wkr_open k"):
        assert _id(_dedupe(api, "return", key)) == _id(_dedupe(api, "return", key)), key
        assert _id(_debounce(api, key=key)) == _id(_debounce(api, key=key)), key
