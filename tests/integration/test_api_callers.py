"""Authentication."""

from __future__ import annotations

import re

import pytest

from harness.api import JOBS, Api, error_of, wrong_fields

RUNS = "/v1/ava/runs"
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
    assert header in wrong_fields(shared_api.get(JOBS, headers={header: None}), 400)
    assert header in wrong_fields(shared_api.get(JOBS, headers={header: ""}), 400)


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
    assert "x-tenant-id" in wrong_fields(shared_api.get(JOBS, headers={"x-tenant-id": value}), 400)


@pytest.mark.parametrize("value", ["ten_0", "ten_" + "z" * 60, "ten_01h_xyz"])
def test_a_clients_own_ids_are_accepted_unchanged(shared_api: Api, value: str) -> None:
    assert (
        shared_api.trigger(headers={"x-tenant-id": value, "x-user-id": value.replace("ten_", "usr_")})["tenant_id"]
        == value
    )


@pytest.mark.parametrize("role", ["root", "TENANT-USER", "tenant_user", "tenant-user,platform-admin"])
def test_an_unknown_role_is_forbidden(shared_api: Api, role: str) -> None:
    error_of(shared_api.get(JOBS, headers={"x-platform-role": role}), 403, "forbidden")


def test_a_sane_request_id_comes_back_and_an_insane_one_does_not(shared_api: Api) -> None:
    assert shared_api.get(JOBS, headers={"x-request-id": "trace-7.a_b"}).headers["x-request-id"] == "trace-7.a_b"
    for insane in ("a b", "<script>", "x" * 129, "-x"):
        ours = shared_api.get(JOBS, headers={"x-request-id": insane}).headers["x-request-id"]
        assert ours.startswith("req_")
        assert len(ours) == 30


# Tenants ------------------------------------------------------------------------------------------------------------


#: Routes that belong to no tenant and are open to all.
OPEN = {
    *("/livez", "/readyz", "/openapi.json", "/docs", "/docs/errors"),
    # Static files hold no data; the dashboard's scripts read the API with the caller's headers.
    *("/", "/static/<digest>/<path:name>"),
    # It is for operators and needs the shared key only.
    "/metrics",
    # Before a browser or a client has an identity; the provider's answer is checked.
    *("/oidc/sign-in", "/oidc/callback", "/oidc/logout", "/.well-known/oauth-protected-resource"),
    # Public keys, by which anyone verifies a proof.
    "/.well-known/ava-signing-keys",
    # Its body names runs by their tokens.
    f"{RUNS}/heartbeat",
    # Its token says whose it is.
    "/v1/hooks/<token>",
}


def test_every_route_but_the_open_ones_asks_for_a_caller(shared_api: Api) -> None:
    views = shared_api.app.view_functions
    rules = list(shared_api.app.url_map.iter_rules())
    # The tools of `/mcp` are requests to the others; test_mcp.py checks them.
    assert {rule.rule for rule in rules if not hasattr(views[rule.endpoint], "operation")} <= OPEN | {"/mcp"}
    described = shared_api.get("/openapi.json").get_json()["paths"]
    is_open = {path for path, methods in described.items() if any({} in each["security"] for each in methods.values())}
    # The token of a run says whose it is.
    calls = ("lines", "progress", "end", "journal", "steps", "children", "outputs")
    by_run = {f"{RUNS}/{{run}}/{call}" for call in calls}
    assert is_open <= {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path) for path in OPEN} | by_run


def test_a_worker_of_other_tenants_is_not_seen_and_cannot_be_run(shared_api: Api) -> None:
    error_of(shared_api.post(JOBS, json={"worker_id": "wkr_theirs"}), 404, "resource_not_found")
    for method, body in (("GET", None), ("PATCH", {"status": "paused"}), ("DELETE", None)):
        response = shared_api.request(method, "/v1/ava/workers/wkr_theirs", json=body)
        error_of(response, 404, "resource_not_found")
    assert "wkr_theirs" not in shared_api.get("/v1/ava/workers").text
    assert shared_api.trigger("wkr_theirs", headers=OTHER)["worker_id"] == "wkr_theirs"
