"""Every operation of /openapi.json, called by every kind of caller: each gets what is its own, and nothing else.

A repeated call has one effect, an id that nothing has is 404, and a list is whole however it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from ava.settings import ROLES
from harness.api import HEADERS, JOBS, Api, error_of
from tests.integration.described_calls import Call, calls_of
from tests.integration.test_payload_permission import MARK, fill

KEYS = "/v1/ava/keys"
#: Path parameters whose values name nothing of one tenant.
_SHARED = ("worker_id", "tenant_id", "node_id", "queue", "run")
_LOW_ROLES = ("tenant-user", "tenant-admin")
#: Only the platform's roles may call these.
_FOR_OPERATORS = {
    "GET /v1/ava/tenants",
    "GET /v1/ava/promotions",
    "PUT /v1/ava/tenants/{tenant_id}/limits",
    *(f"POST /v1/ava/queues/{{queue}}/{act}" for act in ("pause", "resume")),
    *(f"POST /v1/ava/nodes/{{node_id}}/{act}" for act in ("pause", "resume")),
}
#: Below these a caller without payloads only reads: it could let somebody else see them.
_NEEDS_PAYLOADS = (
    *(KEYS, "/v1/webhooks", "/v1/ava/hooks", "/v1/ava/subscriptions", "/v1/ava/workers", "/v1/ava/notices"),
)
#: They send an event of their own, without a payload.
_SEND_NO_PAYLOAD = ("POST /v1/webhooks/{webhook_id}/test", "POST /v1/ava/notices/{notice_id}/test")
#: It is refused to every role, because the worker of the path is a handler's.
_OF_A_HANDLER = "DELETE /v1/ava/workers/{worker_id}"


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The operations, and a tenant full of payloads."""

    api: Api
    calls: list[Call]
    #: Ids of what is the tenant's.
    ids: list[str]

    def call(self, call: Call, headers: dict[str, str | None]) -> Any:
        """Send a request. Returns the response, which is never a failure of the server."""
        response = self.api.request(call.method, call.path, headers=headers, json=call.body)
        assert response.status_code < 500, f"{call.name}: {response.text}"
        return response

    def key(self, **fields: Any) -> dict[str, str | None]:
        """Returns the headers of a new API key."""
        made = self.api.post(KEYS, json={"name": "matrix", "role": "tenant-system-admin", **fields})
        assert made.status_code == 201, made.text
        return _bearer(made.get_json()["data"]["token"])

    def snapshot(self) -> dict[str, Any]:
        """Returns a digest of all rows of the tenant, but for the audit trail and the last use of keys."""
        row = "md5((to_jsonb(t) - 'last_used_at')::text)"
        return {
            name: self.api.execute(
                f"SELECT count(*), md5(string_agg({row}, '' ORDER BY {row})) FROM {name} AS t"
                " WHERE tenant_id = 'ten_test'"
            )
            for (name,) in self.api.execute(_TABLES)
        }


_TABLES = """
SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND NOT starts_with(c.relname, 'audit')
"""


def _bearer(token: str) -> dict[str, str | None]:
    return dict.fromkeys(HEADERS) | {"authorization": f"Bearer {token}"}


@pytest.fixture
def matrix(api: Api) -> Matrix:
    ids_by_name = fill(api)
    calls = calls_of(api, ids_by_name)
    assert len(calls) > 90
    ids = [value for name, values in ids_by_name.items() if name not in _SHARED for value in values]
    return Matrix(api=api, calls=calls, ids=ids)


def test_a_call_that_is_repeated_with_its_key_has_one_effect_and_the_same_response(matrix: Matrix) -> None:
    replayed = 0
    for number, call in enumerate(call for call in matrix.calls if "Idempotency-Key" in call.parameters):
        key: dict[str, str | None] = {"idempotency-key": f"once {number}"}
        first = matrix.call(call, key)
        if first.status_code >= 400:
            continue
        before = matrix.snapshot()
        again = matrix.call(call, key)
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (first.status_code, "true"), call.name
        assert "Idempotent-Replayed" not in first.headers, call.name
        said, said_again = (response.get_json()["data"] for response in (first, again))
        if isinstance(said, dict):
            # No token is shown twice, and no address of a hook, which has one.
            hidden = {"token", "url", "secret"} if call.path.startswith("/v1/ava/hooks") else {"token"}
            said |= dict.fromkeys(hidden & said.keys())
        assert said_again == said, call.name
        assert matrix.snapshot() == before, call.name
        other = matrix.api.post(JOBS, json={"worker_id": "wkr_open", "tags": {"of": "another"}}, headers=key)
        error_of(other, 422, "idempotency_key_reused")
        replayed += 1
    assert replayed > 10


_NO_IDS = ("x", "job_01h455vb4pex5vsknk084sn02q", "job_", "%00", "%ff", "'", "%F0%9F%98%80", "a" * 5_000)


def test_a_path_with_an_id_that_nothing_has_is_404(matrix: Matrix) -> None:
    before, others = matrix.snapshot(), []
    for call in matrix.calls:
        template = call.name.split()[1]
        for each in _NO_IDS if "{" in template else ():
            path = re.sub(r"\{\w+\}", each, template)
            response = matrix.api.request(call.method, path, json=call.body, headers={"x-platform-role": ROLES[-1]})
            if response.status_code != 404:
                others.append((call.name, each[:40], response.status_code))
    assert others == []
    assert matrix.snapshot() == before


def test_every_write_has_an_entry_of_its_own_in_the_audit_trail(matrix: Matrix) -> None:
    seen: set[str] = set()
    for call in matrix.calls:
        # What a worker reports of its runs is in their logs.
        if call.is_write and not call.is_open and not call.path.startswith("/v1/ava/runs/"):
            response = matrix.call(call, {})
            if response.status_code < 300 or response.status_code == 403:
                (newest,) = matrix.api.get("/v1/ava/audit?per_page=1").get_json()["data"]
                assert (newest["status"], newest["actor"]["id"]) == (response.status_code, "usr_test"), call.name
                assert newest["id"] not in seen, call.name
                seen.add(newest["id"])
    assert len(seen) > 30


@pytest.mark.parametrize("has_key", [False, True])
def test_another_tenant_reads_finds_and_changes_nothing(matrix: Matrix, has_key: bool) -> None:
    before = matrix.snapshot()
    theirs: dict[str, str | None] = {"x-tenant-id": "ten_other", "x-user-id": "usr_other"}
    if has_key:
        made = matrix.api.post(KEYS, json={"name": "theirs", "role": "tenant-system-admin"}, headers=theirs)
        theirs = _bearer(made.get_json()["data"]["token"])
    for call in matrix.calls:
        response = matrix.call(call, theirs)
        seen = [each for each in (MARK, *matrix.ids) if each in response.text + str(response.headers)]
        assert seen == [], (call.name, response.text)
        if any(each in call.path for each in matrix.ids):
            assert response.status_code == 404, (call.name, response.text)
    assert matrix.snapshot() == before


def test_nothing_of_another_tenant_is_counted(api: Api) -> None:
    """What a tenant without anything reads is the same before and after another tenant has got much."""
    described = api.get("/openapi.json").get_json()["paths"]
    paths = [path for path, methods in described.items() if "get" in methods and "{" not in path]

    def read() -> dict[str, str]:
        bodies = {path: api.get(path, headers={"x-tenant-id": "ten_other"}).text for path in paths}
        # How far the jobs of all tenants are counted says nothing of another's: a step is null until then.
        bodies["/v1/ava/series"] = bodies["/v1/ava/series"].replace("null", "0")
        return {path: re.sub(r'"(20\d\d-|req_)[^"]*"', '""', body) for path, body in bodies.items()}

    before = read()
    fill(api)
    after = read()
    assert {path: body for path, body in after.items() if body != before[path]} == {}
    limits = api.get("/v1/ava/tenants/ten_test/limits", headers={"x-tenant-id": "ten_other"})
    error_of(limits, 404, "resource_not_found")


def test_a_dry_run_stores_nothing(matrix: Matrix) -> None:
    before, made = matrix.snapshot(), []
    for call in matrix.calls:
        if "dry_run" in call.parameters:
            query, headers = {"dry_run": "true"}, {"x-platform-role": "platform-admin"}
            response = matrix.api.request(call.method, call.path, query_string=query, json=call.body, headers=headers)
            assert response.status_code < 500, call.name
            made += [call.name] if response.status_code < 300 else []
    assert len(made) > 8, made
    assert matrix.snapshot() == before


def test_every_operation_but_the_open_ones_needs_the_secret(matrix: Matrix) -> None:
    for call in matrix.calls:
        if not call.is_open:
            response = matrix.call(call, {"x-internal-secret": None})
            assert response.status_code == 401, (call.name, response.text)


@pytest.mark.parametrize("kind", ["revoked key", "expired key", "run token", "hook token"])
def test_no_ended_key_and_no_token_of_another_kind_is_a_caller(matrix: Matrix, kind: str) -> None:
    api = matrix.api
    if kind == "run token":
        token = _run_token(matrix)
    elif kind == "hook token":
        url = api.post("/v1/ava/hooks", json={"name": "matrix", "provider": "none"}).get_json()["data"]["url"]
        token = url.rpartition("/")[2]
    else:
        key = api.post(KEYS, json={"name": kind, "role": "tenant-system-admin"}).get_json()["data"]
        token = key["token"]
        if kind == "revoked key":
            api.request("DELETE", f"{KEYS}/{key['id']}")
        else:
            api.execute("UPDATE api_keys SET expires_at = now() WHERE name = 'expired key'")
    before = matrix.snapshot()
    for call in matrix.calls:
        if not call.is_open:
            response = matrix.call(call, _bearer(token))
            assert response.status_code == 401, (call.name, response.text)
    # Nor does it stand in a path for a token of another kind.
    body, nobody = {"lines": [{"seq": 0, "msg": "x"}]}, dict.fromkeys(HEADERS)
    for path, its_kind in ((f"/v1/hooks/{token}", "hook token"), (f"/v1/ava/runs/{token}/lines", "run token")):
        if kind != its_kind:
            assert api.post(path, json=body, headers=nobody).status_code == 404, path
    assert matrix.snapshot() == before


def _run_token(matrix: Matrix) -> str:
    """Returns the token of a run that goes on."""
    api = matrix.api
    assert api.post("/v1/ava/workers", json={"slug": "matrix", "runtime": "pull"}).status_code == 201
    key, body = matrix.key(role="worker", workers=["wkr_matrix"]), {"workers": ["wkr_matrix"]}
    # Jobs are offered once a worker has asked for them.
    assert api.post("/v1/ava/runs/claim", json=body, headers=key).get_json()["data"] == []
    api.trigger("wkr_matrix")
    (claimed,) = api.post("/v1/ava/runs/claim", json=body, headers=key).get_json()["data"]
    token: str = claimed["run"]
    return token


def test_a_key_of_the_role_worker_calls_what_is_its_own(matrix: Matrix) -> None:
    matrix.api.post("/v1/ava/workers", json={"slug": "own", "runtime": "pull"})
    key = matrix.key(role="worker", workers=["wkr_own"])
    before = matrix.snapshot()
    for call in matrix.calls:
        if not call.is_open:
            response = matrix.call(call, key)
            # The worker of the path, and that of the example, are not the key's.
            assert response.status_code == 403, (call.name, response.text)
            assert MARK not in response.text
    assert matrix.snapshot() == before
    assert matrix.api.get("/v1/ava/workers/wkr_own", headers=key).status_code == 200


def test_a_caller_without_payloads_lets_nobody_see_them(matrix: Matrix) -> None:
    """`test_payload_permission.py` looks for payloads in every response to such a caller."""
    key = matrix.key(payloads=False)
    for call in matrix.calls:
        if call.is_write and call.path.startswith(_NEEDS_PAYLOADS) and call.name not in _SEND_NO_PAYLOAD:
            response = matrix.call(call, key)
            assert response.status_code == 403, (call.name, response.text)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_call_what_is_its_own(matrix: Matrix, role: str) -> None:
    is_operator, is_low = role.startswith("platform"), role in _LOW_ROLES
    before = matrix.snapshot()
    for call in matrix.calls:
        # Only keys claim runs.
        if call.is_open or call.name in ("POST /v1/ava/runs/claim", _OF_A_HANDLER):
            continue
        response = matrix.call(call, {"x-platform-role": role})
        is_refused = (is_low and call.is_write) or (call.name in _FOR_OPERATORS and not is_operator)
        assert (response.status_code == 403) is is_refused, (call.name, response.text)
    if is_low:
        after = matrix.snapshot()
        assert {name for name in before if before[name] != after[name]} <= {"sessions", "session_links"}
