"""PATCH of a worker, its schema, and what both change for triggers and schedules."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from ava.dispatcher.duties.waiting_jobs import MovedWorkers
from ava.domain.input_schema import check_schema
from ava.domain.secrets.sealing import Sealer, worker_keys
from ava.domain.worker import OnWorkerLost, WorkerLimits, WorkerSpec
from ava.services.sealed_secrets import reseal_all, unreadable
from ava.settings import Settings
from ava.store.fleet import worker_settings, workers
from ava.store.fleet.worker_settings import PLATFORM
from harness.api import JOBS, Api, error_of, wrong_fields
from harness.polling import wait_until
from tests.lock_waits import await_lock_waits

WORKER = "/v1/ava/workers/wkr_open"
OPERATOR = {"x-platform-role": "platform-admin"}
NOTIFY = {
    "type": "object",
    "properties": {"channel": {"type": "string", "pattern": "^#"}, "n": {"type": "integer"}},
    "required": ["channel"],
    "additionalProperties": False,
}


def _announce(api: Api, schema: dict[str, Any] | None, **fields: Any) -> None:
    spec = WorkerSpec(
        id="wkr_open",
        name="Open",
        description="",
        cancel_grace_seconds=10,
        queue="default",
        tenants=None,
        on_worker_lost=OnWorkerLost.REQUEUE,
        input_schema_json=None if schema is None else check_schema(schema),
        **{"timeout_seconds": 300, "max_retries": 2, **fields},
    )
    with api.database.connect() as connection:
        workers.announce(connection, [spec])


def _patch(api: Api, body: dict[str, Any], **rest: Any) -> dict[str, Any]:
    response = api.request("PATCH", WORKER, json=body, **rest)
    assert response.status_code == 200, response.text
    record: dict[str, Any] = response.get_json()["data"]
    return record


# Settings -------------------------------------------------------------------------------------------------------------


def test_settings_hold_for_the_tenant_alone_and_null_takes_them_back(fresh_api: Api) -> None:
    api = fresh_api
    _announce(api, None, retention_days=7)
    changed = _patch(api, {"timeout_seconds": 20, "max_retries": 1, "status": "paused", "config": {"A": "1", "B": "2"}})
    assert (changed["timeout_seconds"], changed["max_retries"], changed["status"]) == (20, 1, "paused")
    assert (changed["paused"]["by"]["id"], changed["config"]) == ("usr_test", {"A": "1", "B": "2"})
    assert (changed["handler_timeout_seconds"], changed["handler_max_retries"]) == (300, 2)
    assert changed["retention_days"] == 7
    assert api.trigger()["max_attempts"] == 2
    theirs = api.get(WORKER, headers={"x-tenant-id": "ten_other"}).get_json()["data"]
    assert (theirs["timeout_seconds"], theirs["status"], theirs["config"]) == (300, "active", {})
    back = _patch(api, {"timeout_seconds": None, "max_retries": None, "status": None, "config": {"A": None}})
    assert (back["timeout_seconds"], back["status"], back["config"]) == (300, "active", {"B": "2"})
    assert api.trigger()["max_attempts"] == 3


def test_a_change_that_meets_the_deletion_of_empty_settings_makes_them_anew(fresh_api: Api) -> None:
    api = fresh_api
    _announce(api, None)
    _patch(api, {"config": {"A": "1"}})
    pair = {"tenant_id": "ten_test", "worker_id": "wkr_open"}
    with ThreadPoolExecutor(1) as threads:
        with api.database.transaction() as connection:
            settings = worker_settings.lock(connection, **pair)
            changed = threads.submit(_patch, api, {"config": {"B": "2"}})
            await_lock_waits(api.database)
            worker_settings.write(connection, replace(settings, config={}), **pair)
        assert changed.result()["config"] == {"B": "2"}


def test_what_the_platform_sets_holds_for_all_under_their_own(fresh_api: Api) -> None:
    api = fresh_api
    _announce(api, None)
    body = {"scope": "platform", "timeout_seconds": 50, "config": {"REGION": "eu"}}
    error_of(api.request("PATCH", WORKER, json=body), 403, "forbidden")
    seen = _patch(api, body, headers=OPERATOR)
    assert seen["platform"]["config"] == {"REGION": "eu"}
    shown = api.get(WORKER).get_json()["data"]
    assert (shown["timeout_seconds"], shown["platform"]["config"]) == (50, {"REGION": "••••••"})
    assert _patch(api, {"timeout_seconds": 60})["timeout_seconds"] == 60
    # A handler that is deployed later still bounds both.
    _announce(api, None, timeout_seconds=40)
    assert api.get(WORKER).get_json()["data"]["timeout_seconds"] == 40


def test_the_platform_sets_the_limits_of_a_worker_and_what_waits_follows(fresh_api: Api) -> None:
    api = fresh_api
    _announce(api, None)
    published = api.trigger()
    duty = MovedWorkers(api.database)
    duty.run_once(0)
    body = {"scope": "platform", "max_running": 3, "rate": "100/minute"}
    error_of(api.request("PATCH", WORKER, json=body), 403, "forbidden")
    seen = _patch(api, body, headers=OPERATOR)
    assert (seen["max_running"], seen["max_running_per"], seen["rate"]) == (3, None, "100/minute")
    assert (seen["platform"]["max_running"], seen["platform"]["rate"]) == (3, "100/minute")
    # What was published is recalled, and waits for a place.
    assert duty.run_once(1) == 1
    (row,) = api.execute("SELECT run_no, published_at, limit_key FROM jobs")
    assert tuple(row) == (1, None, "wkr_open")
    (limit,) = api.get("/v1/ava/limits/workers").get_json()["data"]
    assert (limit["worker_id"], limit["max_running"], limit["rate"]) == ("wkr_open", 3, "100/minute")
    assert (limit["running"], limit["waiting"], limit["waiting_is_exact"]) == (0, 1, True)
    assert api.get("/v1/ava/limits/workers", headers={"x-tenant-id": "ten_other"}).get_json()["data"][0]["waiting"] == 0
    # They hold over what a handler declares that is deployed later, until they are taken back.
    declared = WorkerLimits(max_running=9, max_running_per="tenant")
    _announce(api, None, limits=declared)
    assert api.get(WORKER).get_json()["data"]["max_running"] == 3
    assert "of 3" in api.get(f"{JOBS}/{published['id']}/why").get_json()["data"]["sentence"]
    back = _patch(api, {"scope": "platform", "max_running": None, "rate": None}, headers=OPERATOR)
    assert (back["max_running"], back["max_running_per"], back["rate"], back["platform"]) == (9, "tenant", None, None)
    assert _patch(api, {"scope": "platform", "max_running": 0}, headers=OPERATOR)["max_running"] == 0
    assert "may run none" in api.get(f"{JOBS}/{published['id']}/why").get_json()["data"]["sentence"]


def test_a_node_that_starts_while_a_limit_is_set_keeps_it(fresh_api: Api) -> None:
    api = fresh_api
    _announce(api, None)
    with api.database.transaction() as setting, ThreadPoolExecutor(1) as threads:
        before = worker_settings.lock(setting, tenant_id=PLATFORM, worker_id="wkr_open")
        change = replace(before, max_running=1)
        worker_settings.write(setting, change, tenant_id=PLATFORM, worker_id="wkr_open")
        workers.apply_limits(setting, "wkr_open")
        starting = threads.submit(_announce, api, None)
        wait_until(lambda: api.execute("SELECT FROM pg_locks WHERE NOT granted"), what="the node waits for the row")
        setting.commit()
        starting.result(30)
    assert api.get(WORKER).get_json()["data"]["max_running"] == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("rate", value) for value in ("fast", "0/minute", "-1/minute", "5/fortnight", "5/minute\0", "9" * 5000)),
        ("max_running", -1),
    ],
)
def test_a_wrong_limit_of_a_worker_is_named(shared_api: Api, field: str, value: Any) -> None:
    body = {"scope": "platform", field: value}
    assert field in wrong_fields(shared_api.request("PATCH", WORKER, json=body, headers=OPERATOR))
    # Only the platform sets it.
    right = {"max_running": 1, "rate": "1/minute"}[field]
    response = shared_api.request("PATCH", WORKER, json={field: right}, headers=OPERATOR)
    assert "scope" in wrong_fields(response)[field][0]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "body"),
        ({"timeout_seconds": 301}, "timeout_seconds"),
        ({"max_retries": 3}, "max_retries"),
        ({"config": {"A": "\0"}}, "config.A"),
        ({"config": {"A": "\ud800"}}, "config.A"),
        ({"config": {"A": "x" * 8193}}, "config.A"),
        ({"secrets": {"A": "abc"}}, "secrets.A"),
        ({"secrets": {f"S{n}": "enough" for n in range(101)}}, "secrets"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_changes(shared_api: Api, body: dict[str, Any], named: str) -> None:
    _announce(shared_api, None)
    error = error_of(shared_api.request("PATCH", WORKER, json=body), 422, "validation_error")
    assert list(error["fields"]) == [named]
    assert shared_api.execute("SELECT * FROM worker_settings WHERE worker_id = 'wkr_open'") == []


def test_entries_add_up_to_no_more_than_the_limit(fresh_api: Api) -> None:
    _announce(fresh_api, None)
    for part in range(2):
        _patch(fresh_api, {"config": {f"K{part}_{n}": "x" for n in range(50)}})
    response = fresh_api.request("PATCH", WORKER, json={"config": {"ONE_MORE": "x"}})
    assert "worker_entries" in error_of(response, 422, "validation_error")["message"]


def test_a_secret_is_sealed_for_its_tenant_shown_as_a_name_and_audited_without_its_value(
    fresh_api: Api, api_settings: Settings
) -> None:
    api = fresh_api
    _announce(api, None)
    assert _patch(api, {"secrets": {"TOKEN": "marker-secret", "OTHER": "another-one"}})["secrets"] == ["OTHER", "TOKEN"]
    assert _patch(api, {"secrets": {"OTHER": None}})["secrets"] == ["TOKEN"]
    ((stored,),) = api.execute("SELECT secrets::text FROM worker_settings WHERE worker_id = 'wkr_open'")
    assert "marker-secret" not in stored
    sealer = Sealer(worker_keys(api_settings.encryption_keys))
    sealed = json.loads(stored)["TOKEN"]
    assert sealer.of_tenant("ten_test").open(sealed) == "marker-secret"
    assert not sealer.of_tenant("ten_other").opens(sealed)
    assert not Sealer(api_settings.encryption_keys).opens(sealed)
    entries = api.get("/v1/ava/audit?filter[action]=workers.change&filter[target]=wkr_open").get_json()["data"]
    assert [entry["changes"] for entry in entries] == [
        {"secrets.OTHER": ["••••••", None]},
        {"secrets.TOKEN": [None, "••••••"], "secrets.OTHER": [None, "••••••"]},
    ]
    assert "marker-secret" not in json.dumps(entries)
    assert unreadable(api.database, api_settings.encryption_keys) == (1, [])
    assert reseal_all(api.database, api_settings.encryption_keys) == (0, 1)
    assert unreadable(api.database, []) == (1, ["wkr_open of ten_test"])


def test_what_the_platform_configures_is_audited_without_its_values_which_no_tenant_sees(fresh_api: Api) -> None:
    _announce(fresh_api, None)
    for value in ("https://marker-one", "https://marker-two", None):
        body = {"scope": "platform", "config": {"UPSTREAM": value}, "timeout_seconds": 30}
        assert fresh_api.request("PATCH", WORKER, json=body, headers=OPERATOR).status_code == 200
    entries = fresh_api.get("/v1/ava/audit?filter[action]=workers.change").get_json()["data"]
    assert [entry["changes"]["platform.config.UPSTREAM"] for entry in entries] == [
        ["••••••", None],
        [None, "••••••"],
        [None, "••••••"],
    ]
    assert entries[-1]["changes"]["platform"][1]["timeout_seconds"] == 30
    assert "marker" not in json.dumps(entries)


def test_the_list_takes_filters(api: Api) -> None:
    for query, ids in {
        "filter[status]=paused": ["wkr_paused"],
        "filter[status]=active": ["wkr_open"],
        "filter[live]=false&q=PAU": ["wkr_paused"],
        "filter[live]=true": [],
        "q=op": ["wkr_open"],
        "q=%25": [],
    }.items():
        response = api.get(f"/v1/ava/workers?{query}").get_json()
        assert [worker["id"] for worker in response["data"]] == ids, query
        assert response["pagination"]["total"] == len(ids), query


def test_a_paused_worker_accepts_jobs_that_wait_and_why_says_who_paused_it(fresh_api: Api) -> None:
    _announce(fresh_api, None)
    _patch(fresh_api, {"status": "paused"})
    job = fresh_api.trigger()
    assert job["status"] == "queued"
    said = fresh_api.get(f"{JOBS}/{job['id']}/why").get_json()["data"]["sentence"]
    assert said.startswith("queued: paused by usr_test since ")
    _patch(fresh_api, {"status": "deprecated"})
    error_of(fresh_api.post(JOBS, json={"worker_id": "wkr_open"}), 409, "resource_conflict")
    daily = {"worker_id": "wkr_open", "cron": "0 9 * * *", "timezone": "Europe/Berlin"}
    error_of(fresh_api.post("/v1/ava/schedules", json=daily), 409, "resource_conflict")


# Schemas --------------------------------------------------------------------------------------------------------------


def test_an_input_that_does_not_match_is_refused_before_anything_is_stored(fresh_api: Api) -> None:
    api = fresh_api
    _announce(api, NOTIFY)
    assert api.get(WORKER).get_json()["data"]["input_schema"] == NOTIFY
    response = api.post(JOBS, json={"worker_id": "wkr_open", "input": {"channel": "ops", "x": 1}})
    assert set(wrong_fields(response)) == {"input.channel", "input.x"}
    good = {"worker_id": "wkr_open", "input": {"channel": "#ops"}}
    bulk = {"jobs": [good, {"worker_id": "wkr_paused"}, {**good, "input": {}}]}
    error = error_of(api.post(f"{JOBS}/bulk", json=bulk), 422, "validation_error")
    assert list(error["fields"]) == ["jobs[2].input.channel"]
    assert api.execute("SELECT count(*) FROM jobs") == [(0,)]
    assert api.post(JOBS, json=good).status_code == 201
    assert api.post(f"{JOBS}/bulk", json={"jobs": [good, good]}).status_code == 201


def test_a_process_that_knows_an_old_schema_compares_with_the_new_one(fresh_api: Api) -> None:
    api = fresh_api
    _announce(api, NOTIFY)
    key = {"Idempotency-Key": "k"}
    first = {"worker_id": "wkr_open", "input": {"channel": "#ops"}}
    assert api.post(JOBS, json=first, headers=key).status_code == 201
    _announce(api, {**NOTIFY, "required": ["channel", "n"]})
    error_of(api.post(JOBS, json=first), 422, "validation_error")
    # What was accepted once is not compared again.
    assert api.post(JOBS, json=first, headers=key).status_code == 201
    _announce(api, {"type": "object"})
    assert api.post(JOBS, json={"worker_id": "wkr_open", "input": {"y": 1}}).status_code == 201
    _announce(api, None)
    assert api.post(JOBS, json={"worker_id": "wkr_open"}, headers={"Idempotency-Key": "l"}).status_code == 201


def test_a_schedule_is_compared_when_it_is_made_and_when_it_changes(fresh_api: Api) -> None:
    api = fresh_api
    _announce(api, NOTIFY)
    daily = {"worker_id": "wkr_open", "cron": "0 9 * * *", "timezone": "Europe/Berlin"}
    error = error_of(api.post("/v1/ava/schedules", json=daily), 422, "validation_error")
    assert list(error["fields"]) == ["input.channel"]
    made = api.post("/v1/ava/schedules", json={**daily, "input": {"channel": "#ops"}}).get_json()["data"]
    path = f"/v1/ava/schedules/{made['id']}"
    error_of(api.request("PATCH", path, json={"input": {"channel": 1}}), 422, "validation_error")
    assert api.request("PATCH", path, json={"priority": 3}).status_code == 200
    _announce(api, {**NOTIFY, "required": ["n"]})
    error_of(api.post(f"{path}/run"), 422, "validation_error")


# Retries --------------------------------------------------------------------------------------------------------------


def test_a_tenant_sets_the_delays_of_retries_and_lowers_their_number(fresh_api: Api) -> None:
    api = fresh_api
    _announce(api, None)
    assert api.get(WORKER).get_json()["data"]["retry"] is None
    changed = _patch(api, {"retry": {"max": 1, "delays_seconds": [5, 60.5]}})
    assert changed["retry"] == {"max": 1, "delays_seconds": [5.0, 60.5], "jitter": 0.2}
    assert changed["max_retries"] == 1
    assert api.trigger()["max_attempts"] == 2
    # The short form changes the number alone.
    assert _patch(api, {"max_retries": 0})["retry"] == {"max": 0, "delays_seconds": [5.0, 60.5], "jitter": 0.2}
    platform = _patch(api, {"retry": {"max": 2, "first_seconds": 3}, "scope": "platform"}, headers=OPERATOR)["platform"]
    assert platform["retry"] == {"max": 2, "first_seconds": 3.0, "factor": 2, "max_delay_seconds": 3600, "jitter": 0.2}
    # Null clears the delays, and the number unless another one is sent.
    changed = _patch(api, {"retry": None, "max_retries": 1})
    assert (changed["retry"]["first_seconds"], changed["max_retries"]) == (3.0, 1)
    changed = _patch(api, {"retry": None})
    assert (changed["retry"]["first_seconds"], changed["max_retries"]) == (3.0, 2)


def test_retries_that_exclude_each_other_or_exceed_their_handlers_are_refused(fresh_api: Api) -> None:
    _announce(fresh_api, None)
    for fields, named in (
        ({"retry": {"max": 3}}, "retry"),
        ({"retry": {"max": 1, "delays_seconds": [1] * 26}}, "retry.delays_seconds"),
        ({"retry": {"max": 1, "delays_seconds": [1], "first_seconds": 2}}, "retry.first_seconds"),
        ({"retry": {"max": 1}, "max_retries": 1}, "max_retries"),
    ):
        assert list(wrong_fields(fresh_api.request("PATCH", WORKER, json=fields))) == [named]
    assert fresh_api.get(WORKER).get_json()["data"]["retry"] is None


def test_the_platform_and_a_tenant_pause_a_worker_separately(fresh_api: Api) -> None:
    def call(verb: str, scope: str, status: str, reason: str | None) -> None:
        body = {"scope": scope} | ({"reason": scope} if verb == "pause" else {})
        response = fresh_api.post(f"{WORKER}/{verb}", json=body, headers=OPERATOR)
        assert response.status_code == 200, response.text
        shown = fresh_api.get(WORKER).get_json()["data"]
        pause = shown["paused"] and (shown["paused"]["reason"], shown["paused"]["by"])
        assert (shown["status"], pause) == (status, reason and (reason, None))

    call("pause", "tenant", "paused", "tenant")
    call("pause", "platform", "paused", "platform")
    call("resume", "tenant", "paused", "platform")
    call("resume", "platform", "active", None)
    call("pause", "platform", "paused", "platform")
    call("pause", "tenant", "paused", "platform")
    call("resume", "platform", "paused", "tenant")
    call("resume", "tenant", "active", None)


def test_a_tenants_active_ends_no_pause_of_the_platform(fresh_api: Api) -> None:
    _patch(fresh_api, {"status": "active"})
    for change in ({"status": "deprecated"}, {"status": "paused"}):
        if change["status"] == "paused":
            # It overrides the platform's deprecation, and then not its pause.
            assert _patch(fresh_api, {"status": "active"})["status"] == "active"
        body = {**change, "scope": "platform"}
        assert fresh_api.request("PATCH", WORKER, json=body, headers=OPERATOR).status_code == 200
    assert fresh_api.get(WORKER).get_json()["data"]["status"] == "paused"
    assert _patch(fresh_api, {"status": "active"})["status"] == "paused"


def test_a_pause_of_an_overridden_deprecation_ends_with_the_override(fresh_api: Api) -> None:
    body = {"status": "deprecated", "scope": "platform"}
    assert fresh_api.request("PATCH", WORKER, json=body, headers=OPERATOR).status_code == 200
    _patch(fresh_api, {"status": "active"})
    for verb, status in (("pause", "paused"), ("resume", "active")):
        assert fresh_api.post(f"{WORKER}/{verb}").get_json()["data"]["status"] == status


def test_a_deprecated_worker_is_neither_paused_nor_resumed(fresh_api: Api) -> None:
    assert _patch(fresh_api, {"status": "paused"})["paused"] is not None
    assert _patch(fresh_api, {"status": "deprecated"})["paused"] is None
    for verb in ("pause", "resume"):
        error_of(fresh_api.post(f"{WORKER}/{verb}"), 409, "resource_conflict")
    # The platform's own status is another.
    assert fresh_api.post(f"{WORKER}/pause", json={"scope": "platform"}, headers=OPERATOR).status_code == 200
    assert fresh_api.get(WORKER).get_json()["data"]["paused"] is None


def test_only_the_platform_pauses_for_all_tenants(fresh_api: Api) -> None:
    for verb in ("pause", "resume"):
        error_of(fresh_api.post(f"{WORKER}/{verb}", json={"scope": "platform"}), 403, "forbidden")
