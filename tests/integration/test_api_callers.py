"""Authentication and roles, and that no tenant sees what belongs to another."""

from __future__ import annotations

from typing import Any

import pytest

from harness.api import JOBS, Api, error_of
from tests.integration.events_in_scope import EVENTS_IN, EVENTS_IN_BODIES, INBOUND, SUBSCRIPTIONS

OPERATIONS = "/v1/ava/operations"
HOOKS = "/v1/webhooks"
HOOK = f"{HOOKS}/<webhook_id>"
KEYS = "/v1/ava/keys"
RUNS = "/v1/ava/runs"
ERRORS = "/v1/ava/errors"
SESSION = "/v1/ava/session"
SCHEDULES = "/v1/ava/schedules"
SCHEDULE = f"{SCHEDULES}/<schedule:schedule_id>"
DAILY = {"worker_id": "wkr_open", "cron": "0 9 * * *", "timezone": "Europe/Berlin"}
OTHER = {"x-tenant-id": "ten_other", "x-user-id": "usr_other"}


@pytest.mark.parametrize(
    "secret",
    [None, "", "wrong", "of-all-the-tests,", "of-all-the-tests,one-after-the-next", "OF-ALL-THE-TESTS", "sécret"],
)
def test_a_missing_or_wrong_secret_is_unauthorized(shared_api: Api, secret: str | None) -> None:
    error_of(shared_api.get(JOBS, headers={"x-internal-secret": secret}), 401, "unauthorized")


@pytest.mark.parametrize("secret", ["of-all-the-tests", "one-after-the-next"])
def test_each_of_several_secrets_is_valid(shared_api: Api, secret: str) -> None:
    assert shared_api.get(JOBS, headers={"x-internal-secret": secret}).status_code == 200


@pytest.mark.parametrize("header", ["x-tenant-id", "x-user-id", "x-platform-role"])
def test_a_missing_header_is_named(shared_api: Api, header: str) -> None:
    assert header in error_of(shared_api.get(JOBS, headers={header: None}), 400, "validation_error")["fields"]
    assert header in error_of(shared_api.get(JOBS, headers={header: ""}), 400, "validation_error")["fields"]


@pytest.mark.parametrize(
    "value",
    [
        "test",
        "ten_",
        "ten_UPPER",
        "ten_a b",
        "ten_" + "a" * 61,
        "ten_a,ten_b",
        "ten_'; DROP TABLE jobs",
        "usr_test",
        "ten_é",
    ],
)
def test_a_malformed_tenant_is_refused(shared_api: Api, value: str) -> None:
    assert (
        "x-tenant-id"
        in error_of(shared_api.get(JOBS, headers={"x-tenant-id": value}), 400, "validation_error")["fields"]
    )


@pytest.mark.parametrize("value", ["ten_0", "ten_" + "z" * 60, "ten_01h_xyz"])
def test_a_clients_own_ids_are_accepted_unchanged(shared_api: Api, value: str) -> None:
    assert (
        shared_api.trigger(headers={"x-tenant-id": value, "x-user-id": value.replace("ten_", "usr_")})["tenant_id"]
        == value
    )


@pytest.mark.parametrize("role", ["root", "TENANT-USER", "tenant_user", "tenant-user,platform-admin"])
def test_an_unknown_role_is_forbidden(shared_api: Api, role: str) -> None:
    error_of(shared_api.get(JOBS, headers={"x-platform-role": role}), 403, "forbidden")


@pytest.mark.parametrize("role", ["tenant-user", "tenant-admin"])
def test_lower_roles_read_and_do_not_write(shared_api: Api, role: str) -> None:
    job = shared_api.trigger()
    for path in (JOBS, f"{JOBS}/{job['id']}", f"{JOBS}/{job['id']}/logs", "/v1/ava/workers", "/v1/ava/queues"):
        assert shared_api.get(path, headers={"x-platform-role": role}).status_code == 200
    for method, path, is_write in _operations(shared_api):
        if is_write:
            response = shared_api.request(method, _fill(path, job["id"]), headers={"x-platform-role": role}, json={})
            error_of(response, 403, "forbidden")


@pytest.mark.parametrize("role", ["tenant-system-admin", "platform-admin", "platform-system-admin"])
def test_higher_roles_write(shared_api: Api, role: str) -> None:
    assert shared_api.trigger(headers={"x-platform-role": role})["status"] == "queued"


def test_a_sane_request_id_comes_back_and_an_insane_one_does_not(shared_api: Api) -> None:
    assert shared_api.get(JOBS, headers={"x-request-id": "trace-7.a_b"}).headers["x-request-id"] == "trace-7.a_b"
    for insane in ("a b", "<script>", "x" * 129, "-x"):
        ours = shared_api.get(JOBS, headers={"x-request-id": insane}).headers["x-request-id"]
        assert ours.startswith("req_")
        assert len(ours) == 30


# Tenants ------------------------------------------------------------------------------------------------------------


def _is_404(response: Any) -> None:
    error_of(response, 404, "resource_not_found")


def _is_forbidden(response: Any) -> None:
    error_of(response, 403, "forbidden")


def _made_a_worker_of_its_own(response: Any) -> None:
    assert response.status_code == 201, response.text
    assert response.get_json()["data"]["scope"] == "tenant"


def _sees_nothing(response: Any) -> None:
    assert response.status_code == 200
    assert response.get_json()["data"] == []
    assert response.get_json()["pagination"]["total"] == 0


def _sees_no_limited_worker(response: Any) -> None:
    assert response.status_code == 200
    assert response.get_json()["data"] == []


def _counts_nothing(response: Any) -> None:
    data = response.get_json()["data"]
    assert (data["total_queued"], data["total_running"], data["by_worker"]) == (0, 0, [])


def _sees_no_job_in(response: Any) -> None:
    assert "job_" not in response.text


def _uses_nothing(response: Any) -> None:
    assert {limit["used"] for limit in response.get_json()["data"]} <= {None, 0}


def _made_a_hook_of_its_own(response: Any) -> None:
    assert response.status_code == 201, response.text


def _sees_no_counts(response: Any) -> None:
    data = response.get_json()["data"]
    assert (data["jobs"]["total"], data["by_worker"]) == (0, {})


def _made_a_key_of_its_own(response: Any) -> None:
    assert response.get_json()["data"]["created_by"] == "usr_other"


def _is_of_its_own(response: Any) -> None:
    assert response.get_json()["data"]["tenant_id"] == "ten_other"


def _has_no_session(response: Any) -> None:
    error_of(response, 409, "resource_conflict")


def _ends_nothing(response: Any) -> None:
    assert response.get_json()["data"] == {"ended": 0}


def _made_a_link_of_its_own(response: Any) -> None:
    # Whom the link signs in is asked of the database, below.
    assert "avalink_00." in response.get_json()["data"]["path"]


def _sees_a_preview(response: Any) -> None:
    assert len(response.get_json()["data"]["next"]) == 10


def _made_jobs_of_its_own(response: Any) -> None:
    assert [job["tenant_id"] for job in response.get_json()["data"]] == ["ten_other"]


def _found_nothing_to_do(response: Any) -> None:
    data = response.get_json()["data"]
    assert (data["state"], data["total"], data["done"]) == ("done", 0, 0)


def _exports_nothing(response: Any) -> None:
    assert (response.status_code, response.data) == (200, b"")


#: The check of the response that a caller of another tenant gets, for every route.
SCOPE = {
    ("POST", JOBS): _is_of_its_own,
    ("GET", JOBS): _sees_nothing,
    ("GET", f"{JOBS}/<job:job_id>"): _is_404,
    ("PATCH", f"{JOBS}/<job:job_id>"): _is_404,
    ("GET", f"{JOBS}/<job:job_id>/logs"): _is_404,
    ("GET", f"{JOBS}/<job:job_id>/logs/download"): _is_404,
    ("POST", f"{JOBS}/<job:job_id>/cancel"): _is_404,
    ("POST", f"{JOBS}/<job:job_id>/retry"): _is_404,
    ("GET", f"{JOBS}/<job:job_id>/stream"): _is_404,
    ("GET", f"{JOBS}/<job:job_id>/why"): _is_404,
    ("GET", f"{JOBS}/<job:job_id>/journal"): _is_404,
    ("GET", f"{JOBS}/<job:job_id>/tree"): _is_404,
    ("GET", f"{JOBS}/<job:job_id>/runs"): _is_404,
    ("POST", f"{JOBS}/bulk"): _made_jobs_of_its_own,
    ("POST", f"{JOBS}/cancel"): _found_nothing_to_do,
    ("POST", f"{JOBS}/retry"): _found_nothing_to_do,
    ("GET", f"{JOBS}/export"): _exports_nothing,
    ("GET", OPERATIONS): _sees_nothing,
    ("GET", f"{OPERATIONS}/<operation_id>"): _is_404,
    ("POST", f"{OPERATIONS}/<operation_id>/abort"): _is_404,
    ("GET", "/v1/ava/workers"): _sees_no_job_in,
    ("GET", "/v1/ava/workers/<worker_id>"): _is_404,
    ("PATCH", "/v1/ava/workers/<worker_id>"): _is_404,
    ("POST", "/v1/ava/workers"): _made_a_worker_of_its_own,
    ("DELETE", "/v1/ava/workers/<worker_id>"): _is_404,
    ("POST", f"{RUNS}/claim"): _is_forbidden,
    **{("POST", f"{RUNS}/<run>/{call}"): _is_404 for call in ("lines", "progress", "end")},
    ("GET", "/v1/ava/queues"): _counts_nothing,
    ("POST", "/v1/ava/queues/<queue:queue>/pause"): _is_forbidden,
    ("POST", "/v1/ava/queues/<queue:queue>/resume"): _is_forbidden,
    ("GET", "/v1/ava/tenants/<tenant:tenant_id>/limits"): _is_404,
    ("PUT", "/v1/ava/tenants/<tenant:tenant_id>/limits"): _is_forbidden,
    ("GET", "/v1/ava/overview"): _sees_no_job_in,
    ("GET", "/v1/ava/nodes"): _sees_no_job_in,
    ("POST", "/v1/ava/nodes/<node_id>/drain"): _is_forbidden,
    ("POST", "/v1/ava/nodes/<node_id>/resume"): _is_forbidden,
    ("GET", "/v1/ava/tenants"): _is_forbidden,
    ("GET", "/v1/ava/promotions"): _is_forbidden,
    ("GET", "/v1/ava/analytics"): _sees_no_counts,
    ("GET", ERRORS): _sees_nothing,
    ("GET", f"{ERRORS}/<error_id>"): _is_404,
    ("POST", f"{ERRORS}/<error_id>/resolve"): _is_404,
    ("POST", f"{ERRORS}/<error_id>/ignore"): _is_404,
    ("POST", f"{ERRORS}/<error_id>/retry"): _is_404,
    ("POST", f"{ERRORS}/<error_id>/reopen"): _is_404,
    ("GET", "/v1/ava/audit"): _sees_nothing,
    ("GET", "/v1/ava/limits"): _uses_nothing,
    ("GET", "/v1/ava/limits/workers"): _sees_no_limited_worker,
    ("POST", SCHEDULES): _is_of_its_own,
    ("GET", SCHEDULES): _sees_nothing,
    ("POST", f"{SCHEDULES}/preview"): _sees_a_preview,
    ("GET", SCHEDULE): _is_404,
    ("PATCH", SCHEDULE): _is_404,
    ("DELETE", SCHEDULE): _is_404,
    ("GET", f"{SCHEDULE}/next"): _is_404,
    ("POST", f"{SCHEDULE}/run"): _is_404,
    ("GET", f"{SCHEDULE}/firings"): _is_404,
    ("POST", KEYS): _made_a_key_of_its_own,
    ("GET", KEYS): _sees_nothing,
    ("DELETE", f"{KEYS}/<key_id>"): _is_404,
    ("POST", SESSION): _is_of_its_own,
    ("GET", SESSION): _is_of_its_own,
    ("PATCH", SESSION): _has_no_session,
    ("DELETE", SESSION): _has_no_session,
    ("DELETE", "/v1/ava/sessions"): _ends_nothing,
    ("POST", f"{SESSION}/links"): _made_a_link_of_its_own,
    **EVENTS_IN,
    ("POST", HOOKS): _made_a_hook_of_its_own,
    ("GET", HOOKS): _sees_nothing,
    ("GET", HOOK): _is_404,
    ("PATCH", HOOK): _is_404,
    ("DELETE", HOOK): _is_404,
    ("POST", f"{HOOK}/test"): _is_404,
    ("GET", f"{HOOK}/deliveries"): _is_404,
    ("POST", f"{HOOK}/deliveries/redeliver"): _is_404,
    ("GET", f"{HOOK}/deliveries/<delivery_id>/body"): _is_404,
    ("POST", f"{HOOK}/deliveries/<delivery_id>/redeliver"): _is_404,
}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", JOBS): {"worker_id": "wkr_open"},
    ("POST", f"{JOBS}/bulk"): {"jobs": [{"worker_id": "wkr_open"}]},
    ("POST", f"{JOBS}/cancel"): {"filter": {"status": "queued"}},
    ("POST", f"{JOBS}/retry"): {"filter": {"trigger": "manual"}},
    ("PATCH", f"{JOBS}/<job:job_id>"): {"priority": 1},
    ("POST", SCHEDULES): DAILY,
    ("POST", KEYS): {"name": "theirs", "role": "tenant-user"},
    ("POST", f"{SCHEDULES}/preview"): {"cron": "0 9 * * *", "timezone": "Europe/Berlin"},
    ("PATCH", SCHEDULE): {"enabled": False},
    ("PATCH", SESSION): {"tenant_id": "ten_test"},
    ("PATCH", "/v1/ava/workers/<worker_id>"): {"status": "paused"},
    ("POST", "/v1/ava/workers"): {"slug": "mine", "runtime": "pull"},
    ("POST", f"{RUNS}/claim"): {"workers": ["wkr_mine"]},
    ("POST", HOOKS): {
        "url": "https://example.com/theirs",
        "events": ["ava.job.completed"],
        "secret": "their-own-secret",
    },
    ("PATCH", HOOK): {"enabled": False},
    **EVENTS_IN_BODIES,
    ("POST", f"{HOOK}/deliveries/redeliver"): {"since": "2025-01-01T00:00:00Z"},
}
#: Routes that belong to no tenant and are open to all.
OPEN = {
    *("/livez", "/readyz", "/openapi.json", "/docs", "/docs/static/<path:name>", "/docs/errors"),
    # The dashboard's files hold no data; its scripts read the API with the caller's headers.
    *("/", "/dashboard/<path:name>"),
    # It is for operators and needs the shared key only.
    "/metrics",
    # Its body names runs by their tokens.
    f"{RUNS}/heartbeat",
    # Its token says whose it is.
    "/v1/hooks/<token>",
}


def test_every_route_has_a_tenant_check_here(shared_api: Api) -> None:
    known = {path for _, path in SCOPE} | OPEN | {"/mcp"}  # Its tools are requests to these; test_mcp.py checks them.
    assert {rule.rule for rule in shared_api.app.url_map.iter_rules()} == known
    operations = {(method, path) for method, path, _ in _operations(shared_api) if path not in OPEN}
    assert operations == set(SCOPE)


@pytest.mark.parametrize(("method", "path"), SCOPE)
def test_nothing_of_another_tenant_is_seen_counted_or_changed(api: Api, method: str, path: str) -> None:
    api.announce("wkr_mine", tenants=("ten_test",))
    job = api.trigger("wkr_mine")
    mine = {"url": "https://example.com/mine", "events": ["ava.job.completed"], "secret": "mine-and-long-enough"}
    hook = api.post(HOOKS, json=mine)
    assert hook.status_code == 201, hook.text
    hook_id = hook.get_json()["data"]["id"]
    schedule = api.post(SCHEDULES, json=DAILY).get_json()["data"]
    key = api.post(KEYS, json={"name": "mine", "role": "tenant-user"}).get_json()["data"]
    past = {"filter": {"created_before": "2000-01-01T00:00:00Z"}}
    operation = api.post(f"{JOBS}/cancel", json=past).get_json()["data"]
    inbound = api.post(INBOUND, json={"name": "mine", "provider": "none"}).get_json()["data"]
    subscribed = {"event_type": "order.paid", "worker_id": "wkr_open"}
    subscription = api.post(SUBSCRIPTIONS, json=subscribed).get_json()["data"]
    before = api.execute("SELECT j.* FROM jobs AS j WHERE tenant_id = 'ten_test'")
    response = api.request(
        method,
        _fill(path, job["id"], "wkr_mine", hook_id, schedule["id"], key["id"], operation["id"])
        .replace("<hook:hook_id>", inbound["id"])
        .replace("<subscription:subscription_id>", subscription["id"]),
        headers=OTHER,
        json=BODIES.get((method, path), {}) if method in ("POST", "PATCH") else None,
    )
    SCOPE[method, path](response)
    assert job["id"] not in response.text
    assert operation["id"] not in response.text
    assert hook_id not in response.text
    assert schedule["id"] not in response.text
    assert key["id"] not in response.text
    assert inbound["id"] not in response.text
    assert subscription["id"] not in response.text
    assert api.get(f"{INBOUND}/{inbound['id']}").status_code == 200
    assert api.get(f"{SUBSCRIPTIONS}/{subscription['id']}").get_json()["data"] == subscription
    assert [found["id"] for found in api.get(KEYS).get_json()["data"]] == [key["id"]]
    assert api.get(f"{SCHEDULES}/{schedule['id']}").get_json()["data"] == schedule
    assert api.get(f"{HOOKS}/{hook_id}").get_json()["data"] == hook.get_json()["data"]
    assert api.execute("SELECT j.* FROM jobs AS j WHERE tenant_id = 'ten_test'") == before
    assert {tenant for (tenant,) in api.execute("SELECT tenant_id FROM sessions")} <= {"ten_other"}


@pytest.mark.parametrize(("method", "path"), [each for each in SCOPE if "<run>" not in each[1]])
def test_every_route_needs_the_secret(shared_api: Api, method: str, path: str) -> None:
    response = shared_api.request(
        method, _fill(path, "job_01h455vb4pex5vsknk084sn02q"), headers={"x-internal-secret": None}
    )
    error_of(response, 401, "unauthorized")


def test_a_worker_of_other_tenants_is_not_seen_and_cannot_be_run(shared_api: Api) -> None:
    error_of(shared_api.post(JOBS, json={"worker_id": "wkr_theirs"}), 404, "resource_not_found")
    error_of(shared_api.get("/v1/ava/workers/wkr_theirs"), 404, "resource_not_found")
    assert "wkr_theirs" not in shared_api.get("/v1/ava/workers").text
    assert shared_api.trigger("wkr_theirs", headers=OTHER)["worker_id"] == "wkr_theirs"


def _operations(api: Api) -> list[tuple[str, str, bool]]:
    found = []
    for rule in api.app.url_map.iter_rules():
        operation = getattr(api.app.view_functions[rule.endpoint], "operation", None)
        if operation is not None and rule.rule not in OPEN:
            found += [
                (method, rule.rule, operation.is_write)
                for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
            ]
    return found


def _fill(
    path: str,
    job_id: str,
    worker_id: str = "wkr_open",
    webhook_id: str = "wh_x",
    schedule_id: str = "sch_x",
    key_id: str = "key_x",
    operation_id: str = "op_x",
) -> str:
    filled = path.replace("<key_id>", key_id).replace("<operation_id>", operation_id)
    filled = filled.replace("<job:job_id>", job_id).replace("<worker_id>", worker_id)
    filled = filled.replace("<schedule:schedule_id>", schedule_id).replace("<queue:queue>", "default")
    filled = filled.replace("<tenant:tenant_id>", "ten_test").replace("<event_id>", "evt_x")
    filled = filled.replace("<hook:hook_id>", "hk_x").replace("<subscription:subscription_id>", "sub_x")
    return filled.replace("<webhook_id>", webhook_id).replace("<delivery_id>", "evt_01h455vb4pex5vsknk084sn02q")
