"""Every answer has a bound in bytes: lists, logs and bulks; and a tenant has so many bytes of answers in flight."""

from __future__ import annotations

from typing import Any

import pytest

from ava.api.gate.tenant_shares import TenantShares
from ava.domain import ids
from ava.domain.limits.table import RESPONSE_BYTES, RESPONSES_IN_FLIGHT_BYTES
from ava.store.jobs.reads import lists
from harness.api import JOBS, Api, error_of

#: A record's own fields, and those around the list.
_OVERHEAD = 4_096


def _large_jobs(api: Api, count: int, characters: int) -> None:
    """Insert jobs whose inputs have six times as many bytes as characters."""
    api.execute(
        "INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts)"
        " SELECT 'ten_test', 'wkr_open', 'manual', 5, 'default',"
        " ('{\"n\":' || n || ',\"x\":\"' || repeat('\\u00e9', %s) || '\"}')::json, 'usr_test', 1"
        " FROM generate_series(1, %s) AS n",
        characters,
        count,
    )


def test_a_page_of_large_records_ends_early_and_the_cursor_leads_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    _large_jobs(api, 7, 500_000)
    read: list[int] = []
    show = lists.show

    def record(*given: Any, **named: Any) -> Any:
        job = show(*given, **named)
        read.append(len(job.input_json) if job else 0)
        return job

    monkeypatch.setattr(lists, "show", record)
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        response = api.get(JOBS, query_string={"per_page": "100", "fields": "*", **cursor})
        assert len(response.data) <= RESPONSE_BYTES.value + _OVERHEAD
        # No more is read from the database than the answer holds.
        assert sum(read) <= len(response.data)
        read.clear()
        body = response.get_json()
        assert body["pagination"]["total"] == 7
        seen += [job["input"]["n"] for job in body["data"]]
        if not body["pagination"]["has_more"]:
            break
        assert len(body["data"]) == 2
        cursor = {"cursor": body["pagination"]["next_cursor"]}
    assert seen == list(range(7, 0, -1))


def test_all_fields_bring_a_record_larger_than_its_share_of_a_page(api: Api) -> None:
    _large_jobs(api, 3, 50_000)
    (first, *_) = listed = api.get(JOBS, query_string={"per_page": "100", "fields": "*"}).get_json()["data"]
    assert [job["input"]["n"] for job in listed] == [3, 2, 1]
    assert first == api.get(f"{JOBS}/{first['id']}").get_json()["data"]


def test_a_list_says_the_bytes_of_what_it_leaves_out_and_does_not_read_it(api: Api) -> None:
    (large, small) = (api.trigger(input={"x": "y" * count}) for count in (16_377, 16_376))
    api.execute(
        "UPDATE jobs SET output = ('[\"' || repeat('é', 9000) || '\"]')::json"
        " WHERE id::text = (SELECT max(id::text) FROM jobs)"
    )
    # The stored number is taken; without one, as an older release stores it, the text is measured.
    api.execute("UPDATE jobs SET input_bytes = 16999 WHERE input_bytes = 16385")
    second, first = api.get(JOBS).get_json()["data"]
    assert (first["id"], first["input"]) == (large["id"], None)
    assert (first["input_bytes"], first["output_bytes"]) == (16_999, None)
    assert (second["input"], second["output"], second["output_bytes"]) == (small["input"], None, 18_004)
    assert list(second)[-4:] == ["waits_for", "origin", "input_bytes", "output_bytes"]
    assert "input_bytes" not in api.get(JOBS, query_string={"fields": "*"}).get_json()["data"][0]


def test_the_fields_of_a_list_are_chosen_and_an_unchanged_list_is_not_sent_again(api: Api) -> None:
    job = api.trigger(input={"x": "y" * 100_000})
    chosen = api.get(JOBS, query_string={"fields": "status,id"})
    assert chosen.get_json()["data"] == [{"id": job["id"], "status": "queued"}]
    again = api.get(JOBS, query_string={"fields": "status,id"}, headers={"If-None-Match": chosen.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert api.get(JOBS, query_string={"fields": "input"}).get_json()["data"][0]["input_bytes"] == 100_008
    error = error_of(api.get(JOBS, query_string={"fields": "id,secret"}), 400, "validation_error")
    assert "'secret'" in error["fields"]["fields"][0]


def test_a_log_of_long_lines_ends_early_and_is_followed_without_a_gap(api: Api) -> None:
    job_id = api.trigger()["id"]
    api.execute(
        "INSERT INTO job_logs (tenant_id, job_id, seq, times, levels, msgs)"
        " SELECT j.tenant_id, j.id, 4294967296 + n, ARRAY[now()], 'w', ARRAY[n || ' ' || repeat('€', 16000)]"
        " FROM jobs AS j, generate_series(1, 220) AS n"
    )
    for level in ({}, {"filter[level]": "warn"}):
        seen: list[str] = []
        after: dict[str, str] = {}
        while True:
            response = api.get(f"{JOBS}/{job_id}/logs", query_string={"limit": "500", **level, **after})
            assert len(response.data) <= RESPONSE_BYTES.value + _OVERHEAD
            body = response.get_json()
            seen += [line["msg"].split()[0] for line in body["data"]["logs"]]
            if not body["pagination"]["has_more"]:
                break
            after = {"after": body["pagination"]["next_cursor"]}
        assert seen == [str(number) for number in range(1, 221)]


@pytest.mark.parametrize(("character", "attempts"), [("x", 200), ("€", 50)], ids=["one-byte", "three-bytes"])
def test_a_page_of_deliveries_with_long_attempts_ends_early_and_the_cursor_leads_on(
    api: Api, character: str, attempts: int
) -> None:
    asked = {"url": "https://example.com/", "events": ["ava.job.failed"], "secret": "s" * 20}
    webhook_id = api.post("/v1/webhooks", json=asked).get_json()["data"]["id"]
    # Each attempt keeps what the receiver answered.
    api.execute(
        "INSERT INTO webhook_deliveries (tenant_id, endpoint_id, event_id, event_type, n, history)"
        " SELECT 'ten_test', %s, ava_uuid7(), 'ava.job.failed', n,"
        " (SELECT jsonb_agg(jsonb_build_object('number', a, 'answer', repeat(%s, 1024)))"
        " FROM generate_series(1, %s) AS a)"
        " FROM generate_series(1, 250) AS n",
        str(ids.decode("wh", webhook_id)),
        character,
        attempts,
    )
    seen: list[str] = []
    cursor: dict[str, str] = {}
    pages = 0
    while True:
        response = api.get(f"/v1/webhooks/{webhook_id}/deliveries", query_string={"per_page": "100", **cursor})
        assert len(response.data) <= RESPONSE_BYTES.value + _OVERHEAD
        body = response.get_json()
        seen += [delivery["id"] for delivery in body["data"]]
        pages += 1
        if not body["pagination"]["has_more"]:
            break
        assert len(body["data"]) < 100
        cursor = {"cursor": body["pagination"]["next_cursor"]}
    assert pages > 3
    assert len(set(seen)) == len(seen) == 250
    assert seen == sorted(seen, reverse=True)


def test_a_bulk_leaves_out_inputs_that_its_answer_has_no_bytes_for(api: Api) -> None:
    asked = {"jobs": [{"worker_id": "wkr_open", "input": {"n": n, "x": "y" * 1_000_000}} for n in range(10)]}
    first, again = (api.post(f"{JOBS}/bulk", json=asked, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    for response in (first, again):
        assert len(response.data) <= RESPONSE_BYTES.value + 10 * _OVERHEAD
        jobs = response.get_json()["data"]
        assert [job["input"] and job["input"]["n"] for job in jobs] == [*range(8), None, None]
        assert [job.get("input_bytes") for job in jobs] == [None] * 8 + [1_000_014] * 2
    last = first.get_json()["data"][-1]
    assert api.get(f"{JOBS}/{last['id']}").get_json()["data"]["input"]["n"] == 9


def test_the_answers_of_a_tenant_that_are_being_sent_are_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = TenantShares(RESPONSES_IN_FLIGHT_BYTES, 1_000_000)
    object.__setattr__(api.app.extensions["ava"].shares, "responses", shares)
    path = f"{JOBS}/{api.trigger(input={'x': 'y' * 700_000})['id']}"
    first = api.get(path)
    assert shares.used("ten_test") > 700_000
    refused = api.get(path)
    assert "(limit responses_in_flight_bytes)" in error_of(refused, 429, "rate_limited")["message"]
    # What has written something is answered all the same.
    assert api.trigger(input={"x": "y" * 700_000})["status"] == "queued"
    first.close()
    assert api.get(path).status_code == 200
