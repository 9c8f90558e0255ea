"""A caller who does not see payloads sees no byte of one: in no answer of any route, stream, export, entry or log."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ava.delivery.fan_out import FanOut
from ava.dispatcher.duties.statistics import EndedJobs
from ava.domain import ids
from ava.settings import ROLES, Settings
from harness.api import HEADERS, JOBS, NODE, Api, error_of, wrong_fields
from tests.integration.described_calls import calls_of

HOOKS, EVENTS, SUBSCRIPTIONS, KEYS = "/v1/webhooks", "/v1/ava/events", "/v1/ava/subscriptions", "/v1/ava/keys"
DAILY = {"worker_id": "wkr_open", "cron": "0 9 * * *", "timezone": "Europe/Berlin"}
INBOUND_HOOK, SCHEDULE = "/v1/ava/hooks/<hook:hook_id>", "/v1/ava/schedules/<schedule:schedule_id>"
#: Every payload of the tenant has it, and nothing else.
MARK = "pearl-of-the-payload"
_RUN = (
    "UPDATE jobs SET status = %s, started_at = now(), completed_at = now(), waits_for = NULL, run_at = NULL,"
    " run_no = 1, attempt = 1, node_id = %s, error = %s, output = %s::json, progress = %s::json WHERE triggered_by = %s"
)
_LINE = (
    "INSERT INTO job_logs SELECT tenant_id, id, 4294967296 + %s, ARRAY[now()], 'i', ARRAY[%s]"
    " FROM jobs WHERE triggered_by = %s"
)
_CHILD = (
    "UPDATE jobs AS j SET parent_id = p.id, tree_id = p.id, name = %s FROM jobs AS p"
    " WHERE p.triggered_by = 'usr_failed' AND j.triggered_by = 'usr_done'"
)
_STEP = (
    "INSERT INTO job_journal (tenant_id, job_id, kind, name, attempt, state, value)"
    " SELECT tenant_id, id, 'step', 'pay', 1, 'done', to_json(%s::text) FROM jobs WHERE triggered_by = 'usr_done'"
)
_WAIT = (
    "INSERT INTO job_waits (tenant_id, job_id, run_no, condition, waiting_for)"
    " SELECT tenant_id, id, run_no, 'event', %s::json FROM jobs WHERE triggered_by = 'usr_awaiting'"
)
_APPROVAL = (
    "INSERT INTO approvals (tenant_id, job_id, worker_id, name, title, payload, payload_hash, schema, roles, not_by,"
    " count, on_timeout, expires_at, decisions, deciders)"
    " SELECT tenant_id, id, worker_id, 'pay', %(mark)s, to_json(%(mark)s::text), %(hash)s, '{}',"
    " '{tenant-system-admin}', false, 2, 'deny', now() + interval '1 hour',"
    " json_build_array(json_build_object('by', json_build_object("
    " 'id', 'usr_a', 'kind', 'user', 'via', 'headers', 'label', NULL, 'is_operator', false), 'approved', true,"
    " 'comment', %(mark)s::text, 'data', %(mark)s::text, 'at', now())), '{usr_a}'"
    " FROM jobs WHERE triggered_by = 'usr_awaiting' RETURNING id::text"
)
#: Operations on which a caller who sees payloads sees the mark.
_SHOWN = {
    *("list_jobs", "show_job", "trigger_job", "trigger_many_jobs", "retry_job", "cancel_job", "follow_job"),
    *("show_job_log", "download_job_log", "export_jobs", "explain_job", "show_job_tree", "list_job_journal"),
    *("show_schedule", "list_schedules", "list_schedule_firings", "update_schedule", "run_schedule_now"),
    *("list_webhook_deliveries", "show_webhook_delivery", "list_error_groups", "show_error_group"),
    *("resolve_error_group", "list_audit_trail", "show_overview", "show_worker", "update_worker"),
    *("list_events", "show_event", "list_hooks", "list_hook_deliveries", "show_hook_delivery"),
    *("list_approvals", "show_approval", "approve_request"),
    *("list_subscriptions", "show_subscription", "list_operations", "show_operation"),
}


_JOB = {"worker_id": "wkr_open", "input": {"text": MARK}}
#: The bodies that have the mark, or take the place of what has it, by the ids of their operations.
_BODIES: dict[str, Any] = {"trigger_job": _JOB, "trigger_many_jobs": {"jobs": [_JOB]}, "retry_job": None}


@pytest.fixture
def blind(api: Api) -> dict[str, str | None]:
    """The headers of a caller who does not see payloads."""
    body = {"name": "blind", "role": "tenant-system-admin", "payloads": False}
    response = api.post(KEYS, json=body)
    assert response.get_json()["data"]["payloads"] is False
    return {**dict.fromkeys(HEADERS), "authorization": f"Bearer {response.get_json()['data']['token']}"}


def _end(api: Api, user: str, status: str, **values: Any) -> str:
    job = api.trigger(input={"text": MARK}, headers={"x-user-id": user})
    progress = json.dumps({"fraction": 0.5, "message": MARK})
    api.execute(_RUN, status, NODE, values.get("error"), values.get("output"), progress, user)
    api.execute(_LINE, 0, "Worker handler started", user)
    api.execute(_LINE, 1, MARK, user)
    api.execute(_LINE, 2, f"Handler {status} after 5ms", user)
    return str(job["id"])


def fill(api: Api) -> dict[str, list[str]]:
    """Fill the tenant with payloads. Returns what each place-holder of a path stands for."""
    hook = api.post(HOOKS, json={"url": "https://example.com/", "events": ["ava.job.queued"], "secret": "s" * 20})
    hook_id = hook.get_json()["data"]["id"]
    failed = _end(api, "usr_failed", "failed", error=f"ValueError: no such channel {MARK}")
    done = _end(api, "usr_done", "completed", output=json.dumps(MARK))
    for statement in (_CHILD, _STEP):
        api.execute(statement, MARK)
    waiting = api.trigger(input={"text": MARK}, headers={"x-user-id": "usr_waiting"})["id"]
    key = f'wkr_open ten_test "{MARK}"'
    api.execute("UPDATE workers SET max_running = 1, max_running_per = 'input.text' WHERE id = 'wkr_open'")
    api.execute(
        "UPDATE jobs SET waits_for = 'permit', published_at = NULL, limit_key = %s WHERE triggered_by = 'usr_waiting'",
        key,
    )
    deferred = api.trigger(input={"text": MARK}, headers={"x-user-id": "usr_deferred"})["id"]
    api.execute(
        "UPDATE jobs SET waits_for = 'deferred', run_at = now() + interval '1 hour', run_no = 1, published_at = NULL,"
        " scheduled_at = NULL WHERE triggered_by = 'usr_deferred'"
    )
    api.execute(_LINE, 2, f"Handler retries later, in 9 s: {MARK}", "usr_deferred")
    api.execute("UPDATE workers SET max_running = NULL, max_running_per = NULL WHERE id = 'wkr_open'")
    awaiting = api.trigger(headers={"x-user-id": "usr_awaiting"})["id"]
    api.execute(
        "UPDATE jobs SET waits_for = 'event', published_at = NULL, run_no = 1, attempt = 1"
        " WHERE triggered_by = 'usr_awaiting'"
    )
    event = {"type": "order.paid", "match": {"data": {"text": [MARK]}}}
    api.execute(_WAIT, json.dumps({"jobs": [], "event": event, "until": None}))
    with api.database.connect() as connection:
        approval = connection.exec_driver_sql(_APPROVAL, {"mark": MARK, "hash": f"sha256:{0:064}"}).scalar_one()
    FanOut(api.database).run_once()
    api.execute(
        "UPDATE webhook_deliveries SET history = %s::jsonb",
        json.dumps([{"number": 1, "at": "2026-01-01T00:00:00Z", "status": 500, "duration_ms": 1, "answer": MARK}]),
    )
    for _ in range(2):
        EndedJobs(api.database).run_once(0)
    body = {"worker_id": "wkr_open", "cron": "0 9 * * *", "timezone": "UTC", "input": {"text": MARK}}
    schedule = api.post("/v1/ava/schedules", json=body).get_json()["data"]["id"]
    api.request("PATCH", f"/v1/ava/schedules/{schedule}", json={"input": {"other": MARK}})
    api.execute(
        "INSERT INTO schedule_firings (tenant_id, schedule_id, timezone, slot, fold, at, outcome, reason)"
        " SELECT tenant_id, id, 'UTC', now()::timestamp, 0, now(), 'skipped', %s FROM schedules",
        f"worker wkr_open refuses the input: input.text: '{MARK}' is not an integer",
    )
    assert api.request("PATCH", "/v1/ava/workers/wkr_open", json={"config": {"TEXT": MARK}}).status_code == 200
    found = api.post(f"{JOBS}/cancel", json={"filter": {"input": {"text": MARK}, "priority": 9}})
    scope = {"tag": {"key": "agent", "value": "none"}}
    contained = api.post("/v1/ava/containments", json={"scope": scope, "reason": "a test"})
    ((delivery,),) = api.execute("SELECT id::text FROM webhook_deliveries LIMIT 1") or (("",),)

    came_in = _receive(api)
    notice = {"name": "n", "channel": "slack", "target": "https://example.com/", "on": [{"event": "job.failed"}]}
    return {
        **came_in,
        "notice_id": [api.post("/v1/ava/notices", json=notice).get_json()["data"]["id"]],
        "job_id": [failed, done, waiting, deferred, awaiting],
        "webhook_id": [hook_id],
        "delivery_id": [ids.encode("del", delivery), *came_in["delivery_id"]],
        "schedule_id": [schedule],
        "approval_id": [ids.encode("apr", approval)],
        "error_id": [api.get("/v1/ava/errors").get_json()["data"][0]["id"]],
        "operation_id": [found.get_json()["data"]["id"]],
        "containment_id": [contained.get_json()["data"]["id"]],
        "worker_id": ["wkr_open"],
        "key_id": [api.post(KEYS, json={"name": "other", "role": "tenant-user"}).get_json()["data"]["id"]],
        "tenant_id": ["ten_test"],
        "node_id": [NODE],
        "queue": ["default"],
        "run": ["avarun_00.none"],
    }


def _receive(api: Api) -> dict[str, list[str]]:
    """Fill the tenant with an event that came by a hook. Returns what each place-holder of a path stands for."""
    rule = {"match": {"data": {"text": [MARK]}}}
    hook = api.post("/v1/ava/hooks", json={"name": "payloads", "provider": "none", **rule}).get_json()["data"]
    subscription = {"event_type": "hook.*", "worker_id": "wkr_open", "input": {"text": MARK}, **rule}
    found = api.post("/v1/ava/subscriptions", json=subscription).get_json()["data"]
    headers = {**dict.fromkeys(HEADERS), "x-text": MARK}
    sent = api.post(hook["url"].partition("localhost")[2], json={"text": MARK}, headers=headers)
    return {
        "hook_id": [hook["id"]],
        "subscription_id": [found["id"]],
        "event_id": [api.get("/v1/ava/events").get_json()["data"][0]["id"]],
        "delivery_id": [sent.get_json()["data"]["delivery_id"]],
    }


def _visit(api: Api, headers: dict[str, str | None]) -> tuple[dict[str, str], set[str]]:
    """Call every operation. Returns the bodies with the mark by method and path, and the ids of their operations."""
    bodies, shown = {}, set()
    for call in calls_of(api, fill(api), of_all=True):
        # The stream of a job that is not final has no end.
        if call.is_open or (call.path.endswith("/stream") and not _is_final(api, call.path)):
            continue
        response: TestResponse = api.request(
            call.method, call.path, headers=headers, json=_BODIES.get(call.id, call.body)
        )
        assert response.status_code < 500, f"{call.name}: {response.text}"
        if MARK in response.text or MARK in str(response.headers):
            bodies[f"{call.method} {call.path}"] = response.text
            shown.add(call.id)
    return bodies, shown


def _is_final(api: Api, path: str) -> bool:
    record = api.get(path.removesuffix("/stream")).get_json()["data"]
    return record.get("status") in ("completed", "failed", "cancelled")


def test_no_route_shows_a_payload_to_a_key_without_them(
    api: Api, blind: dict[str, str | None], caplog: pytest.LogCaptureFixture
) -> None:
    bodies, _ = _visit(api, blind)
    assert bodies == {}
    assert MARK not in caplog.text


def test_the_routes_show_payloads_to_others(api: Api) -> None:
    """Proves that the test above would see one."""
    _, shown = _visit(api, {})
    assert _SHOWN - shown == set()


def test_payloads_are_hidden_from_keys_without_payload_access(api: Api, blind: dict[str, str | None]) -> None:
    ids = fill(api)
    failed, done, waiting, deferred, awaiting = ids["job_id"]
    record = api.get(f"{JOBS}/{failed}", headers=blind).get_json()["data"]
    assert (record["input"], record["output"], record["payload_hidden"]) == (None, None, True)
    assert (record["error"], record["status"]) == ("ValueError: (hidden)", "failed")
    assert record["progress"] == {"fraction": 0.5, "message": "(hidden)"}
    log = api.get(f"{JOBS}/{done}/logs", headers=blind).get_json()["data"]
    assert (log["logs"], log["payload_hidden"]) == ([], True)
    described = api.get("/openapi.json").get_json()["components"]["schemas"]
    assert record.keys() <= described["JobRecord"]["properties"].keys()
    assert log.keys() <= described["JobLogRecord"]["properties"].keys()
    assert api.get(f"{JOBS}/{done}/logs/download", headers=blind).text == ""
    stream = api.get(f"{JOBS}/{done}/stream", headers=blind).text
    assert stream.count("event: hidden\n") == 1
    assert "event: log\n" not in stream
    assert '"payload_hidden":true' in stream.rpartition("event: end\n")[2]
    lines = api.get(f"{JOBS}/export", headers=blind).text.splitlines()
    assert {json.loads(line)["payload_hidden"] for line in lines} == {True}
    assert "(hidden)" in api.get(f"{JOBS}/{deferred}/why", headers=blind).get_json()["data"]["sentence"]
    api.execute("UPDATE workers SET max_running = 1, max_running_per = 'input.text' WHERE id = 'wkr_open'")
    assert "text (hidden) runs" in api.get(f"{JOBS}/{waiting}/why", headers=blind).get_json()["data"]["sentence"]
    assert "payload_hidden" not in api.get(f"{JOBS}/{failed}").get_json()["data"]
    waits = api.get(f"{JOBS}/{awaiting}?fields=waiting_for", headers=blind).get_json()["data"]
    event = {"type": "order.paid", "match": None}
    assert waits == {"waiting_for": {"jobs": [], "event": event, "until": None}, "payload_hidden": True}
    # What is chosen of a record, and has no payload, is whole.
    chosen = api.get(f"{JOBS}/{failed}?fields=id,status", headers=blind).get_json()["data"]
    assert chosen == {"id": failed, "status": "failed"}


def test_the_reason_of_a_refused_event_or_delivery_names_no_field_of_an_input(
    api: Api, blind: dict[str, str | None]
) -> None:
    api.announce("wkr_strict")
    schema = json.dumps({"type": "object", "additionalProperties": False, "properties": {"n": {"type": "integer"}}})
    api.execute("UPDATE workers SET input_schema = %s, input_schema_version = 'v' WHERE id = 'wkr_strict'", schema)
    makes = {"worker_id": "wkr_strict", "input": {MARK: 1}}
    api.post("/v1/ava/subscriptions", json={"event_type": "order.paid", **makes})
    event = api.post("/v1/ava/events", json={"type": "order.paid", "data": {}}).get_json()["data"]["id"]
    hook = api.post("/v1/ava/hooks", json={"name": "strict", "provider": "none", **makes}).get_json()["data"]
    api.post(hook["url"].partition("localhost")[2], json={}, headers=dict.fromkeys(HEADERS))
    deliveries = f"/v1/ava/hooks/{hook['id']}/deliveries"
    delivery = api.get(deliveries).get_json()["data"][0]["id"]
    paths = ("/v1/ava/events", f"/v1/ava/events/{event}", deliveries, f"{deliveries}/{delivery}")
    for path in paths:
        assert f"input.{MARK}: It is unknown" in api.get(path).text, path
        shown = api.get(path, headers=blind).text
        assert MARK not in shown, path
        assert re.search(r'"reason": ?"\(hidden\)"', shown), path


def test_filters_and_searches_that_read_payloads_are_forbidden(api: Api, blind: dict[str, str | None]) -> None:
    job = api.trigger()
    for path in (
        f"{JOBS}?filter[error]=abc",
        f"{JOBS}?filter[input.text]=abc",
        f"{JOBS}/export?filter[input.text]=abc",
        f"{JOBS}/{job['id']}/logs?q=abc",
        f"{JOBS}/{job['id']}/logs/download?q=abc",
    ):
        assert api.get(path).status_code == 200, path
        error_of(api.get(path, headers=blind), 403, "forbidden")
    for name in ("cancel", "retry"):
        body = {"filter": {"input": {"text": "abc"}}, "dry_run": True}
        assert api.post(f"{JOBS}/{name}", json=body).status_code == 200
        error_of(api.post(f"{JOBS}/{name}", json=body, headers=blind), 403, "forbidden")


def test_no_schema_tells_a_caller_without_payloads_an_input_bit_by_bit(api: Api, blind: dict[str, str | None]) -> None:
    made = api.post("/v1/ava/workers", json={"slug": "asked", "runtime": "pull"})
    assert made.status_code == 201, made.text
    job = api.trigger("wkr_asked", input={"text": MARK})
    api.post(f"{JOBS}/{job['id']}/cancel")
    begins = {"properties": {"text": {"type": "string", "maxLength": 3}}}
    path = "/v1/ava/workers/wkr_asked"
    error_of(api.request("PATCH", path, json={"input_schema": begins}, headers=blind), 403, "forbidden")
    error_of(api.request("DELETE", path, headers=blind), 403, "forbidden")
    assert api.post(f"{JOBS}/{job['id']}/retry", headers=blind).status_code == 201


def test_an_output_that_the_caller_does_not_see_goes_to_no_other_job(api: Api, blind: dict[str, str | None]) -> None:
    entries = [
        {"worker_id": "wkr_open", "name": "a"},
        {"worker_id": "wkr_open", "name": "b", "after": ["a"], "input": {"text": {"$output": "a"}}},
    ]
    body = {"jobs": entries}
    assert api.post(f"{JOBS}/bulk", json=body).status_code == 201
    for headers in (blind, {**blind, "idempotency-key": "once"}):
        error_of(api.post(f"{JOBS}/bulk", json=body, headers=headers), 403, "forbidden")
    entries[1]["input"] = {"text": "x"}
    assert api.post(f"{JOBS}/bulk", json=body, headers=blind).status_code == 201


def test_the_input_of_a_schedule_goes_to_no_worker_that_a_caller_without_payloads_chooses(
    api: Api, blind: dict[str, str | None]
) -> None:
    api.announce("wkr_next")
    body = {"worker_id": "wkr_open", "cron": "0 9 * * *", "timezone": "UTC", "input": {"text": MARK}}
    path = f"/v1/ava/schedules/{api.post('/v1/ava/schedules', json=body).get_json()['data']['id']}"
    error_of(api.request("PATCH", path, json={"worker_id": "wkr_next"}, headers=blind), 403, "forbidden")
    change = {"worker_id": "wkr_next", "input": {}}
    assert api.request("PATCH", path, json=change, headers=blind).status_code == 200


def test_a_key_of_the_role_worker_sees_the_inputs_that_it_claims(api: Api) -> None:
    body = {"name": "x", "role": "worker", "workers": ["wkr_open"], "payloads": False}
    assert set(wrong_fields(api.post(KEYS, json=body))) == {"payloads"}


def test_a_session_of_a_key_without_payloads_has_none(api: Api, blind: dict[str, str | None]) -> None:
    job = api.trigger(input={"text": MARK})
    response = api.post("/v1/ava/session", headers=blind)
    cookie = response.headers["Set-Cookie"].partition(";")[0]
    as_page = {**dict.fromkeys(HEADERS), "cookie": cookie, "sec-fetch-site": "same-origin"}
    assert response.get_json()["data"]["payloads"] is False
    assert api.get(f"{JOBS}/{job['id']}", headers=as_page).get_json()["data"]["payload_hidden"] is True


class TestRoles:
    """AVA_PAYLOAD_ROLES."""

    @pytest.fixture
    def api_settings(self, api_settings: Settings) -> Settings:
        """Settings under which one role sees payloads."""
        return replace(api_settings, payload_roles=("tenant-admin",))

    def test_a_role_that_is_not_listed_sees_no_payload(self, api: Api) -> None:
        job = api.trigger(input={"text": MARK})
        seen = {
            role
            for role in ROLES
            if MARK in api.get(f"{JOBS}/{job['id']}", headers={"x-platform-role": role}).text
        }  # fmt: skip
        assert seen == {"tenant-admin"}
        error_of(api.post(KEYS, json={"name": "x", "role": "tenant-admin"}), 403, "forbidden")
