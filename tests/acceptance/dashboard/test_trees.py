"""Trees of jobs as people see them: in the dashboard, in the client and in the commands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ava.client import Client
from harness.polling import wait_until
from harness.system import SECRET, System
from tests.acceptance.dashboard.test_dashboard import open_part, rows_of
from tests.acceptance.dashboard.test_looks import findings_in_both
from tests.browser import Browser
from tests.commands import ava, on_a_terminal

#: Each box of the graph: its text without what changes, and its state.
_BOXES = """
return [...document.querySelectorAll(".box")]
    .map((box) => [box.querySelector("strong").innerText, box.dataset.state ?? null]);
"""
#: Each row of the time line: its name and the kinds of its parts.
_ROWS = """
return [...document.querySelectorAll(".times .spans li")].map((row) =>
    [row.querySelector("a").innerText, [...row.querySelectorAll("i")].map((part) => part.dataset.part).join(" ")]);
"""


@pytest.fixture
def client(running: System) -> Iterator[Client]:
    """A client of this system."""
    with Client(running.url, secret=SECRET, tenant="ten_test", user="usr_test") as client:
        yield client


def _graph(client: Client, **inputs: dict[str, Any]) -> list[str]:
    """Trigger entries of which each comes after the first; the last one cleans up. Returns their ids."""
    entries = [
        client.jobs.entry("wkr_echo", {"text": "one"}, name="collect"),
        client.jobs.entry("wkr_fail", name="publish", after=["collect"]),
        client.jobs.entry("wkr_echo", {"of": {"$output": "collect.text"}}, name="report", after=["collect"]),
        client.jobs.entry("wkr_echo", name="announce", after=["publish", "report"]),
        client.jobs.entry("wkr_echo", name="clean_up", after=["publish", "report"], when="failed"),
    ]
    return [job.id for job in client.jobs.trigger_many(entries)]


def test_a_tree_is_seen_as_a_graph_and_as_a_time_line_while_it_runs(
    signed_in: Browser, client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "open"
    job = client.jobs.trigger("wkr_crawl", {"pages": 12, "until": str(gate)})
    signed_in.go(f"#/jobs/{job.id}/tree")
    signed_in.await_text("14 jobs of crawl", "12 × fetch", "11 completed, 1 failed")
    wait_until(lambda: ["approval", "running"] in signed_in.script(_BOXES), what=lambda: signed_in.script(_BOXES))
    assert ["crawl", "waits"] in signed_in.script(_BOXES)
    rows = dict(signed_in.script(_ROWS))
    assert rows["crawl"].split().count("waits") == 2
    assert rows["fetch[0]"] == "queued runs"
    gate.write_text("")
    wait_until(lambda: ["crawl", "completed"] in signed_in.script(_BOXES), what=lambda: signed_in.script(_BOXES))
    signed_in.click(".box a", None)
    signed_in.find(".job-part[data-part=payloads]")
    wait_until(lambda: ["12 × fetch", "failed"] in rows_of(signed_in), what=lambda: rows_of(signed_in))
    signed_in.click("[data-row=children] button")
    signed_in.await_text("list pages", "fetch[11]", "12 of 12 ended, 1 failed")
    open_part(signed_in, "log")
    signed_in.await_text("Handler continues")


def test_the_page_of_a_job_has_its_steps_and_waits(signed_in: Browser, client: Client) -> None:
    job = client.jobs.wait(client.jobs.trigger("wkr_crawl", {"pages": 3}).id)
    signed_in.go(f"#/jobs/{job.id}")
    wanted = {"Run 1", "list pages", "fetch[0]", "fetch[1]", "fetch[2]", "Wait: 3 jobs", "Run 2", "approval", "Run 3"}
    wait_until(
        lambda: {name for name, _ in rows_of(signed_in)} == {*wanted, "Wait: 1 job"}, what=lambda: rows_of(signed_in)
    )
    states = dict(rows_of(signed_in))
    assert (states["fetch[0]"], states["fetch[2]"], states["Wait: 3 jobs"]) == ("completed", "failed", "waits")
    signed_in.click("[data-row=step] button")
    signed_in.await_text('"page 0"', '"page 2"')
    signed_in.click("[data-row=wait] button")
    assert len(re.findall(r"job_…", signed_in.find("[data-row=wait] .span-detail").text)) == 3
    open_part(signed_in, "runs")
    outcomes = "return [...document.querySelectorAll('[data-run] .pill')].map((each) => each.innerText)"
    wait_until(lambda: signed_in.script(outcomes) == ["waits", "waits", "completed"], what="the runs")
    open_part(signed_in, "record")
    signed_in.click("a", "The tree of this job")
    signed_in.await_text("5 jobs of crawl")


def test_a_graph_that_failed_is_retried_from_there(signed_in: Browser, client: Client) -> None:
    ids = _graph(client)
    found = client.jobs.tree(ids[0])
    while not found.is_final:
        found = client.jobs.tree(ids[0], wait_seconds=20)
    signed_in.go(f"#/jobs/{ids[1]}/tree")
    signed_in.await_text("5 jobs of collect")
    states = {"collect": "completed", "publish": "failed", "report": "completed"}
    assert dict(signed_in.script(_BOXES)) == {**states, "announce": "cancelled", "clean_up": "completed"}
    kinds = signed_in.script("return [...document.querySelectorAll('.edges g')].map((line) => line.dataset.edge)")
    assert sorted(kinds) == ["completed"] * 4 + ["failed"] * 2
    assert findings_in_both(signed_in) == []
    signed_in.go(f"#/jobs/{ids[1]}")
    signed_in.click("button", "Retry from here")
    signed_in.click("dialog button", "Retry from here")
    signed_in.await_text("2 jobs of publish", "announce")


def test_the_client_and_the_commands_show_trees_and_journals(running: System, client: Client) -> None:
    ids = _graph(client)
    shown = json.loads(ava(running, "jobs", "tree", ids[0], "--wait").stdout)
    assert [job["status"] for job in shown["jobs"]] == ["completed", "failed", "completed", "cancelled", "completed"]
    assert [job.id for job in client.jobs.list(tree_id=ids[0])] == ids[::-1]
    # The newest of all, because other tests of this system leave many.
    roots = [job.id for job in islice(client.jobs.list(root=True), 20)]
    assert (ids[0] in roots, ids[1] in roots) == (True, False)
    code, output = on_a_terminal(running, "jobs", "tree", ids[3])
    (line,) = (line for line in output.splitlines() if line.startswith("announce"))
    assert (code, "publish, report" in line, "ConditionUnmet" in output) == (0, True, True)
    again = json.loads(ava(running, "jobs", "retry", ids[1], "--failed").stdout)
    assert (again["retry_of"], again["tree_id"]) == (ids[1], again["id"])
    assert [job.name for job in client.jobs.tree(again["id"], wait_seconds=20).jobs] == ["publish", "announce"]

    job = client.jobs.wait(client.jobs.trigger("wkr_crawl", {"pages": 2}, deadline_seconds=600).id)
    assert job.deadline_at is not None
    entries = list(client.jobs.journal(job.id, per_page=3))
    assert [(entry.kind, entry.name) for entry in entries] == [
        ("step", "list pages"), ("child", "wkr_fetch[0]"), ("child", "wkr_fetch[1]"), ("child", "approval"),
    ]  # fmt: skip
    assert entries[0].value == ["page 0", "page 1"]
    assert [len(wait.jobs) for wait in client.jobs.waits(job.id)] == [1, 2]
    code, output = on_a_terminal(running, "jobs", "tree", job.id)
    assert [line.partition(" job_")[0].rstrip() for line in output.splitlines()][1:] == [
        "wkr_crawl", "├─ wkr_fetch[0]", "├─ wkr_fetch[1]", "└─ approval",
    ]  # fmt: skip
    code, output = on_a_terminal(running, "jobs", "journal", job.id)
    assert (code, "list pages" in output) == (0, True)
    code, output = on_a_terminal(running, "jobs", "waits", job.id)
    assert (code, "ended: 2 jobs" in output) == (0, True)
