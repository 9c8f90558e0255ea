"""Bulk triggers, idempotency keys and retries of one job."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from werkzeug.test import TestResponse

from ava.settings import Settings
from harness.api import JOBS, Api, error_of, wrong_fields

BULK = f"{JOBS}/bulk"


def _entries(count: int, **fields: Any) -> dict[str, Any]:
    return {"jobs": [{"worker_id": "wkr_open", "input": {"n": n}, **fields} for n in range(count)]}


def _count(api: Api) -> int:
    return int(api.execute("SELECT count(*) FROM jobs")[0][0])


# Bulk ---------------------------------------------------------------------------------------------------------------


def test_a_thousand_jobs_are_stored_in_their_order_and_few_are_published(api: Api, api_settings: Settings) -> None:
    response = api.post(BULK, json=_entries(1000))
    assert response.status_code == 201
    data = response.get_json()["data"]
    assert [job["input"]["n"] for job in data] == list(range(1000))
    assert [job["id"] for job in data] == sorted(job["id"] for job in data)
    assert data[7] == api.get(f"{JOBS}/{data[7]['id']}").get_json()["data"]
    with redis.Redis.from_url(api_settings.broker_url) as broker:
        # The dispatcher publishes the others, as processes come free.
        assert sum(broker.llen(key) for key in broker.keys("default*")) == 16


@pytest.mark.parametrize(
    ("entry", "status", "code", "named"),
    [
        ({"priority": 1}, 400, "validation_error", "jobs[3].worker_id"),
        ({"worker_id": "wkr_none"}, 404, "resource_not_found", "jobs[3].worker_id"),
        ({"worker_id": "wkr_old"}, 409, "resource_conflict", "jobs[3].worker_id"),
        (None, 422, "validation_error", "jobs[3]"),
    ],
)
def test_one_wrong_entry_is_named_by_its_index_and_nothing_is_stored(
    shared_api: Api, entry: Any, status: int, code: str, named: str
) -> None:
    shared_api.announce("wkr_old")
    shared_api.set_status("wkr_old", "deprecated")
    body = _entries(5)
    body["jobs"][3] = entry
    before = _count(shared_api)
    error = error_of(shared_api.post(BULK, json=body), status, code)
    assert list(error["fields"]) == [named]
    assert named in error["message"]
    assert _count(shared_api) == before


def test_a_bulk_may_be_larger_than_a_single_job_but_not_without_bounds(shared_api: Api) -> None:
    big = {"jobs": [{"worker_id": "wkr_open", "input": {"x": "y" * 1_000_000}}] * 3}
    assert shared_api.post(BULK, json=big).status_code == 201
    big["jobs"] *= 6
    error_of(shared_api.post(BULK, json=big), 413, "payload_too_large")


# Idempotency --------------------------------------------------------------------------------------------------------


def _once(api: Api, key: str, path: str = JOBS, body: Any = None, **headers: str) -> TestResponse:
    return api.post(
        path,
        json={"worker_id": "wkr_open", "input": {"a": 1, "b": 2}} if body is None else body,
        headers={"Idempotency-Key": key, **headers},
    )


def test_the_order_of_names_in_the_input_does_not_matter(api: Api) -> None:
    first = _once(api, "k")
    again = _once(api, "k", body={"input": {"b": 2, "a": 1}, "worker_id": "wkr_open"})
    assert again.get_json() == first.get_json()


def test_a_key_belongs_to_its_tenant(api: Api) -> None:
    first = _once(api, "k")
    assert _once(api, "k", **{"x-tenant-id": "ten_other"}).get_json()["data"]["id"] != first.get_json()["data"]["id"]


def test_a_refused_call_does_not_use_the_key_up(api: Api) -> None:
    error_of(_once(api, "k", body={"worker_id": "wkr_none"}), 404, "resource_not_found")
    assert _once(api, "k").status_code == 201


def test_a_key_is_forgotten_after_a_day(api: Api) -> None:
    first = _once(api, "k").get_json()["data"]["id"]
    api.execute("UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 second'")
    assert _once(api, "k").get_json()["data"]["id"] != first
    assert _count(api) == 2


def test_concurrent_calls_with_one_key_create_one_job(api: Api) -> None:
    barrier = threading.Barrier(8)

    def call(_: int) -> str:
        client = Api(api.app, api.database)
        barrier.wait()
        response = _once(client, "k")
        assert response.status_code == 201
        job_id: str = response.get_json()["data"]["id"]
        return job_id

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(call, range(8)))) == 1
    assert _count(api) == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "é", "a\tb"])
def test_a_malformed_key_is_refused(shared_api: Api, key: str) -> None:
    assert "idempotency-key" in wrong_fields(_once(shared_api, key), 400)


def test_a_key_of_255_characters_is_accepted(api: Api) -> None:
    assert _once(api, "k" * 255).status_code == 201


def _keyed(*numbers: int, **fields: Any) -> dict[str, Any]:
    return {
        "jobs": [{"worker_id": "wkr_open", "input": {"n": n}, "idempotency_key": f"row {n}", **fields} for n in numbers]
    }


def test_each_entry_with_a_key_of_its_own_is_one_job_in_whatever_call_it_comes(api: Api) -> None:
    first = api.post(BULK, json=_keyed(0, 1)).get_json()["data"]
    mixed = api.post(BULK, json={"jobs": [*_keyed(2, 1, 3, 0)["jobs"], {"worker_id": "wkr_open"}]})
    assert "Idempotent-Replayed" not in mixed.headers
    found = mixed.get_json()["data"]
    assert [job["input"].get("n") for job in found] == [2, 1, 3, 0, None]
    assert [found[3], found[1]] == first
    again = api.post(BULK, json=_keyed(3, 2))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.get_json()["data"] == [found[2], found[0]]
    # The key is that of a single trigger, too.
    alone = _once(api, "row 3", body={"worker_id": "wkr_open", "input": {"n": 3}})
    assert (alone.get_json()["data"], alone.headers["Idempotent-Replayed"]) == (found[2], "true")
    assert _once(api, "row 9", body={"worker_id": "wkr_open", "input": {"n": 9}}).status_code == 201
    assert api.post(BULK, json=_keyed(9)).headers["Idempotent-Replayed"] == "true"
    assert _count(api) == 6


def test_a_call_with_keys_that_is_refused_makes_no_job_and_uses_no_key_up(api: Api) -> None:
    _once(api, "row 1", body={"worker_id": "wkr_open", "input": {"n": 1}})
    body = _keyed(0, 1, 2)
    body["jobs"][2]["worker_id"] = "wkr_none"
    refused = error_of(api.post(BULK, json=body), 404, "resource_not_found")
    assert list(refused["fields"]) == ["jobs[2].worker_id"]
    for changed in ({"input": {}}, {"expires_in_seconds": 60}, {"max_retries": 0}):
        body = _keyed(0, 1)
        body["jobs"][1] |= changed
        refused = error_of(api.post(BULK, json=body), 422, "idempotency_key_reused")
        assert list(refused["fields"]) == ["jobs[1].idempotency_key"]
    assert _count(api) == 1
    assert api.post(BULK, json=_keyed(0, 1, 2)).status_code == 201
    assert _count(api) == 3


@pytest.mark.parametrize(
    ("change", "headers", "named"),
    [
        ({"idempotency_key": "row 0"}, {}, "jobs[1].idempotency_key"),
        ({"name": "a"}, {}, "jobs[0].idempotency_key"),
        ({}, {"Idempotency-Key": "k"}, "jobs[0].idempotency_key"),
    ],
)
def test_a_key_of_an_entry_that_cannot_hold_is_refused(
    shared_api: Api, change: dict[str, Any], headers: dict[str, str], named: str
) -> None:
    body = _keyed(0, 1)
    body["jobs"][1] |= change
    assert list(wrong_fields(shared_api.post(BULK, json=body, headers=headers))) == [named]
    assert wrong_fields(shared_api.post(JOBS, json=_keyed(0)["jobs"][0])).keys() == {"idempotency_key"}


def test_concurrent_calls_with_the_same_entries_make_each_once(api: Api) -> None:
    barrier = threading.Barrier(6)

    def call(first: int) -> int:
        client = Api(api.app, api.database)
        numbers = [*range(first, first + 20)]
        barrier.wait()
        return client.post(BULK, json=_keyed(*(numbers if first % 2 else reversed(numbers)))).status_code

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(call, range(6))) == {201}
    assert _count(api) == 25


# Retry --------------------------------------------------------------------------------------------------------------


def test_a_final_job_is_retried_as_a_new_one(shared_api: Api) -> None:
    job = shared_api.trigger(input={"x": "\0\ud800"}, priority=2, trigger="event")
    shared_api.post(f"{JOBS}/{job['id']}/cancel")
    response = shared_api.post(f"{JOBS}/{job['id']}/retry", headers={"x-user-id": "usr_again"})
    retried = response.get_json()["data"]
    assert response.status_code == 201
    assert response.headers["Location"] == f"{JOBS}/{retried['id']}"
    assert (retried["retry_of"], retried["status"], retried["triggered_by"]) == (job["id"], "queued", "usr_again")
    for field in ("worker_id", "input", "priority", "trigger"):
        assert retried[field] == job[field]
    assert retried["id"] != job["id"]


def test_a_job_that_is_not_final_cannot_be_retried(shared_api: Api) -> None:
    error_of(shared_api.post(f"{JOBS}/{shared_api.trigger()['id']}/retry"), 409, "resource_conflict")


def test_a_retry_may_have_another_input_and_priority(shared_api: Api) -> None:
    job = shared_api.trigger(input={"seconds": 1}, priority=7)
    shared_api.post(f"{JOBS}/{job['id']}/cancel")
    again = shared_api.post(f"{JOBS}/{job['id']}/retry", json={"input": {}, "priority": 2}).get_json()["data"]
    assert (again["input"], again["priority"], again["retry_of"]) == ({}, 2, job["id"])
    again = shared_api.post(f"{JOBS}/{job['id']}/retry", json={"priority": 2}).get_json()["data"]
    assert (again["input"], again["priority"]) == ({"seconds": 1}, 2)
    first, other = (_once(shared_api, "r", f"{JOBS}/{job['id']}/retry", {"input": {"n": n}}) for n in range(2))
    assert first.status_code == 201
    error_of(other, 422, "idempotency_key_reused")
