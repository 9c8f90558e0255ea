"""The tools of `POST /mcp`: workers, whose jobs are tasks, and what reads and changes jobs."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from ava.api.mcp.content import JOB_META
from ava.api.mcp.worker_tools import ANSWER_SECONDS
from ava.cli.host import fleet_checks
from ava.errors import StartError
from ava.settings import Settings
from harness.api import Api
from tests.mcp_calls import TASKS, call, ended, result, rpc_error, send, text_of

# Tasks ---------------------------------------------------------------------------------------------------------------


def test_a_job_is_a_task_from_its_trigger_to_its_end(api: Api) -> None:
    created = call(api, "open", {"a": 1}, knows_tasks=True)
    assert created["resultType"] == "task"
    assert (created["status"], created["statusMessage"]) == ("working", "queued")
    job = api.get(f"/v1/ava/jobs/{created['taskId']}").get_json()["data"]
    assert job["input"] == {"a": 1}
    api.execute("UPDATE jobs SET progress = %s::json", json.dumps({"fraction": 0.25, "message": "a quarter"}))
    task = result(api, "tasks/get", {"taskId": job["id"]}, knows_tasks=True)
    assert task["statusMessage"] == "25% a quarter"
    assert result(api, "tasks/cancel", {"taskId": job["id"]}, knows_tasks=True)["resultType"] == "complete"
    task = result(api, "tasks/get", {"taskId": job["id"]}, knows_tasks=True)
    assert task["status"] == "cancelled"
    assert not {"result", "error"} & set(task)
    # Again, and an answer that nothing has asked for.
    assert result(api, "tasks/cancel", {"taskId": job["id"]}, knows_tasks=True)["resultType"] == "complete"
    response = {"taskId": job["id"], "inputResponses": {"name": {"action": "accept"}}}
    assert result(api, "tasks/update", response, knows_tasks=True)["resultType"] == "complete"


def _asking(api: Api, **approval: Any) -> tuple[str, dict[str, Any]]:
    """Return a task whose job waits for a decision, and the capabilities of a client that asks its user."""
    fields = {"title": "Open the gate?", "roles": ["tenant-user"], **approval}
    body = {"approval": fields}
    response = api.request("PATCH", "/v1/ava/workers/wkr_open", json=body)
    assert response.status_code == 200, response.text
    created = call(api, "open", {"gate": 7}, knows_tasks=True)
    assert (created["resultType"], created["status"]) == ("task", "input_required")
    capabilities = {"extensions": {TASKS: {}}, "elicitation": {"form": {}, "url": {}}}
    return created["taskId"], {"io.modelcontextprotocol/clientCapabilities": capabilities}


def _responses(task_id: str, request_id: str, action: str, **content: Any) -> dict[str, Any]:
    response = {"action": action} | ({"content": content} if content else {})
    return {"taskId": task_id, "inputResponses": {request_id: response, "apr_other": {"action": "decline"}}}


def test_a_task_that_waits_for_a_decision_asks_for_it_and_its_response_decides(api: Api) -> None:
    schema = {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]}
    task_id, meta = _asking(api, schema=schema)
    other = {"x-user-id": "usr_other", "x-platform-role": "tenant-user"}
    # The caller caused the job, so another person decides, on the page.
    task = result(api, "tasks/get", {"taskId": task_id}, meta=meta)
    ((request_id, asked),) = task["inputRequests"].items()
    assert (asked["params"]["mode"], request_id in asked["params"]["url"]) == ("url", True)
    refused = _responses(task_id, request_id, "accept", approved=True, minutes=5)
    rpc_error(send(api, "tasks/update", refused, meta=meta), 403, 403)
    # A client that cannot ask its user is only told that the task waits.
    silent = result(api, "tasks/get", {"taskId": task_id}, knows_tasks=True)
    assert (silent["status"], silent["inputRequests"]) == ("input_required", {})
    task = result(api, "tasks/get", {"taskId": task_id}, meta=meta, headers=other)
    asked = task["inputRequests"][request_id]
    assert (asked["method"], asked["params"]["mode"]) == ("elicitation/create", "form")
    assert asked["params"]["message"].startswith('Open the gate?\n\nContent: {"gate": 7}')
    assert asked["params"]["requestedSchema"]["properties"].keys() == {"approved", "comment", "minutes"}
    for action, content, status, code in (
        ("accept", {}, 200, -32602),
        ("accept", {"approved": True}, 422, 422),
        ("accept", {"approved": True, "minutes": "five"}, 422, 422),
    ):
        sent = _responses(task_id, request_id, action, **content)
        rpc_error(send(api, "tasks/update", sent, meta=meta, headers=other), status, code)
    assert result(api, "tasks/get", {"taskId": task_id}, meta=meta)["status"] == "input_required"
    given = _responses(task_id, request_id, "accept", approved=True, minutes=5, comment="go")
    result(api, "tasks/update", given, meta=meta, headers=other)
    (decision,) = api.get(f"/v1/ava/approvals/{request_id}").get_json()["data"]["decisions"]
    assert (decision["by"]["id"], decision["data"], decision["comment"]) == ("usr_other", {"minutes": 5}, "go")


@pytest.mark.parametrize("answer", [("decline", {}), ("accept", {"approved": False, "comment": "no"}), ("cancel", {})])
def test_a_declined_decision_is_a_denial_and_a_dismissed_one_none(api: Api, answer: tuple[str, dict[str, Any]]) -> None:
    task_id, meta = _asking(api, not_by=False)
    ((request_id, _),) = result(api, "tasks/get", {"taskId": task_id}, meta=meta)["inputRequests"].items()
    result(api, "tasks/update", _responses(task_id, request_id, answer[0], **answer[1]), meta=meta)
    expected = "input_required" if answer[0] == "cancel" else "cancelled"
    assert result(api, "tasks/get", {"taskId": task_id}, meta=meta)["status"] == expected


def test_a_handlers_failure_is_a_completed_task_and_a_lost_process_a_failed_one(api: Api) -> None:
    failed = ended(api, "failed", error="ValueError: no such channel")
    assert (failed["status"], failed["result"]["isError"]) == ("completed", True)
    assert text_of(failed["result"]) == "ValueError: no such channel"
    lost = ended(api, "failed", error="WorkerLost: the worker process died (signal 9)")
    assert (lost["status"], lost["error"]["code"]) == ("failed", -32603)
    assert "WorkerLost" in lost["error"]["message"]
    assert "result" not in lost


_OUTPUTS = (
    ('"Hello"', "Hello", None),
    ('{"sent": [true, null]}', '{"sent":[true,null]}', {"sent": [True, None]}),
    ("[1, 2]", "[1,2]", None),
    ("null", "null", None),
    (r'"half \ud83d"', "half \N{REPLACEMENT CHARACTER}", None),
)


def test_an_output_is_a_text_block_that_is_labelled_as_data(api: Api) -> None:
    for output, content, structured in _OUTPUTS:
        found = ended(api, "completed", output=output)["result"]
        assert text_of(found) == content
        assert found.get("structuredContent") == structured
        assert not found["isError"]


def test_a_large_output_is_cut_and_says_where_all_of_it_is(api: Api) -> None:
    found = ended(api, "completed", output=json.dumps({"text": "x" * 900_000}))
    assert len(text_of(found["result"])) == 32_768
    assert f"GET /v1/ava/jobs/{found['taskId']} returns all of it" in found["result"]["content"][1]["text"]
    assert "structuredContent" not in found["result"]
    shown = call(api, "get_job", {"job_id": found["taskId"]})
    assert len(text_of(shown)) == 32_768


def test_a_client_that_knows_no_tasks_may_not_ask_for_one(api: Api) -> None:
    api.execute("UPDATE workers SET mcp = 'task' WHERE id = 'wkr_open'")
    for method, params in (
        ("tasks/get", {"taskId": "job_x"}),
        ("tasks/update", {"taskId": "job_x", "inputResponses": {}}),
        ("tasks/cancel", {"taskId": "job_x"}),
    ):
        error = rpc_error(send(api, method, params), 400, -32021)
        assert error["data"]["requiredCapabilities"] == {"extensions": {TASKS: {}}}
    for method in ("tasks/list", "tasks/result"):
        rpc_error(send(api, method, {"taskId": "job_x"}, knows_tasks=True), 404, -32601)
    assert api.execute("SELECT count(*) FROM jobs") == [(0,)]


@pytest.mark.parametrize("is_legacy", [True, False])
def test_a_client_that_knows_no_tasks_gets_the_job_of_a_worker_that_is_declared_as_a_task_at_once(
    api: Api, is_legacy: bool
) -> None:
    api.execute("UPDATE workers SET mcp = 'task' WHERE id = 'wkr_open'")
    began = time.monotonic()
    if is_legacy:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "open", "arguments": {"a": 1}}}
        called = api.post("/mcp", json=body).get_json()["result"]
    else:
        called = call(api, "open", {"a": 1})
    assert time.monotonic() - began < ANSWER_SECONDS / 2
    ((job_id,),) = [(job["id"],) for job in api.get("/v1/ava/jobs").get_json()["data"]]
    assert called["isError"] is False
    assert f"Job {job_id} of wkr_open is queued. Call get_job" in called["content"][0]["text"]
    assert called["_meta"][JOB_META] == job_id
    shown = call(api, "get_job", {"job_id": job_id})
    assert json.loads(shown["content"][0]["text"])["status"] == "queued"


# Tools ---------------------------------------------------------------------------------------------------------------


def test_a_worker_is_a_tool_with_the_schema_of_its_input(api: Api) -> None:
    schema = {
        "properties": {"n": {"type": "integer", "x-mcp-header": "N"}, "x-mcp-header": {"type": "string"}},
        "required": ["n"],
    }
    api.execute(
        "UPDATE workers SET input_schema = %s::json, input_schema_version = 'v1', description = 'Counts.', mcp = NULL"
        " WHERE id = 'wkr_open'",
        json.dumps(schema),
    )
    tool = next(each for each in result(api, "tools/list")["tools"] if each["name"] == "open")
    assert tool["description"] == "Counts."
    assert tool["inputSchema"] == {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "x-mcp-header": {"type": "string"}},
        "required": ["n"],
    }
    refused = call(api, "open", {"n": "two"}, knows_tasks=True)
    assert refused["isError"]
    assert refused["content"][0]["text"].startswith("n: ")
    schema["properties"] |= {"m": {"type": "integer"}, "percent%field": {"$ref": "#/$defs/percent%25field"}}
    schema["$defs"] = {"percent%field": {"type": "integer", "minimum": 5}}
    api.announce("wkr_several", input_schema=schema)
    for name in ("several", "run_worker"):
        given = {"n": "two", "m": "three", "percent%field": 4}
        arguments = {"worker_id": "wkr_several", "input": given} if name == "run_worker" else given
        listed = call(api, name, arguments, knows_tasks=True)["content"][0]["text"]
        named = sorted(line.partition(":")[0].rpartition(".")[2] for line in listed.splitlines())
        assert named == ["m", "n", "percent%field"]
        assert "more in fields" not in listed
    assert api.execute("SELECT count(*) FROM jobs") == [(0,)]
    assert call(api, "open", {"n": 2}, knows_tasks=True)["taskId"]


def test_settings_and_handlers_say_which_workers_are_tools(api_settings: Settings) -> None:
    with Api.running(replace(api_settings, mcp_workers=("open", "report_*", "list_jobs"))) as api:
        for worker_id in ("wkr_report_a", "wkr_reportb", "wkr_list_jobs", "wkr_report_off", "wkr_report_old"):
            api.announce(worker_id)
        api.execute("UPDATE workers SET mcp = 'off' WHERE id = 'wkr_report_off'")
        api.set_status("wkr_report_old", "deprecated")
        names = [tool["name"] for tool in result(api, "tools/list")["tools"]][10:]
        # A worker whose slug is the name of another tool has its id as its name.
        assert names == ["wkr_list_jobs", "open", "report_a"]
        assert call(api, "wkr_list_jobs", knows_tasks=True)["resultType"] == "task"
        assert "open, report_*" in fleet_checks.check_agents(replace(api_settings, mcp_workers=("open", "report_*")))
        with pytest.raises(StartError, match="AVA_MCP_WORKERS names report_x, other_\\*, but no such worker exists"):
            fleet_checks.check_agents(replace(api_settings, mcp_workers=("report_x", "open", "other_*")))
        for name in ("reportb", "report_off", "report_old", "paused", "wkr_open"):
            rpc_error(send(api, "tools/call", {"name": name}, knows_tasks=True), 200, -32602)


def test_beyond_100_workers_they_are_searched_and_run_by_two_tools(api: Api) -> None:
    for number in range(100):
        api.announce(f"wkr_many_{number:03}")
    api.execute("UPDATE workers SET mcp = 'task' WHERE id = 'wkr_many_007'")
    names = [tool["name"] for tool in result(api, "tools/list")["tools"]]
    assert names[-3:] == ["search_workers", "run_worker", "many_007"]
    found = call(api, "search_workers", {"text": "MANY_09"})["structuredContent"]["workers"]
    assert [each["id"] for each in found] == [f"wkr_many_09{digit}" for digit in range(10)]
    assert found[0]["input_schema"] == {"type": "object"}
    after = call(api, "search_workers", {"text": "many", "after_id": "wkr_many_097"})["structuredContent"]["workers"]
    assert [each["id"] for each in after] == ["wkr_many_098", "wkr_many_099"]
    # A result has room for fewer with large schemas, and the next search goes on after them.
    api.execute(
        "UPDATE workers SET input_schema = json_build_object('description', repeat('x', 12000)),"
        " input_schema_version = 'v' WHERE id LIKE 'wkr_many_09%%'"
    )
    found = call(api, "search_workers", {"text": "many_09"})["structuredContent"]["workers"]
    assert [each["id"] for each in found] == ["wkr_many_090", "wkr_many_091"]
    task = call(api, "run_worker", {"worker_id": "wkr_many_098", "input": {"a": 1}}, knows_tasks=True)
    assert api.get(f"/v1/ava/jobs/{task['taskId']}").get_json()["data"]["input"] == {"a": 1}
    assert call(api, "run_worker", {"worker_id": "wkr_none"})["isError"]
    assert call(api, "run_worker", {"worker_id": "wkr_many_098", "input": "text"}, knows_tasks=True)["isError"]


def test_the_tools_read_and_change_what_the_routes_do(api: Api) -> None:
    job_id = call(api, "open", {"a": 1}, knows_tasks=True)["taskId"]
    listed = call(api, "list_jobs", {"worker_id": "wkr_open", "status": "queued"})["structuredContent"]
    assert [each["id"] for each in listed["jobs"]] == [job_id]
    assert "input" not in listed["jobs"][0]
    assert "no live worker" in call(api, "why", {"job_id": job_id})["structuredContent"]["sentence"]
    assert [each["id"] for each in call(api, "list_workers")["structuredContent"]["workers"]] == [
        "wkr_open",
        "wkr_paused",
    ]
    assert call(api, "cancel_job", {"job_id": job_id})["structuredContent"]["status"] == "cancelled"
    assert call(api, "cancel_job", {"job_id": job_id})["isError"]
    retried = call(api, "retry_job", {"job_id": job_id, "input": {"a": 2}})["structuredContent"]
    assert (retried["retry_of"], retried["input"]) == (job_id, {"a": 2})
    daily = {"worker_id": "wkr_open", "cron": "0 3 * * *", "timezone": "UTC"}
    preview = call(api, "preview_schedule", {"cron": "0 3 * * *", "timezone": "UTC", "count": 2})
    assert len(preview["structuredContent"]["next"]) == 2
    assert call(api, "create_schedule", daily)["structuredContent"]["cron"] == "0 3 * * *"
    assert call(api, "list_errors")["structuredContent"]["errors"] == []


def test_a_log_has_its_last_lines_within_the_length_of_a_result(api: Api) -> None:
    job_id = api.trigger()["id"]
    api.execute(
        "INSERT INTO job_logs"
        " SELECT tenant_id, id, 4294967296 + n, ARRAY[now()], 'i', ARRAY['line ' || n || repeat(' x', 2000)]"
        " FROM jobs, generate_series(1, 150) AS n"
    )
    log = call(api, "get_logs", {"job_id": job_id, "lines": 150})
    lines = log["structuredContent"]["logs"]
    assert lines[-1]["msg"].startswith("line 150")
    assert 2 <= len(lines) < 150
    assert len(text_of(log)) <= 32_768
    with_search = call(api, "get_logs", {"job_id": job_id, "text": "line 77", "level": "info"})["structuredContent"]
    assert [line["msg"][:7] for line in with_search["logs"]] == ["line 77"]


def _log(api: Api, count: int, characters: int) -> str:
    job_id: str = api.trigger()["id"]
    api.execute(
        "INSERT INTO job_logs SELECT tenant_id, id, 4294967296 + n, ARRAY[now()], 'i', ARRAY[rpad(n || ' ', %s, %s)]"
        " FROM jobs, generate_series(1, %s) AS n WHERE id NOT IN (SELECT job_id FROM job_logs)",
        characters,
        # In JSON each has two characters.
        chr(92),
        count,
    )
    return job_id


def test_previous_cursor_leads_to_each_line_that_a_result_had_no_room_for(api: Api) -> None:
    job_id = _log(api, 100, 1_000)
    seen: list[int] = []
    before: dict[str, str] = {}
    while True:
        log = call(api, "get_logs", {"job_id": job_id, **before})["structuredContent"]
        seen[:0] = [int(line["msg"].split(" ")[0]) for line in log["logs"]]
        if log["previous_cursor"] is None:
            break
        assert log["cut"].startswith(f"These are {len(log['logs'])} of the 100 requested lines;")
        before = {"before": log["previous_cursor"]}
    assert seen == list(range(1, 101))
    assert "cut" not in log


def test_a_line_that_is_cut_says_how_many_characters_it_had(api: Api) -> None:
    log = call(api, "get_logs", {"job_id": _log(api, 1, 9_000)})["structuredContent"]
    (line,) = log["logs"]
    assert (len(line["msg"]), line["msg_characters"]) == (2_048, 9_000)
    assert "2,048 characters" in log["cut"]
    (whole,) = call(api, "get_logs", {"job_id": _log(api, 1, 2_048)})["structuredContent"]["logs"]
    assert "msg_characters" not in whole


def test_next_cursor_leads_to_each_job_that_a_list_had_no_room_for(api: Api) -> None:
    made = [api.trigger()["id"] for _ in range(50)]
    api.execute("UPDATE jobs SET status = 'failed', completed_at = now(), error = 'E: ' || repeat('x', 2000)")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = call(api, "list_jobs", {"limit": 50, **cursor})["structuredContent"]
        assert 1 <= len(page["jobs"]) < 50
        seen += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == made[::-1]


def test_a_call_with_an_idempotency_key_makes_one_job(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    first, second = (call(api, "open", {"a": 1}, knows_tasks=True, headers=headers) for _ in range(2))
    assert first["taskId"] == second["taskId"]
    assert call(api, "open", {"a": 2}, knows_tasks=True, headers=headers)["isError"]
