"""Durable handlers of the package for TypeScript: their requests, and `ava-jobs/testing`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ava.domain.approval import ApprovalRequest
from harness.system import ROOT
from tests import npm

Find = Callable[[str], Any]
_SWALLOWED = (
    "SuspensionSwallowed: The handler went on after it was suspended, because it caught Suspended; throw it again."
)


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Return what a case of `durable.mjs` finds."""
    folder = tmp_path_factory.mktemp("typescript") / "package"
    npm.build_client(folder, npm.made(sys.executable, "-m", "tools.openapi", folder=ROOT).encode())
    shutil.copy(npm.SOURCES / "durable.mjs", folder)
    return lambda case: json.loads(npm.made("node", "durable.mjs", case, folder=folder))


def test_decisions_are_about_the_content_whose_hash_the_server_computes_too(find: Find) -> None:
    found = find("approvals")
    assert found["output"] == [True, {"n": 2}, True, False, "WaitTimeout"]
    payload = {"é": [1.5, 1e21, None], "b": {"z": True, "a": "€"}, "10": 0}
    assert found["hash"] == ApprovalRequest.of("Resize?", payload=payload, schema={"type": "object"}).payload_hash


def test_a_step_is_one_request_and_a_wait_ends_the_run(find: Find) -> None:
    a = {"key": "job_1:a", "at": "1970-01-01T00:00:00.000Z"}
    part = {"name": "wkr_part", "worker_id": "wkr_part", "input": {"a": a, "b": None}, "detached": False}
    assert find("requests") == [
        ["steps", {"name": "a", "state": "done", "value": a}],
        ["steps", {"name": "b/1", "state": "began"}],
        ["steps", {"name": "b/1", "state": "done", "value": None}],
        ["children", {"children": [part]}],
        ["end", {"waits": [{"name": "wkr_part", "timeout_seconds": 60, "jobs": ["job_2"]}]}],
    ]


def test_a_replay_reads_the_journal_and_sends_only_what_is_new(find: Find) -> None:
    *rest, end = find("replay")
    assert [call for call in rest if call[0] == "journal"] == [["journal", ""], ["journal", "?cursor=c"]]
    lines = [line["msg"] for call, body in rest if call == "lines" for line in body["lines"]]
    progress = [body["fraction"] for call, body in rest if call == "progress"]
    assert (lines, progress) == (["caught up"], [0.5])
    assert end == ["end", {"output": [7, {"a_b": 1}, "now", 1]}]
    assert {call for call, _ in rest} == {"journal", "outputs", "lines", "progress"}


def test_a_wait_that_is_satisfied_enters_the_handler_again_in_the_same_run(find: Find) -> None:
    found = find("continues")
    wait = {"waits": [{"name": "sleep", "seconds": 5}]}
    assert found == {"calls": [["end", wait], ["journal", ""], ["end", {"output": 2}]], "entries": 2}


def test_a_handler_that_catches_its_suspension_fails(find: Find) -> None:
    assert find("swallowed") == [[_SWALLOWED]] * 2


def test_refusals_are_errors_with_the_names_of_python(find: Find) -> None:
    assert find("refused") == ["StepInterrupted", "StepError", "ChildRefused", "RunStopped"]


def test_the_service_chooses_the_first_child_to_end(find: Find) -> None:
    found = find("any")
    waits = {"waits": [{"name": "first", "jobs": ["job_2", "job_3"], "any": True}]}
    assert [body for call, body in found if call == "end"] == [waits, {"output": [True, "job_3", True]}]


def test_names_and_calls_follow_the_rules_of_python(find: Find) -> None:
    found = find("rules")
    kinds = ["DuplicateName", "StepError", "TypeError", "StepError", "TypeError", "WaitInTask"]
    assert found["output"] == [*kinds, "called", "StepError"]
    assert find("unawaited") == 'CallNotAwaited: env.step("a") did nothing: write await before it'


def test_a_call_after_the_handler_was_left_ends_no_process(find: Find) -> None:
    assert find("behind") == ["done", "no process has ended"]


def test_branches_wait_independently(find: Find) -> None:
    found = find("branches")
    assert found["output"] == ["slept", "output", [5, 1]]
    assert found["waits"] == [
        "1 job, an event, at most 60 s",
        "an event, at most 60 s",
        "60 s",
    ]
    assert found["logs"] == ["waits"]


def test_abandoned_branches_do_not_continue_in_later_runs(find: Find) -> None:
    found = find("abandoned")
    assert (found["output"], found["effects"]) == (["ChildFailed", 1], [])


def test_waits_time_out_and_events_match_patterns(find: Find) -> None:
    found = find("waits")
    assert found["output"] == ["WaitTimeout", "WaitTimeout", 3]
    assert found["waits"] == ["1 job, at most 60 s", "an event, at most 9 s"]


def test_a_map_bounds_its_unfinished_children(find: Find) -> None:
    found = find("map")
    failed = [
        {"id": found["output"][2][0]["id"], "worker_id": "wkr_bad", "status": "failed", "error": "RangeError: no"}
    ]
    assert found["output"] == [[10, 20, 30], "ChildFailed", failed]
    assert found["children"] == ["wkr_part[0]", "wkr_part[1]", "wkr_part[2]", "wkr_bad[0]", "b[0]"]


def test_a_test_learns_what_nothing_ends(find: Find) -> None:
    child, event = find("nothing_ends")
    assert child.startswith('Nothing ends the child "wkr_part"')
    assert event.startswith('No event arrives for "paid"')
