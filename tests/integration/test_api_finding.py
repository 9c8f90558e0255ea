"""Finding a job: tags, and the filters that no index holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest

from ava.domain import ids
from ava.domain.limits.table import SEARCHED_INPUT_BYTES, SEARCHED_JOBS
from ava.settings import Settings
from harness.api import JOBS, Api, error_of
from tests.integration.test_pages import walk

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
    return walk(api, JOBS, MANY, **dict(parse_qsl(query)))


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
        ({str(n): "x" for n in range(11)}, "(limit tags)"),
        ({"Team": "x"}, "The key 'Team'"),
        ({"x" * 5_000: "x"}, "must be 1 to 32"),
        ({"a": ""}, "1 to 64"),
        ({"a": "x" * 65}, "1 to 64"),
        ({"a": "\0"}, "control characters"),
        ({"a": "\ud800"}, "surrogates"),
    ],
)
def test_a_wrong_tag_is_refused_by_name(shared_api: Api, tags: Any, reason: str) -> None:
    error = error_of(shared_api.post(JOBS, json={"worker_id": "wkr_open", "tags": tags}), 422, "validation_error")
    assert reason in error["fields"]["tags"][0]


@pytest.mark.parametrize(
    "query",
    [
        # The rest is derived by test_refused_fields.py.
        "filter[tag.Team]=x", "filter[tag.]=x", "filter[error]=a%00b", f"filter[error]={'x' * 201}",
        "filter[triggered_by]=usr_%FF", "filter[id]=job_01h", "filter[id]=usr_01h0", "filter[id]=ilo0",
        "&".join(f"filter[tag.{n}]=x" for n in range(11)), "filter[input.]=x", "filter[input.a..b]=x",
        "filter[input.%00]=x", f"filter[input.a]={'x' * 501}", f"filter[input.{'a.' * 101}a]=x",
        "&".join(f"filter[input.{n}]=x" for n in range(6)), "filter[input]=x",
    ],
)  # fmt: skip
def test_a_wrong_filter_is_refused_by_name(shared_api: Api, query: str) -> None:
    error = error_of(shared_api.get(f"{JOBS}?{query}"), 400, "validation_error")
    assert next(iter(error["fields"])).startswith("filter[")


def test_a_job_is_found_by_what_it_says_and_by_who_made_it(api: Api) -> None:
    # Digits that begin with 01 count as the first ones of an id; one part in a thousand does.
    mine = next(job for job in iter(api.trigger, None) if not any(part.startswith("01") for part in _parts(job["id"])))
    api.execute(f"DELETE FROM jobs WHERE id <> '{ids.decode('job', mine['id'])}'")
    other = api.trigger(headers={"x-user-id": "usr_7"}, priority=1)
    api.execute("UPDATE jobs SET status = 'failed', completed_at = now(), error = 'Timeout: 100 %% of 120 s'")
    assert _ids(api, "filter[error]=TIMEOUT") == [other["id"], mine["id"]]
    assert _ids(api, "filter[error]=0 %25 of") == [other["id"], mine["id"]]
    assert _ids(api, "filter[error]=100 _") == _ids(api, "filter[error]=timeout&filter[status]=completed") == []
    assert _ids(api, "filter[triggered_by]=usr_7") == _ids(api, "filter[priority]=1") == [other["id"]]
    digits = mine["id"].removeprefix("job_")
    for part in (mine["id"], digits, f"job_…{digits[-8:]}", mine["id"].upper(), *_parts(mine["id"])):
        assert _ids(api, f"filter[id]={quote(part)}") == [mine["id"]], part
    assert mine["id"] in _ids(api, f"filter[id]={mine['id'][:9]}")
    assert _ids(api, f"filter[id]={quote('…' + digits[9:17])}") == []
    assert _ids(api, f"filter[id]={digits[-8:]}", headers={"x-tenant-id": "ten_other"}) == []


def _parts(job_id: str) -> tuple[str, ...]:
    digits = job_id.removeprefix("job_")
    return digits[-8:], digits[-4:], digits[3:], digits[9:17]


def test_a_job_is_found_by_when_it_ended(api: Api) -> None:
    early, late, _ = api.trigger(), api.trigger(), api.trigger()
    for job, ended in ((early, "1 hour"), (late, "2 hours")):
        api.execute(
            f"UPDATE jobs SET status = 'cancelled', cancel_requested_at = now(),"
            f" stop_status = 'cancelled', completed_at = now() + '{ended}'"
            f" WHERE id = '{ids.decode('job', job['id'])}'"
        )
    then = api.get(f"{JOBS}/{late['id']}").get_json()["data"]["completed_at"]
    assert _ids(api, f"filter[completed_after]={then}") == [late["id"]]
    assert _ids(api, f"filter[completed_before]={then}") == [early["id"]]
    assert _ids(api, f"filter[completed_before]={then}&filter[status]=queued") == []
    assert _ids(api, f"filter[completed_before]={then}&filter[status]=cancelled") == [early["id"]]


def test_jobs_are_sorted_by_duration_wait_and_priority(api: Api) -> None:
    slow, fast, waiting = (api.trigger(priority=priority)["id"] for priority in (3, 1, 2))
    started = (
        "UPDATE jobs SET status = 'completed', node_id = gen_random_uuid(), run_no = 1, output = '1',"
        " started_at = created_at + '{}', completed_at = created_at + '1 hour' WHERE id = '{}'"
    )
    for job_id, waited in ((slow, "5 seconds"), (fast, "9 seconds")):
        api.execute(started.format(waited, ids.decode("job", job_id)))
    assert _ids(api, "sort=duration") == [fast, slow, waiting]
    assert _ids(api, "sort=-duration") == _ids(api, "sort=waited") == [slow, fast, waiting]
    assert _ids(api, "sort=-waited&filter[status]=completed") == [fast, slow]
    assert _ids(api, "sort=priority") == [fast, waiting, slow]
    assert _ids(api, "sort=-priority&filter[worker_id]=wkr_open") == [slow, waiting, fast]
    page = api.get(f"{JOBS}?sort=priority&per_page=2&page=2").get_json()
    assert [job["id"] for job in page["data"]] == [slow]
    assert page["pagination"] == {"page": 2, "per_page": 2, "total": 3, "has_more": False, "next_cursor": None}
    first = api.get(f"{JOBS}?sort=priority&per_page=2").get_json()["pagination"]
    assert (first["has_more"], first["next_cursor"]) == (True, None)
    cursor = api.get(f"{JOBS}?per_page=1").get_json()["pagination"]["next_cursor"]
    for wrong in (f"sort=priority&cursor={cursor}", "sort=priority&fields=*"):
        error_of(api.get(f"{JOBS}?{wrong}"), 400, "validation_error")


def test_a_job_is_found_by_exact_values_in_its_input(api: Api) -> None:
    one = api.trigger(
        input={"channel": "öps", "account": {"id": 17, "ratio": 1.5}, "tags": ["a", {"b": None}], "nul": "\0\ud800"}
    )
    two = api.trigger(input={"channel": "öps", "account": {"id": "17"}, "is_urgent": True})
    api.trigger(input={"channel": "ops", "account": [17]}, headers={"x-tenant-id": "ten_other"})
    both, none = [two["id"], one["id"]], "filter[input.is_urgent]=false"
    assert _ids(api, f"filter[input.channel]={quote('öps')}") == _ids(api, "filter[input.account.id]=17") == both
    for input_path in ("account.ratio]=1.5", "tags.0]=a", "tags.1.b]=null", "nul]=%EF%BF%BD%EF%BF%BD"):
        assert _ids(api, f"filter[input.{input_path}") == [one["id"]], input_path
    assert _ids(api, "filter[input.is_urgent]=true&filter[input.account.id]=17&filter[status]=queued") == [two["id"]]
    for path in ("account]=17", "channel]=%C3%B6p", "tags]=a", "tags.2]=a", "account.id.x]=17", "account.id]=017"):
        assert _ids(api, f"filter[input.{path}") == _ids(api, none) == [], path
    exported = api.get(f"{JOBS}/export?filter[input.account.id]=17&filter[worker_id]=wkr_open")
    assert len(exported.text.splitlines()) == 2
    for wanted in (17, "17"):
        body = {"filter": {"input": {"account.id": wanted, "is_urgent": True}}}
        assert api.post(f"{JOBS}/cancel", json=body | {"dry_run": True}).get_json()["data"]["total"] == 1
    operation = api.post(f"{JOBS}/cancel", json=body).get_json()["data"]
    assert (operation["done"], operation["filter"]) == (1, {"input": {"account.id": "17", "is_urgent": "true"}})


def test_a_credential_in_an_input_cannot_be_guessed_by_a_search(api: Api) -> None:
    header = {"headers": [{"name": "Authorization", "value": "x1"}, {"name": "accept", "value": "x2"}]}
    inner = {"grant": {"key": "slack-token", "value": {"x": "x4", "value": ["x5"]}}}
    job = api.trigger(input=header | inner | {"value": "x3", "key": "order"})
    for input_path in ("headers.0.value]=x1", "grant.value.x]=x4", "grant.value.value.0]=x5"):
        assert _ids(api, f"filter[input.{input_path}") == []
    for input_path in ("headers.1.value]=x2", "value]=x3", "headers.0.name]=Authorization"):
        assert _ids(api, f"filter[input.{input_path}") == [job["id"]]
    for path in ("api-key", "auth.slackToken.text"):
        error_of(api.get(f"{JOBS}?filter[input.{path}]=x"), 400, "validation_error")
        body = {"filter": {"input": {path: "x"}}}
        assert "credential" in error_of(api.post(f"{JOBS}/retry", json=body), 422, "validation_error")["message"]


def test_a_search_in_large_inputs_looks_at_so_many_bytes(api: Api) -> None:
    made = [api.trigger(input={"n": n, "text": "x" * 20_000}) for n in range(3)]
    api.execute("UPDATE jobs SET input_bytes = %s WHERE input_bytes IS NOT NULL", SEARCHED_INPUT_BYTES.value // 2)
    first = api.get(f"{JOBS}?filter[input.n]=0").get_json()
    assert (first["data"], first["pagination"]["scanned_until"]) == ([], made[1]["created_at"])
    assert _ids(api, f"filter[input.n]=0&cursor={first['pagination']['next_cursor']}") == [made[0]["id"]]


def test_a_search_of_a_great_many_jobs_ends_early_and_its_cursor_leads_on(api_settings: Settings) -> None:
    with Api.running(api_settings) as api:
        count = SEARCHED_JOBS.value + 1_000
        api.execute(_FAILED, count - 25, count - 25, count)
        api.execute("ANALYZE jobs")
        started = time.perf_counter()
        (newest, oldest) = _pages(api, "filter[error]=exceeded 777 s")
        assert (newest["data"], newest["pagination"]["total"]) == ([], 0)
        # The newest 20,000 of 21,000 jobs, the last of them a second after the first of all.
        assert newest["pagination"]["scanned_until"] == "2025-06-01T00:00:01.001Z"
        assert "scanned_until" not in oldest["pagination"]
        assert [job["error"] for job in oldest["data"]] == ["Timeout: exceeded 777 s"]
        assert not oldest["pagination"]["has_more"]
        both = list(_pages(api, "filter[triggered_by]=usr_3&filter[priority]=5&per_page=100"))
        found = [job for page in both for job in page["data"]]
        assert (
            len(found)
            == len({job["id"] for job in found})
            == sum(n % 7 == 3 and n % 10 == 4 for n in range(1, count + 1))
        )
        # The middle of an id that exists, and a sort: each looks at all of them.
        part = found[0]["id"][12:24]
        assert found[0]["id"] in [job["id"] for page in _pages(api, f"filter[id]={part}") for job in page["data"]]
        assert [job["error"] for job in next(_pages(api, "sort=priority&per_page=1"))["data"]] == [
            f"Timeout: exceeded {count} s"
        ]
        # Seven looks at 20,000 jobs, beside whatever else the machine does.
        assert time.perf_counter() - started < 30
        # A list of 20,000 jobs with 760 KB outputs on its first page.
        took = []
        for _ in range(5):
            started = time.perf_counter()
            page = api.get(f"{JOBS}?per_page=25", headers=MANY)
            took.append(time.perf_counter() - started)
            assert [job["output_bytes"] for job in page.get_json()["data"]] == [760_002] * 25
        assert min(took) < 0.3
        assert len(page.data) < 100_000
