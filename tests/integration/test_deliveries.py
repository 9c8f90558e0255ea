"""Deliveries of both directions have one record, the same filters and the same time ranges."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ava.domain import ids
from ava.settings import Settings
from harness.api import Api, error_of
from tests.integration.hook_sender import HOOKS, Hook
from tests.integration.test_pages import walk

WEBHOOKS = "/v1/webhooks"
_FIELDS = [
    *("id", "direction", "hook_id", "webhook_id", "notice_id", "event_id", "event_type", "job_ids", "status", "reason"),
    *("created_at", "completed_at", "next_attempt_at", "attempts", "source_id", "duplicate_of", "replay_of", "address"),
    *("response_status", "headers", "body", "body_bytes"),
]
#: The fields that never apply to a direction.
_OF_HOOKS = {"hook_id", "source_id", "duplicate_of", "replay_of", "address", "headers"}
_OF_WEBHOOKS = {"webhook_id", "completed_at", "next_attempt_at", "attempts"}
#: Inserts deliveries, one each second; the number of each determines its status, reason and type.
_INSERT_RECEIVED = """
INSERT INTO hook_deliveries (tenant_id, id, hook_id, status, response_status, reason, event_type, address, headers,
                             body_bytes)
SELECT 'ten_test', overlay(ava_first_uuid('2026-01-01'::timestamptz + n * interval '1 second')::text
           PLACING right(gen_random_uuid()::text, 12) FROM 25)::uuid, %s, CASE WHEN n %% 2 = 0 THEN 'accepted' ELSE
       'skipped' END, 202, CASE WHEN n %% 2 = 1 THEN 'paused' END, CASE WHEN n %% 5 = 0 THEN 'order.paid' ELSE 'b'
       END, 'x', '{}', 0
FROM generate_series(0, %s) AS n
"""
_INSERT_SENT = """
INSERT INTO webhook_deliveries (tenant_id, id, endpoint_id, event_id, status, due_at, completed_at, event_type, n)
SELECT 'ten_test', overlay(ava_first_uuid('2026-01-01'::timestamptz + n * interval '1 second')::text
           PLACING right(gen_random_uuid()::text, 12) FROM 25)::uuid, %s, ava_uuid7(), CASE WHEN n %% 2 = 0 THEN
       'delivered' ELSE 'abandoned' END, NULL, now(), CASE WHEN n %% 5 = 0 THEN 'ava.job.failed' ELSE 'b' END, n
FROM generate_series(0, %s) AS n
"""


@pytest.fixture
def api(database_settings: Settings) -> Iterator[Api]:
    with Api.running(replace(database_settings, encryption_keys=(os.urandom(32),))) as api:
        yield api


def _webhook(api: Api) -> str:
    body = {"url": "https://example.com/h", "events": ["ava.job.failed"], "secret": "s" * 20}
    webhook_id: str = api.post(WEBHOOKS, json=body).get_json()["data"]["id"]
    return webhook_id


def _get(api: Api, path: str, **query: Any) -> Any:
    response = api.get(path, query_string=query)
    assert response.status_code == 200, response.text
    return response.get_json()["data"]


def test_each_response_about_a_delivery_is_the_same_record_in_both_directions(api: Api) -> None:
    hook, webhook_id = Hook(api, worker_id="wkr_open"), _webhook(api)
    received = hook.accepted()["delivery_id"]
    test = api.post(f"{WEBHOOKS}/{webhook_id}/test").get_json()["data"]
    for path, id_, verb, unused in (
        (f"{HOOKS}/{hook.id}/deliveries", received, "replay", _OF_WEBHOOKS | {"notice_id"}),
        (f"{WEBHOOKS}/{webhook_id}/deliveries", test["id"], "redeliver", _OF_HOOKS | {"notice_id"}),
    ):
        (listed,) = _get(api, path)
        shown = _get(api, f"{path}/{id_}")
        again = api.post(f"{path}/{id_}/{verb}")
        assert again.status_code == 202
        for each in (listed, shown, again.get_json()["data"]):
            assert list(each) == _FIELDS
            assert {name for name in unused if each[name] is not None} == set()
        assert (listed["body"], listed | {"body": shown["body"]}) == (None, shown)
        assert shown["body_bytes"] == len(shown["body"].encode())
        assert (again.get_json()["data"]["body"], shown["direction"]) == (None, "in" if verb == "replay" else "out")
        hidden = api.get(f"{path}/{id_}", headers={"x-platform-role": "tenant-user"}).get_json()["data"]
        assert hidden == shown | {"body": None}
        other = path.replace(hook.id, Hook(api).id).replace(webhook_id, _webhook(api))
        error_of(api.get(f"{other}/{id_}"), 404, "resource_not_found")
    assert test == listed


def _filled(api: Api, direction: str, count: int) -> str:
    """Insert deliveries, one each second. Returns the path of their list."""
    if direction == "in":
        hook = Hook(api, worker_id="wkr_open")
        api.execute(_INSERT_RECEIVED, str(ids.decode("hk", hook.id)), count - 1)
        return f"{HOOKS}/{hook.id}/deliveries"
    webhook_id = _webhook(api)
    api.execute(_INSERT_SENT, str(ids.decode("wh", webhook_id)), count - 1)
    return f"{WEBHOOKS}/{webhook_id}/deliveries"


_TYPES = {"in": "order.paid", "out": "ava.job.failed"}
_CHOICES: list[tuple[dict[str, str], Callable[[int], bool]]] = [
    ({}, lambda n: True),
    ({"since": "2026-01-01T00:00:05Z", "until": "2026-01-01T00:00:12Z"}, lambda n: 5 <= n < 12),
    ({"since": "2026-01-01T00:00:05.001Z"}, lambda n: n > 5),
    ({"filter[event_type]": ""}, lambda n: n % 5 == 0),
    ({"filter[event_type]": "", "until": "2026-01-01T00:00:10Z"}, lambda n: n in (0, 5)),
]


@pytest.mark.parametrize("direction", ["in", "out"])
def test_lists_are_filtered_by_status_type_and_time_and_paged_by_cursor(api: Api, direction: str) -> None:
    path = _filled(api, direction, 20)
    even = "accepted" if direction == "in" else "delivered"
    times = [f"2026-01-01T00:00:{n:02}Z" for n in range(20)]
    for chosen, is_in in _CHOICES:
        for status in (None, even):
            query = {name: value or _TYPES[direction] for name, value in chosen.items()}
            query |= {} if status is None else {"filter[status]": status}
            wanted = [times[n] for n in reversed(range(20)) if is_in(n) and (status is None or n % 2 == 0)]
            pages = list(walk(api, path, per_page=3, **query))
            assert {page["pagination"]["total"] for page in pages} == {len(wanted)}
            assert [each["created_at"] for page in pages for each in page["data"]] == wanted, query
            assert [each["created_at"] for each in _get(api, path, page=2, per_page=3, **query)] == wanted[3:6], query


@pytest.mark.needs_session(
    because="each session of PostgreSQL reports what it has read by itself, and the test asks one"
)
@pytest.mark.parametrize(("direction", "table"), [("in", "hook_deliveries"), ("out", "webhook_deliveries")])
def test_a_page_of_a_time_range_reads_its_rows_alone(api: Api, direction: str, table: str) -> None:
    # Of two owners, with four times as many rows of other types and statuses.
    path, _ = (_filled(api, direction, 30_000) for _ in range(2))
    api.execute(f"VACUUM ANALYZE {table}")
    # Of the oldest hour; the newest rows of eight hours follow.
    narrow = {"since": "2026-01-01T00:10:00Z", "until": "2026-01-01T01:00:00Z"}
    for query, max_rows in ((narrow, 1_100), (narrow | {"filter[event_type]": _TYPES[direction]}, 800)):
        before = api.rows_read(table)
        page = api.get(path, query_string={**query, "per_page": 20}).get_json()
        assert (len(page["data"]), page["pagination"]["has_more"]) == (20, True)
        assert api.rows_read(table) - before < max_rows + 1_100, query


def test_a_skipped_delivery_is_replayed(api: Api) -> None:
    hook = Hook(api, worker_id="wkr_open")
    assert api.post(f"{HOOKS}/{hook.id}/pause").status_code == 200
    first = hook.accepted()["delivery_id"]
    assert api.post(f"{HOOKS}/{hook.id}/resume").status_code == 200
    (skipped,) = hook.deliveries("?filter[status]=skipped")
    assert (skipped["id"], skipped["job_ids"], skipped["reason"] is None) == (first, [], False)
    assert hook.replay_many(status="accepted") == 0
    assert hook.replay_many(status="skipped", event_type="github.push") == 0
    assert hook.replay_many(status="skipped", event_type="github.pull_request.opened") == 1
    replayed = hook.deliveries()[0]
    assert (replayed["replay_of"], replayed["status"], len(replayed["job_ids"])) == (first, "accepted", 1)


def test_the_last_request_gives_a_sent_delivery_its_response_and_reason(api: Api) -> None:
    webhook_id = _webhook(api)
    api.post(f"{WEBHOOKS}/{webhook_id}/test")
    history = [{"number": 1, "status": 500, "error": "no"}, {"number": 2, "status": 404, "error": "The status is 404"}]
    api.execute("UPDATE webhook_deliveries SET history = %s::jsonb", json.dumps(history))
    (delivery,) = _get(api, f"{WEBHOOKS}/{webhook_id}/deliveries")
    assert (delivery["response_status"], delivery["reason"]) == (404, "The status is 404")


def test_a_range_is_replayed_from_its_start_to_before_its_end(api: Api) -> None:
    hook = Hook(api, worker_id="wkr_open")
    for number in range(4):
        hook.accepted({"number": number}, {"x-github-delivery": str(number)})
        time.sleep(0.002)
    times = [each["created_at"] for each in reversed(hook.deliveries())]
    assert hook.replay_many(since=times[1], until=times[3]) == 2
    assert {each["replay_of"] for each in hook.deliveries()[:2]} == {each["id"] for each in hook.deliveries()[3:5]}


@pytest.mark.needs_session(
    because="each session of PostgreSQL reports what it has read by itself, and the test asks one"
)
def test_the_deliveries_of_a_job_are_those_of_all_webhooks_and_of_no_other_job_or_tenant(api: Api) -> None:
    job_id, other = api.trigger()["id"], api.trigger()["id"]
    insert = (
        "INSERT INTO webhook_deliveries (tenant_id, job_id, endpoint_id, event_id, event_type, n)"
        " SELECT %s, %s, %s, ava_uuid7(), 'ava.job.completed', n FROM generate_series(1, %s) AS n"
    )
    webhooks = [_webhook(api) for _ in range(2)]
    for webhook_id in webhooks:
        api.execute(insert, "ten_test", str(ids.decode("job", job_id)), str(ids.decode("wh", webhook_id)), 1)
    api.execute(insert, "ten_test", str(ids.decode("job", other)), str(ids.decode("wh", webhooks[0])), 20_000)
    api.execute("VACUUM ANALYZE webhook_deliveries")
    before = api.rows_read("webhook_deliveries")
    found = api.get(f"/v1/ava/jobs/{job_id}/deliveries?per_page=1").get_json()
    assert api.rows_read("webhook_deliveries") - before < 20
    assert (found["data"][0]["webhook_id"], found["pagination"]["total"]) == (webhooks[1], 2)
    assert found["data"][0]["job_ids"] == [job_id]
    cursor = found["pagination"]["next_cursor"]
    rest = api.get(f"/v1/ava/jobs/{job_id}/deliveries?cursor={cursor}").get_json()
    assert ([each["webhook_id"] for each in rest["data"]], rest["pagination"]["has_more"]) == ([webhooks[0]], False)
    path = f"/v1/ava/jobs/{job_id}/deliveries"
    error_of(api.get(path, headers={"x-tenant-id": "ten_other"}), 404, "resource_not_found")
