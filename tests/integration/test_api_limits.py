"""`GET /v1/ava/limits`, and that an error names the limit that it comes from."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ava.domain.limits.table import LIMITS, SCHEDULE_BODY_BYTES, WEBHOOK_BODY_BYTES
from ava.settings import Settings
from harness.api import JOBS, Api, error_of, wrong_fields
from harness.polling import wait_until

SCHEDULES = "/v1/ava/schedules"
WEBHOOKS = "/v1/webhooks"


def _limits(api: Api) -> dict[str, dict[str, Any]]:
    return {limit["name"]: limit for limit in api.get("/v1/ava/limits?per_page=100").get_json()["data"]}


def test_every_limit_is_shown_by_name(api: Api) -> None:
    shown = _limits(api)
    assert list(shown) == [limit.name for limit in LIMITS]
    assert shown["bulk_jobs"] == {
        "name": "bulk_jobs",
        "value": 1_000,
        "unit": "jobs",
        "used": None,
        "used_is_exact": None,
        "setting": None,
        "status": 422,
        "meaning": "Jobs that one call may trigger.",
    }


def test_an_error_names_the_limit_that_it_comes_from(api: Api) -> None:
    too_many = {"jobs": [{"worker_id": "wkr_open"}] * 1_001}
    too_large = b'{"worker_id":"wkr_open","input":{"x":"' + b"y" * 2**20 + b'"}}'
    too_deep = b'{"worker_id":"wkr_open","input":' + b'{"a":' * 501 + b"1" + b"}" * 502
    schedule = {"worker_id": "wkr_open", "cron": "* * * * *", "timezone": "UTC", "input": {"x": "y" * 2**16}}
    paths = {f"place.{number}": "x" for number in range(6)}
    query = "&".join(f"filter[input.{path}]={wanted}" for path, wanted in paths.items())
    for response, status, code, name in (
        (api.post(f"{JOBS}/bulk", json=too_many), 422, "validation_error", "bulk_jobs"),
        (api.post_raw(too_large), 413, "payload_too_large", "input_bytes"),
        (api.post_raw(b"x" * 2**21), 413, "payload_too_large", "body_bytes"),
        (api.post_raw(b"x" * 2**25, f"{JOBS}/bulk"), 413, "payload_too_large", "bulk_body_bytes"),
        (api.post_raw(too_deep), 400, "bad_request", "nesting"),
        (api.post(SCHEDULES, json=schedule), 413, "payload_too_large", "schedule_input_bytes"),
        (api.get(f"{JOBS}?{query}"), 400, "validation_error", "input_filters"),
        (api.post(f"{JOBS}/cancel", json={"filter": {"input": paths}}), 422, "validation_error", "input_filters"),
    ):
        assert f"(limit {name})" in error_of(response, status, code)["message"]


def test_the_bodies_of_schedules_and_webhooks_are_smaller_than_those_of_jobs(api: Api) -> None:
    hook = {"url": "https://example.com/", "events": ["ava.job.completed"], "secret": "s" * 24}
    webhook = f"{WEBHOOKS}/{api.post(WEBHOOKS, json=hook).get_json()['data']['id']}"
    daily = {"worker_id": "wkr_open", "cron": "0 9 * * *", "timezone": "UTC"}
    schedule = f"{SCHEDULES}/{api.post(SCHEDULES, json=daily).get_json()['data']['id']}"
    for method, path, body, limit in (
        ("POST", SCHEDULES, daily, SCHEDULE_BODY_BYTES),
        ("PATCH", schedule, {"cron": "0 8 * * *"}, SCHEDULE_BODY_BYTES),
        ("POST", f"{SCHEDULES}/preview", {"cron": "0 9 * * *", "timezone": "UTC"}, SCHEDULE_BODY_BYTES),
        ("POST", WEBHOOKS, hook, WEBHOOK_BODY_BYTES),
        ("PATCH", webhook, {"roots_only": True}, WEBHOOK_BODY_BYTES),
    ):
        # White space counts, so that the body is valid but for its length.
        whole = json.dumps(body).encode().ljust(limit.value)
        accepted = api.request(method, path, data=whole, content_type="application/json")
        assert accepted.status_code in (200, 201), accepted.text
        refused = api.request(method, path, data=whole + b" ", content_type="application/json")
        message = error_of(refused, 413, "payload_too_large")["message"]
        assert message.endswith(f"(limit {limit.name})")
        assert f"{limit.value:,} bytes" in message


def test_the_watchers_of_all_tenants_are_limited_together(api: Api) -> None:
    # The limit is fixed, and three thousand streams are more than a test holds.
    api.app.extensions["ava"].shares.watchers._maximum = 2
    other = {"x-tenant-id": "ten_other"}
    ours, theirs = (api.trigger(headers=headers)["id"] for headers in ({}, other))
    first = api.get(f"{JOBS}/{ours}/stream")
    second = api.get(f"{JOBS}/{theirs}/stream", headers=other)
    assert [first.status_code, second.status_code] == [200, 200]
    for refused in (api.get(f"{JOBS}/{ours}/stream"), api.get(f"{JOBS}/{ours}?wait=1")):
        assert error_of(refused, 429, "rate_limited")["message"].endswith("(limit watchers)")
        assert int(refused.headers["Retry-After"]) >= 1
    first.close()
    third = api.get(f"{JOBS}/{ours}/stream")
    assert third.status_code == 200
    for response in (second, third):
        response.close()


def test_a_job_may_be_dated_a_year_ahead_and_no_more(api: Api) -> None:
    now = datetime.now(UTC)
    assert api.trigger(scheduled_at=(now + timedelta(days=365)).isoformat())["status"] == "queued"
    for timestamp in ((now + timedelta(days=367)).isoformat(), "9999-12-31T23:59:59Z"):
        response = api.post(JOBS, json={"worker_id": "wkr_open", "scheduled_at": timestamp})
        (reason,) = wrong_fields(response)["scheduled_at"]
        assert reason.endswith("(limit days_ahead)")


def test_the_queued_jobs_of_a_tenant_are_limited(api_settings: Settings) -> None:
    with Api.running(replace(api_settings, tenant_max_queued=5)) as api:
        for _ in range(4):
            api.trigger()
        two = {"jobs": [{"worker_id": "wkr_open"}] * 2}
        refused = api.post(f"{JOBS}/bulk", json=two)
        assert "(limit tenant_queued_jobs)" in error_of(refused, 429, "rate_limited")["message"]
        assert int(refused.headers["Retry-After"]) >= 1
        last = api.trigger()
        error_of(api.post(JOBS, json={"worker_id": "wkr_open"}), 429, "rate_limited")
        assert api.trigger(headers={"x-tenant-id": "ten_other"})["status"] == "queued"
        shown = _limits(api)["tenant_queued_jobs"]
        assert (shown["value"], shown["used"], shown["used_is_exact"]) == (5, 5, True)
        # A job that is queued no more makes room, as soon as the jobs are counted again.
        api.post(f"{JOBS}/{last['id']}/cancel")
        quota = api.app.extensions["ava"].jobs.creator._quota.queued_jobs
        later = quota._clock() + 2
        quota._clock = lambda: later
        assert api.trigger()["status"] == "queued"


def test_slow_statements_of_one_tenant_leave_connections_to_others(api_settings: Settings) -> None:
    with Api.running(replace(api_settings, api_connections=4)) as api, ThreadPoolExecutor(5) as threads:
        fields = {"url": "https://93.184.216.34/", "events": ["ava.job.failed"], "secret": "s" * 32}
        webhook_id = api.post("/v1/webhooks", json=fields).get_json()["data"]["id"]
        gate = api.app.extensions["ava"].database._gate
        with api.database.transaction() as connection:
            connection.exec_driver_sql("SELECT 1 FROM webhook_endpoints FOR UPDATE")
            # Each waits for the lock; three of four connections are the tenant's share.
            slow = [
                threads.submit(api.request, "PATCH", f"/v1/webhooks/{webhook_id}", json={"events": ["ava.job.failed"]})
                for _ in range(5)
            ]
            wait_until(lambda: len(gate._waiting.get("ten_test", ())) == 2)
            assert api.get(JOBS, headers={"x-tenant-id": "ten_other"}).status_code == 200
            assert gate._used["ten_test"] == 3
        assert {each.result(30).status_code for each in slow} == {200}
        # The audit trail, which is no tenant, takes a connection now and then.
        wait_until(lambda: (gate._free, gate._used) == (4, {}))


def test_the_large_bodies_of_one_tenant_are_stored_one_at_a_time(api_settings: Settings) -> None:
    large = {"worker_id": "wkr_open", "input": {"text": "x" * 100_000}}
    with Api.running(api_settings) as api, ThreadPoolExecutor(4) as threads:
        shares = api.app.extensions["ava"].shares.large_requests
        with api.database.transaction() as connection:
            connection.exec_driver_sql("LOCK TABLE jobs IN SHARE MODE")
            posted = [threads.submit(api.post, JOBS, json=large) for _ in range(3)]
            wait_until(lambda: shares._waiting == {"ten_test": 2})
            assert not any(each.done() for each in posted)
        assert [each.result(30).status_code for each in posted] == [201] * 3
        assert shares.used("ten_test") == 0


def test_the_most_urgent_priorities_are_for_the_roles_of_the_platform(api_settings: Settings) -> None:
    with Api.running(replace(api_settings, tenant_most_urgent_priority=3)) as api:
        operator = {"x-platform-role": "platform-admin"}
        urgent = api.trigger(priority=1, headers=operator)
        assert api.trigger(priority=3)["priority"] == 3
        error = error_of(api.post(JOBS, json={"worker_id": "wkr_open", "priority": 2}), 422, "validation_error")
        assert error["fields"] == {
            "priority": ["It must be from 3 to 10 for tenant roles. (limit most_urgent_priority)"]
        }
        bulk = {"jobs": [{"worker_id": "wkr_open"}, {"worker_id": "wkr_open", "priority": 1}]}
        assert list(wrong_fields(api.post(f"{JOBS}/bulk", json=bulk))) == ["jobs[1].priority"]
        api.post(f"{JOBS}/{urgent['id']}/cancel")
        assert api.post(f"{JOBS}/{urgent['id']}/retry").get_json()["data"]["priority"] == 3


def test_each_rate_has_its_own_requests_and_its_name(api_settings: Settings) -> None:
    rates = {"rate_limit_read": "4/minute", "rate_limit_write": "3/minute", "rate_limit_webhooks": "1/minute"}
    with Api.running(replace(api_settings, **rates)) as api:
        hook = {"url": "https://example.com/", "events": ["ava.job.completed"], "secret": "s" * 24}
        made = api.post("/v1/webhooks", json=hook)
        path = f"/v1/webhooks/{made.get_json()['data']['id']}"
        for _ in range(4):
            assert api.request("PATCH", path, json={"roots_only": True}).status_code == 200
        for _ in range(3):
            last = api.post(JOBS, json={"worker_id": "wkr_open"})
        assert (last.headers["X-RateLimit-Limit"], last.headers["X-RateLimit-Remaining"]) == ("3", "0")
        assert 0 < int(last.headers["X-RateLimit-Reset"]) - datetime.now(UTC).timestamp() <= 61
        for response, name in (
            (api.post("/v1/webhooks", json=hook), "rate_limit_webhooks"),
            (api.request("DELETE", path), "rate_limit_write"),
            (api.get(JOBS), "rate_limit_read"),
        ):
            error = error_of(response, 429, "rate_limited")
            assert error["message"].endswith(f"(limit {name})")
            assert 0 < int(response.headers["Retry-After"]) <= 60
