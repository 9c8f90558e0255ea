"""`POST /mcp`: requests as MCP has them, from callers with the rights and limits that they have on the routes."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

from werkzeug.test import TestResponse

from ava.settings import Settings
from harness.api import HEADERS, Api
from tests.mcp_calls import VERSION, by_key, call, end, result, rpc_error, send, text_of

# Versions ------------------------------------------------------------------------------------------------------------


def test_each_request_says_its_version_and_its_headers_repeat_the_body(shared_api: Api) -> None:
    assert result(shared_api, "server/discover")["supportedVersions"][0] == VERSION
    wrong = {"meta": {"io.modelcontextprotocol/protocolVersion": "v9"}, "headers": {"MCP-Protocol-Version": "v9"}}
    error = rpc_error(send(shared_api, "tools/list", **wrong), 400, -32022)
    assert error["data"] == {"supported": [VERSION, "2025-11-25", "2025-06-18", "2025-03-26"], "requested": "v9"}
    for headers in (
        {"MCP-Protocol-Version": None},
        {"MCP-Protocol-Version": "2025-11-25"},
        {"Mcp-Method": None},
        {"Mcp-Method": "tools/call"},
    ):
        rpc_error(send(shared_api, "tools/list", headers=headers), 400, -32020)
    for name in (None, "get_job", "=?base64?bGlzdF9qb2Jz", "=?base64?%?=", "=?base64?/w==?="):
        rpc_error(send(shared_api, "tools/call", {"name": "list_jobs"}, headers={"Mcp-Name": name}), 400, -32020)
    task = {"taskId": shared_api.trigger()["id"]}
    rpc_error(send(shared_api, "tasks/get", task, knows_tasks=True, headers={"Mcp-Name": "job_other"}), 400, -32020)
    assert send(shared_api, "tasks/get", task, knows_tasks=True, headers={"Mcp-Name": None}).status_code == 200
    # The same name, encoded.
    encoded = send(shared_api, "tools/call", {"name": "list_jobs"}, headers={"Mcp-Name": "=?base64?bGlzdF9qb2Jz?="})
    assert encoded.status_code == 200
    rpc_error(send(shared_api, "tools/list", meta={"io.modelcontextprotocol/clientCapabilities": None}), 400, -32602)


def test_an_older_client_begins_with_initialize_and_gets_the_end_of_a_job_in_its_call(api: Api) -> None:
    def legacy(method: str, params: dict[str, Any], version: str | None = "2025-06-18") -> TestResponse:
        body = {"jsonrpc": "2.0", "id": "a", "method": method, "params": params}
        return api.post("/mcp", json=body, headers={"MCP-Protocol-Version": version})

    begun = legacy("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}}, None).get_json()["result"]
    assert begun["protocolVersion"] == "2025-06-18"
    assert begun["serverInfo"]["name"] == "ava-jobs"
    assert legacy("initialize", {"protocolVersion": "1"}, None).get_json()["result"]["protocolVersion"] == "2025-11-25"
    note = api.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (note.status_code, note.data) == (202, b"")
    assert legacy("ping", {}).get_json() == {"jsonrpc": "2.0", "id": "a", "result": {}}
    tools = legacy("tools/list", {}).get_json()["result"]
    assert set(tools) == {"tools"}
    # Errors of JSON-RPC had the status 200 then.
    rpc_error(legacy("tasks/get", {"taskId": "job_x"}), 200, -32601)
    # The wait ends at once, because no node runs the job.
    api.app.extensions["ava"].watches.wait = lambda *_, **__: None
    still = legacy("tools/call", {"name": "open", "arguments": {}}).get_json()["result"]
    job_id = still["_meta"]["org.hldgroup.ava/job"]
    assert f"Job {job_id} of wkr_open is queued." in still["content"][0]["text"]
    assert not still["isError"]


# Rights --------------------------------------------------------------------------------------------------------------


def test_a_request_without_a_caller_is_told_to_send_a_key(shared_api: Api) -> None:
    response = send(shared_api, "tools/list", headers=dict.fromkeys(HEADERS))
    error = rpc_error(response, 401, 401)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert error["data"]["code"] == "unauthorized"
    assert shared_api.get("/mcp").status_code == 405
    assert shared_api.request("DELETE", "/mcp").status_code == 405


def test_a_key_that_may_not_write_sees_and_runs_the_tools_that_read(api: Api) -> None:
    headers = by_key(api, role="tenant-user")
    names = [tool["name"] for tool in result(api, "tools/list", headers=headers)["tools"]]
    assert names == ["list_jobs", "get_job", "get_logs", "why", "list_workers", "list_errors", "preview_schedule"]
    job_id = api.trigger()["id"]
    assert job_id in text_of(call(api, "list_jobs", headers=headers))
    for tool, arguments in (("open", {}), ("cancel_job", {"job_id": job_id}), ("retry_job", {"job_id": job_id})):
        refused = call(api, tool, arguments, headers=headers)
        assert refused["isError"], refused
        assert "role" in refused["content"][0]["text"]
    rpc_error(send(api, "tasks/cancel", {"taskId": job_id}, headers=headers, knows_tasks=True), 403, 403)
    assert api.get(f"/v1/ava/jobs/{job_id}").get_json()["data"]["status"] == "queued"
    assert api.execute("SELECT count(*) FROM jobs") == [(1,)]


def test_a_key_that_sees_no_payloads_sees_none_here(api: Api) -> None:
    headers = by_key(api, payloads=False)
    job_id = call(api, "open", {"secret": "pearl"}, knows_tasks=True)["taskId"]
    end(api, job_id, "completed", output='"pearl"')
    task = result(api, "tasks/get", {"taskId": job_id}, knows_tasks=True, headers=headers)
    assert "has no permission to see" in task["result"]["content"][0]["text"]
    for tool in ("get_job", "get_logs", "why"):
        assert "pearl" not in str(call(api, tool, {"job_id": job_id}, headers=headers))
    end(api, job_id, "failed", error="ValueError: pearl")
    assert "pearl" not in str(result(api, "tasks/get", {"taskId": job_id}, knows_tasks=True, headers=headers))
    assert "pearl" in str(result(api, "tasks/get", {"taskId": job_id}, knows_tasks=True))


def test_the_jobs_and_workers_of_another_tenant_do_not_exist(shared_api: Api) -> None:
    job_id, other = shared_api.trigger()["id"], {"x-tenant-id": "ten_other"}
    for method in ("tasks/get", "tasks/cancel"):
        rpc_error(send(shared_api, method, {"taskId": job_id}, headers=other, knows_tasks=True), 200, -32602)
    params = {"taskId": job_id, "inputResponses": {}}
    rpc_error(send(shared_api, "tasks/update", params, headers=other, knows_tasks=True), 200, -32602)
    for tool in ("get_job", "get_logs", "why", "cancel_job", "retry_job"):
        assert call(shared_api, tool, {"job_id": job_id}, headers=other)["isError"]
    assert job_id not in str(call(shared_api, "list_jobs", headers=other))
    rpc_error(send(shared_api, "tools/call", {"name": "theirs"}), 200, -32602)
    assert "theirs" in [tool["name"] for tool in result(shared_api, "tools/list", headers=other)["tools"]]
    assert shared_api.get(f"/v1/ava/jobs/{job_id}").get_json()["data"]["status"] == "queued"


def test_pages_of_other_origins_are_refused(shared_api: Api) -> None:
    rpc_error(send(shared_api, "server/discover", headers={"Origin": "http://evil.example"}), 403, 403)
    rpc_error(send(shared_api, "server/discover", headers={"Origin": "null"}), 403, 403)
    assert send(shared_api, "server/discover", headers={"Origin": "http://localhost:6274"}).status_code == 200


def test_a_call_counts_as_what_it_does(api_settings: Settings) -> None:
    with Api.running(replace(api_settings, rate_limit_read="4/minute", rate_limit_write="2/minute")) as api:
        found = send(api, "tools/call", {"name": "open"}, knows_tasks=True)
        assert found.headers["X-RateLimit-Limit"] == "2"
        task = {"taskId": found.get_json()["result"]["taskId"]}
        assert send(api, "tasks/cancel", task, knows_tasks=True).status_code == 200
        response = send(api, "tools/call", {"name": "open"}, knows_tasks=True)
        assert rpc_error(response, 429, 429)["data"]["code"] == "rate_limited"
        assert int(response.headers["Retry-After"]) > 0
        assert send(api, "tasks/get", task, knows_tasks=True).headers["X-RateLimit-Limit"] == "4"
        assert send(api, "server/discover").status_code == 200
        assert send(api, "tools/list").status_code == 200
        # What is refused counts as well.
        assert send(api, "none").status_code == 404
        for method, params in (("server/discover", {}), ("none", {}), ("tasks/get", task), ("tools/list", {})):
            rpc_error(send(api, method, params, knows_tasks=True), 429, 429)
        assert api.execute("SELECT count(*) FROM jobs") == [(1,)]


def test_a_change_is_in_the_audit_trail_with_its_tool(api: Api) -> None:
    job_id = call(api, "open", knows_tasks=True)["taskId"]
    call(api, "cancel_job", {"job_id": job_id})
    call(api, "get_job", {"job_id": job_id})
    entries = api.get("/v1/ava/audit").get_json()["data"]
    assert [(each["action"], each["target"], each["changes"]["mcp_tool"]) for each in entries] == [
        ("jobs.cancel", job_id, [None, "cancel_job"]),
        ("jobs.trigger", job_id, [None, "open"]),
    ]


# Bad input -----------------------------------------------------------------------------------------------------------


_NO_MESSAGES = (
    (b"", 400, -32700),
    (b"{", 400, -32700),
    (b"[]", 400, -32700),
    (b"\xff", 400, -32700),
    (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', 400, -32600),
    (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', 400, -32600),
    (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', 400, -32600),
    (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', 400, -32600),
    (b'{"jsonrpc": "2.0", "id": "' + b"x" * 257 + b'", "method": "ping"}', 400, -32600),
    (b'{"jsonrpc": "2.0", "id": 1, "result": {}}', 400, -32600),
    (b'{"jsonrpc": "2.0", "id": 1, "method": ""}', 400, -32600),
    (b'{"jsonrpc": "2.0", "id": 1, "method": 5}', 400, -32600),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', 400, -32600),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "\\ud800\\u0000"}', 200, -32601),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": 5}}', 200, -32602),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": {}}}', 200, -32602),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "open", "arguments": 5}}', 200, -32602),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "x"}}', 200, -32602),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": 5}}', 200, None),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": "' + b"x" * 1_200_000 + b'"}', 413, 413),
)


def test_a_message_that_is_none_is_refused_with_the_reason(shared_api: Api) -> None:
    for raw, status, code in _NO_MESSAGES:
        response = shared_api.post_raw(raw, "/mcp")
        if code is None:
            assert response.get_json()["result"] == {}
        else:
            assert rpc_error(response, status, code)["message"], raw[:100]


_HOSTILE = ("", "\0", "\ud800", "x" * 100_000, "../../keys", "job_x/cancel", "job_%2e%2e", 5, True, None, [], {})


def test_an_id_that_is_none_is_refused_by_name(shared_api: Api) -> None:
    for tool in ("get_job", "get_logs", "why", "cancel_job", "retry_job", "run_worker"):
        argument = "worker_id" if tool == "run_worker" else "job_id"
        for value in _HOSTILE:
            found = call(shared_api, tool, {argument: value})
            assert found["isError"], value
            assert argument in found["content"][0]["text"]


def test_hostile_arguments_are_refused_by_name(shared_api: Api) -> None:
    for value in _HOSTILE:
        for tool, argument in (
            *(("list_jobs", name) for name in ("worker_id", "status", "created_after", "error", "limit", "cursor")),
            *(("list_workers", name) for name in ("text", "status", "cursor")),
            *(("list_errors", name) for name in ("worker_id", "since", "until", "limit")),
            *(("preview_schedule", name) for name in ("cron", "timezone", "count")),
            ("search_workers", "text"),
        ):
            response = send(shared_api, "tools/call", {"name": tool, "arguments": {argument: value}})
            assert response.status_code == 200, (tool, argument, value, response.text)
        assert call(shared_api, "list_jobs", {"other": value})["isError"]
        assert call(shared_api, "create_schedule", {"worker_id": value, "cron": value, "timezone": value})["isError"]
        response = send(shared_api, "tools/call", {"name": "open", "arguments": {"text": value}}, knows_tasks=True)
        assert response.status_code == 200
    for method in ("tasks/get", "tasks/cancel", "tasks/update"):
        for value in ("\0", "../x", 5, None, {}):
            body = {"taskId": value, "inputResponses": {}}
            response = send(shared_api, method, body, knows_tasks=True, headers=_name(value))
            rpc_error(response, 200, -32602)


def _name(value: Any) -> dict[str, str]:
    if not isinstance(value, str):
        return {}
    return {"Mcp-Name": f"=?base64?{base64.b64encode(value.encode(errors='surrogatepass')).decode()}?="}
