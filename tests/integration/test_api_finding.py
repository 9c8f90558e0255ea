"""Finding a job: tags, and the filters that no index holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from ava.domain.limits import SEARCHED_JOBS
from ava.settings import Settings
from harness.api import Api, error_of

JOBS = "/v1/ava/jobs"
#: Failed jobs of one tenant, a millisecond apart, with errors that differ by their number.
_FAILED = """
INSERT INTO jobs (id, tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, created_at,
                  max_attempts, completed_at, error, started_at, node_id, run_no, output, output_bytes)
SELECT encode(substring(int8send(1748736000000 + n) FROM 3) || decode('700080000000', 'hex') || int4send(n),
              'hex')::uuid,
       'ten_many', 'wkr_open', 'failed', 'manual', 1 + n %% 10, 'default', '{}', 'usr_' || n %% 7, now(), 1, now(),
       'Timeout: exceeded ' || n || ' s', now(), gen_random_uuid(), 1,
       CASE WHEN n > %s THEN to_json(repeat('x', 760000)) END, CASE WHEN n > %s THEN 760002 END
FROM generate_series(1, %s) AS n
"""
MANY = {"x-tenant-id": "ten_many"}


def _ids(api: Api, query: str, **headers: Any) -> list[str]:
    response = api.get(f"{JOBS}?{query}", headers=headers.get("headers"))
    assert response.status_code == 200, response.text
    return [job["id"] for job in response.get_json()["data"]]


def _pages(api: Api, query: str) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = api.get(f"{JOBS}?{query}{cursor}", headers=MANY).get_json()
        yield page
        if not page["pagination"]["has_more"]:
            return
        cursor = f"&cursor={page['pagination']['next_cursor']}"


def test_a_job_is_found_by_its_tags_and_by_no_others(api: Api) -> None:
    one = api.trigger(tags={"team": "säfe", "order": "17"})
    two = api.trigger(tags={"team": "säfe"}, priority=2)
    plain = api.trigger()
    theirs = api.trigger(tags={"team": "säfe"}, headers={"x-tenant-id": "ten_other"})
    assert (one["tags"], plain["tags"]) == ({"team": "säfe", "order": "17"}, {})
    team = f"filter[tag.team]={quote('säfe')}"
    assert _ids(api, team) == [two["id"], one["id"]]
    assert _ids(api, team, headers={"x-tenant-id": "ten_other"}) == [theirs["id"]]
    assert _ids(api, f"{team}&filter[tag.order]=17") == [one["id"]]
    assert _ids(api, f"{team}&filter[priority]=2&filter[status]=queued") == [two["id"]]
    assert _ids(api, f"{team}&filter[tag.order]=18") == _ids(api, "filter[tag.order]=saefe") == []
    first = api.get(f"{JOBS}?{team}&per_page=1").get_json()
    assert first["pagination"] | {"next_cursor": ""} == {
        "page": 1, "per_page": 1, "total": 2, "has_more": True, "next_cursor": "",
    }  # fmt: skip
    assert _ids(api, f"{team}&per_page=1&cursor={first['pagination']['next_cursor']}") == [one["id"]]


def test_a_retry_a_bulk_and_a_repeated_trigger_keep_the_tags(api: Api) -> None:
    asked = {"jobs": [{"worker_id": "wkr_open", "tags": {"n": str(n)}} for n in range(2)] + [{"worker_id": "wkr_open"}]}
    bulk = api.post(f"{JOBS}/bulk", json=asked).get_json()["data"]
    assert [job["tags"] for job in bulk] == [{"n": "0"}, {"n": "1"}, {}]
    api.post(f"{JOBS}/{bulk[0]['id']}/cancel")
    retried = api.post(f"{JOBS}/{bulk[0]['id']}/retry").get_json()["data"]
    assert _ids(api, "filter[tag.n]=0") == [retried["id"], bulk[0]["id"]]
    key = {"Idempotency-Key": "k"}
    job = api.trigger(tags={"a": "1"}, headers=key)
    assert api.trigger(tags={"a": "1"}, headers=key)["id"] == job["id"]
    other = api.post(JOBS, json={"worker_id": "wkr_open", "tags": {"a": "2"}}, headers=key)
    error_of(other, 422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ([], "must be an object"),
        ({str(n): "x" for n in range(11)}, "(limit tags)"),
        ({"Team": "x"}, "The key 'Team'"),
        ({"x" * 5_000: "x"}, "must be 1 to 32"),
        ({"a": ""}, "1 to 64"),
        ({"a": "x" * 65}, "1 to 64"),
        ({"a": 1}, "1 to 64"),
        ({"a": None}, "1 to 64"),
        ({"a": "\0"}, "controls"),
        ({"a": "\ud800"}, "surrogates"),
    ],
)
def test_a_wrong_tag_is_refused_by_name(api: Api, tags: Any, reason: str) -> None:
    error = error_of(api.post(JOBS, json={"worker_id": "wkr_open", "tags": tags}), 422, "validation_error")
    assert reason in error["fields"]["tags"][0]


@pytest.mark.parametrize(
    "query",
    [
        "filter[tag.Team]=x", "filter[tag.a]=", "filter[tag.a]=%00", "filter[tag.]=x", "filter[error]=ab",
        "filter[error]=a%00b", f"filter[error]={'x' * 201}", "filter[triggered_by]=x", "filter[triggered_by]=usr_%FF",
        "filter[priority]=0", "filter[priority]=11", "filter[priority]=x", "filter[id]=job_01h", "filter[id]=usr_01h0",
        "filter[id]=ilo0", "filter[nothing]=x", "filter[tag.key]=", "&".join(f"filter[tag.{n}]=x" for n in range(11)),
    ],
)  # fmt: skip
def test_a_wrong_filter_is_refused_by_name(api: Api, query: str) -> None:
    error = error_of(api.get(f"{JOBS}?{query}"), 400, "validation_error")
    assert next(iter(error["fields"])).startswith("filter[")


def test_a_job_is_found_by_what_it_says_and_by_who_made_it(api: Api) -> None:
    mine, other = api.trigger(), api.trigger(headers={"x-user-id": "usr_7"}, priority=1)
    api.execute("UPDATE jobs SET status = 'failed', completed_at = now(), error = 'Timeout: 100 %% of 120 s'")
    assert _ids(api, "filter[error]=TIMEOUT") == [other["id"], mine["id"]]
    assert _ids(api, "filter[error]=0 %25 of") == [other["id"], mine["id"]]
    assert _ids(api, "filter[error]=100 _") == _ids(api, "filter[error]=timeout&filter[status]=completed") == []
    assert _ids(api, "filter[triggered_by]=usr_7") == _ids(api, "filter[priority]=1") == [other["id"]]
    digits = mine["id"].removeprefix("job_")
    for part in (mine["id"], digits, digits[-8:], f"job_…{digits[-8:]}", mine["id"].upper(), digits[-4:], digits[3:]):
        assert _ids(api, f"filter[id]={quote(part)}") == [mine["id"]], part
    assert mine["id"] in _ids(api, f"filter[id]={mine['id'][:9]}")
    assert _ids(api, f"filter[id]={digits[-8:]}", headers={"x-tenant-id": "ten_other"}) == []


def test_a_search_of_a_great_many_jobs_ends_early_and_its_cursor_leads_on(api_settings: Settings) -> None:
    with Api.running(api_settings) as api:
        count = SEARCHED_JOBS.value + 1_000
        api.execute(_FAILED, count - 25, count - 25, count)
        api.execute("ANALYZE jobs")
        started = time.perf_counter()
        (newest, oldest) = _pages(api, "filter[error]=exceeded 777 s")
        assert (newest["data"], newest["pagination"]["total"]) == ([], 0)
        assert [job["error"] for job in oldest["data"]] == ["Timeout: exceeded 777 s"]
        assert not oldest["pagination"]["has_more"]
        both = list(_pages(api, "filter[triggered_by]=usr_3&filter[priority]=5&per_page=100"))
        found = [job for page in both for job in page["data"]]
        assert (
            len(found)
            == len({job["id"] for job in found})
            == sum(n % 7 == 3 and n % 10 == 4 for n in range(1, count + 1))
        )
        assert time.perf_counter() - started < 5
        # A list of 20,000 jobs with 760 KB outputs on its first page.
        took = []
        for _ in range(5):
            started = time.perf_counter()
            page = api.get(f"{JOBS}?per_page=25", headers=MANY)
            took.append(time.perf_counter() - started)
            assert [job["output_bytes"] for job in page.get_json()["data"]] == [760_002] * 25
        assert min(took) < 0.3
        assert len(page.data) < 100_000
