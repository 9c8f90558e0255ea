"""Each operation has a method in both clients and a place in the reference, and says whether an MCP tool calls it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ava.api.mcp.tools import by_name
from ava.cli.main import cli
from ava.client import Client
from harness.system import ROOT
from tools import typescript_methods
from tools.client_methods import BY_HAND, Operation, operations, title
from tools.openapi import description
from tools.site import reference

#: Operations that people do not call, and why.
_WITHOUT_CALL = {
    **dict.fromkeys(
        ("claim_runs", "append_run_log_lines", "report_run_progress", "end_run", "send_heartbeats"),
        "PullWorker of the TypeScript package calls it",
    ),
    **dict.fromkeys(
        ("list_run_journal", "read_outputs_of_run_children", "record_step_of_run", "create_children_of_run_job"),
        "PullWorker of the TypeScript package calls it",
    ),
    **dict.fromkeys(
        ("start_session", "show_caller", "switch_session_tenant", "end_session"), "only a browser has a session"
    ),
    "send_to_hook": "providers call it",
    "download_job_log": "browsers save it as a file; `jobs.logs` has the same lines",
    "follow_containment": "the dashboard shows it; `containments.wait` waits",
}
#: Operations without a command, and why.
_WITHOUT_COMMAND = {"jobs.trigger_many": "a shell runs `ava jobs trigger` for each"}
_DOCUMENT = description()
_OPERATIONS = [pytest.param(each, id=each.declared["operationId"]) for each in operations(_DOCUMENT)]


def test_only_named_operations_are_called_by_no_one() -> None:
    declared = [each for methods in _DOCUMENT["paths"].values() for each in methods.values()]
    assert {each["operationId"] for each in declared if "x-ava-call" not in each} == set(_WITHOUT_CALL)


@pytest.mark.parametrize("operation", _OPERATIONS)
def test_the_python_client_has_a_method_of_each_operation(operation: Operation) -> None:
    with Client("http://127.0.0.1:1", api_key="ava_00.none") as client:
        found: Any = client
        for name in operation.call["method"].split("."):
            found = getattr(found, name)
    assert callable(found)


@pytest.mark.parametrize("operation", _OPERATIONS)
def test_the_typescript_client_has_a_method_of_each_operation(operation: Operation) -> None:
    generated = f"class {title(operation.resource)}Calls extends Resource"
    is_by_hand = operation.call["method"] in typescript_methods.BY_HAND
    head = generated if not is_by_hand else f"extends {title(operation.resource)}Calls"
    sources = [path.read_text() for path in (ROOT / "clients/typescript/src").glob("*.ts")]
    bodies = [source.partition(f"{head} {{\n")[2].partition("\n}\n")[0] for source in sources]
    name = typescript_methods.camel(operation.name)
    found = [body for body in bodies if re.search(rf"^  (async )?\*?{name}\(", body, re.MULTILINE)]
    assert len(found) == 1, f"{head} has no {name}"
    assert is_by_hand or f'"{operation.path}"' in found[0]


def test_the_generated_methods_of_typescript_are_those_of_the_description() -> None:
    assert typescript_methods.MODULE.read_text() == typescript_methods.module(_DOCUMENT)


@pytest.mark.parametrize("operation", _OPERATIONS)
def test_the_command_line_has_a_command_of_each_operation(operation: Operation) -> None:
    found: Any = cli
    words = operation.call.get("command", "").split()
    assert bool(words) is (operation.call["method"] not in _WITHOUT_COMMAND)
    for word in words:
        found = found.commands[word]
    assert not words or found.callback is not None


def test_each_method_by_hand_belongs_to_an_operation() -> None:
    assert BY_HAND.keys() | typescript_methods.BY_HAND <= {each.call["method"] for each in operations(_DOCUMENT)}


def test_each_operation_says_which_tool_calls_it() -> None:
    declared = {each.call.get("tool", "") for each in operations(_DOCUMENT)} - {""}
    assert declared == set(by_name) - {"search_workers", "run_worker"}


def test_the_reference_has_each_operation_and_each_field_of_a_body_or_record() -> None:
    operations_page, fields_page = reference.operations(_DOCUMENT), reference.fields_of(_DOCUMENT)
    for path, methods in _DOCUMENT["paths"].items():
        for method, declared in methods.items():
            assert f"`{method.upper()} {path}` (`{declared['operationId']}`)" in operations_page
    for name, schema in _DOCUMENT["components"]["schemas"].items():
        section = fields_page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)) == set(schema.get("properties", ())), name
