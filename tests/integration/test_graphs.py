"""Graphs of a bulk: what starts when, what is refused, and what a tree shows."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import Any

import pytest

from ava.dispatcher.duties.retention import OldJobs
from ava.dispatcher.duties.wakes import Wakes
from ava.domain import ids
from ava.domain.jobs.job import Status
from ava.domain.jobs.waits import NewChild
from ava.errors import TooMany
from ava.node.runs.run_journal import Creators
from ava.settings import Settings
from ava.store.engine.database import Connection
from ava.store.jobs import journal
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions.wake import EndedWait, ResolvedInput
from ava.store.reports import metrics
from harness.api import Api, error_of
from tests.graphs import BULK, JOBS, Graphs


def test_a_diamond_runs_in_its_order_and_passes_outputs_on(graphs: Graphs) -> None:
    jobs = graphs.declare(
        a={},
        b={"after": ["a"], "input": {"first": {"$output": "a.rows.0"}, "none": {"$output": "a.no", "default": 7}}},
        c={"after": ["a"]},
        d={"after": ["b", "c"], "input": {"both": [{"$output": "b"}, {"$output": "c.x"}]}},
    )
    assert graphs.startable(jobs) == {"a"}
    waiting = graphs.show(jobs["d"])
    assert waiting["waiting_for"] == {"jobs": [jobs["b"], jobs["c"]], "event": None, "approval": None, "until": None}
    assert {graphs.show(job_id)["tree_id"] for job_id in jobs.values()} == {jobs["a"]}
    graphs.finish(jobs["a"], {"rows": [{"id": 3}]})
    assert graphs.startable(jobs) == {"b", "c"}
    assert graphs.show(jobs["b"])["input"] == {"first": {"id": 3}, "none": 7}
    graphs.finish(jobs["b"], "text")
    assert graphs.startable(jobs) == {"c"}
    graphs.finish(jobs["c"], {"x": None})
    assert graphs.show(jobs["d"])["input"] == {"both": ["text", None]}
    graphs.finish(jobs["d"])
    assert set(graphs.statuses(jobs).values()) == {"completed"}
    tree = graphs.tree(jobs["c"])
    assert [job["name"] for job in tree["jobs"]] == ["a", "b", "c", "d"]
    assert {(edge["from"], edge["to"], edge["kind"]) for edge in tree["edges"]} == {
        (jobs[before], jobs[after], "completed") for before, after in ("ab", "ac", "bd", "cd")
    }
    found = graphs.api.get(f"{JOBS}?filter[tree_id]={jobs['a']}").get_json()["data"]
    assert [job["id"] for job in found] == [jobs[name] for name in "dcba"]
    roots = graphs.api.get(f"{JOBS}?filter[root]=true").get_json()["data"]
    assert [job["id"] for job in roots] == [jobs["a"]]


def test_what_cannot_run_any_more_is_cancelled_down_to_its_last_follower_and_a_cleanup_runs(graphs: Graphs) -> None:
    jobs = graphs.declare(
        a={}, b={"after": ["a"]}, c={"after": ["b"]}, always={"after": ["b"], "when": "ended"},
        cleanup={"after": ["a", "b"], "when": "failed"}, unneeded={"after": ["always"], "when": "failed"},
    )  # fmt: skip
    graphs.finish(jobs["a"], error="ValueError: no")
    for name, reason, by in (("b", "a failed", "a"), ("c", "b was cancelled", "b")):
        record = graphs.show(jobs[name])
        assert (record["status"], record["error"]) == ("cancelled", f"ConditionUnmet: {reason}")
        assert record["cancelled_by"] == jobs[by]
    assert graphs.startable(jobs) == {"always", "cleanup"}
    graphs.finish(jobs["always"])
    assert graphs.show(jobs["unneeded"])["error"] == "ConditionUnmet: always completed"


def test_a_cancel_of_an_entry_takes_it_alone_and_its_followers_by_their_conditions(graphs: Graphs) -> None:
    jobs = graphs.declare(a={}, b={}, c={"after": ["a"]}, d={"after": ["b"]})
    assert graphs.api.post(f"{JOBS}/{jobs['a']}/cancel").status_code == 200
    graphs.wake()
    assert graphs.statuses(jobs) == {"a": "cancelled", "b": "queued", "c": "cancelled", "d": "queued"}
    done = graphs.api.post(f"{JOBS}/cancel", json={"filter": {"tree_id": jobs["a"]}})
    assert done.get_json()["data"]["done"] == 2
    assert graphs.statuses(jobs)["d"] == "cancelled"


def test_what_failed_is_retried_with_what_comes_after_it_and_reads_what_completed(graphs: Graphs) -> None:
    jobs = graphs.declare(
        a={}, b={}, c={"after": ["a", "b"], "input": {"of": [{"$output": "a"}, {"$output": "b"}]}}, d={"after": ["c"]}
    )
    graphs.finish(jobs["a"], 1)
    graphs.finish(jobs["b"], error="ValueError: no")
    completed = graphs.api.post(f"{JOBS}/{jobs['a']}/retry", json={"from": "failed"})
    error_of(completed, 409, "resource_conflict")
    assert graphs.api.post(f"{JOBS}/{jobs['c']}/retry").status_code == 409, "its input was never resolved"
    alone = graphs.api.trigger()["id"]
    assert graphs.api.post(f"{JOBS}/{alone}/retry", json={"from": "failed"}).status_code == 422
    response = graphs.api.post(f"{JOBS}/{jobs['b']}/retry", json={"from": "failed"})
    assert response.status_code == 201, response.text
    again = response.get_json()["data"]
    assert (again["retry_of"], again["tree_id"]) == (jobs["b"], again["id"])
    renewed = {job["name"]: job["id"] for job in graphs.tree(again["id"])["jobs"]}
    assert set(renewed) == {"b", "c", "d"}
    graphs.finish(renewed["b"], 2)
    assert graphs.show(renewed["c"])["input"] == {"of": [1, 2]}
    graphs.finish(renewed["c"])
    assert graphs.startable(renewed) == {"d"}


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ([{"name": "a"}, {"name": "a"}], "jobs[1].name"),
        ([{"name": "A"}], "jobs[0].name"),
        ([{"after": ["none"]}], "jobs[0].after[0]"),
        ([{"name": "a", "after": ["b"]}, {"name": "b", "after": ["a"]}], "jobs[0].after"),
        ([{"name": "a", "after": ["a"]}], "jobs[0].after[0]"),
        ([{"name": "a"}, {"after": ["a", "a"]}], "jobs[1].after"),
        ([{"name": "a"}, {"after": ["a"], "when": "never"}], "jobs[1].when"),
        ([{"name": "a"}, {"after": ["a"], "dedupe": {"key": "k"}}], "jobs[1].dedupe"),
        ([{"name": "a"}, {"after": ["a"], "input": {"x": [{"$output": "b"}]}}], "jobs[1].input.x[0]"),
        ([{"name": "a"}, {"after": ["a"], "input": {"x": {"$output": 3}}}], "jobs[1].input.x"),
        ([{"name": "a"}, {"after": ["a"], "input": {"x": {"$output": "a", "more": 1}}}], "jobs[1].input.x"),
    ],
)
def test_a_wrong_graph_is_refused_by_the_index_of_its_entry(shared_api: Api, entries: list[Any], named: str) -> None:
    response = shared_api.post(BULK, json={"jobs": [{"worker_id": "wkr_open", **entry} for entry in entries]})
    assert response.status_code == 422, response.text
    assert named in response.get_json()["error"]["fields"]
    assert shared_api.execute("SELECT count(*) FROM jobs") == [(0,)]


def test_an_input_with_output_is_as_it_is_where_nothing_comes_before(graphs: Graphs) -> None:
    assert graphs.api.trigger(input={"x": {"$output": "a"}})["input"] == {"x": {"$output": "a"}}


_REFERENCE = {"$output": "a"}


@pytest.mark.parametrize(
    ("output", "references", "resolved_bytes"),
    [
        ("x" * 600_000, [_REFERENCE] * 2, 1_200_011),
        ("x" * 998, [_REFERENCE] * 500, None),
        ({"rows": ["x" * 998]}, [{"$output": "a.rows.0"}] * 500, None),
        ({"rows": ["x" * 998]}, [{"$output": "a.rows.0"}] * 1_100, 1_102_000),
        ("x" * 1_000_000, [_REFERENCE] * 20_000, 20_000 * 1_000_003 + 6),
        ({"rows": ["x" * 500_000, "y" * 400_000]}, [{"$output": f"a.rows.{n % 2}"} for n in range(20_000)], 5 * 10**9),
    ],
)
def test_outputs_are_counted_before_they_make_an_input_too_large(
    graphs: Graphs, output: Any, references: list[Any], resolved_bytes: int | None
) -> None:
    jobs = graphs.declare(a={}, b={"after": ["a"], "input": {"x": references}})
    graphs.finish(jobs["a"], output)
    record = graphs.show(jobs["b"])
    if resolved_bytes is None:
        assert (record["status"], record["error"]) == ("queued", None)
        assert graphs.api.execute("SELECT json_array_length(input -> 'x') FROM jobs WHERE name = 'b'") == [(500,)]
        return
    reason, shown, limit = re.fullmatch(r"(.+) at least ([0-9]+) bytes, more than ([0-9]+)", record["error"]).groups()  # type: ignore[union-attr]
    assert (reason, limit) == ("InputTooLarge: with its outputs it has", str(2**20))
    assert 0.9 * resolved_bytes < int(shown) <= 1.1 * resolved_bytes


def test_outputs_that_are_too_large_together_are_not_read(graphs: Graphs) -> None:
    after = [f"a{n}" for n in range(3)]
    parts = [{"$output": f"{name}.x"} for name in after]
    jobs = graphs.declare(**{name: {} for name in after}, b={"after": after, "input": {"x": parts}})
    for name in after[:2]:
        graphs.finish(jobs[name], {"x": 1})
    # PostgreSQL stores the output without these bytes, so reading it would not find them.
    graphs.api.execute("UPDATE jobs SET output_bytes = 20000000 WHERE name = ANY(%s)", after[:2])
    graphs.finish(jobs["a2"], {"x": 1})
    assert graphs.show(jobs["b"])["error"].endswith(f"at least 40000008 bytes, more than {32 * 2**20}")


@pytest.mark.parametrize("fault", [ValueError("no"), MemoryError(), "a value that PostgreSQL refuses"])
def test_a_job_whose_wake_fails_fails_once_and_stops_no_other(
    graphs: Graphs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception | str
) -> None:
    resolve = Wakes._resolve_one

    def resolve_or_fail(wakes: Wakes, connection: Connection, job: EndedWait, *given: Any) -> ResolvedInput:
        if job.uuid != bad:
            return resolve(wakes, connection, job, *given)
        if isinstance(fault, Exception):
            raise fault
        return ResolvedInput(job=job, input_json="no JSON")

    followers = {name: {"after": ["a"], "input": {"x": {"$output": "a"}}} for name in ("b", "middle", "c")}
    jobs = graphs.declare(a={}, **followers)
    bad = str(ids.decode("job", jobs["middle"]))
    monkeypatch.setattr(Wakes, "_resolve_one", resolve_or_fail)
    graphs.finish(jobs["a"], 1)
    for _ in range(3):
        graphs.wake()
    assert graphs.startable(jobs) == {"b", "c"}
    record = graphs.show(jobs["middle"])
    assert (record["status"], record["error"].partition(" (")[0]) == (
        "failed",
        "InternalError: its wait could not be ended",
    )
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1


def test_many_large_inputs_start_in_several_transactions(graphs: Graphs) -> None:
    followers = {f"b{n}": {"after": ["a"], "input": {"x": {"$output": "a"}}} for n in range(30)}
    jobs = graphs.declare(a={}, **followers)
    graphs.finish(jobs["a"], "x" * 900_000)
    assert graphs.startable(jobs) == set(followers)


def test_an_input_that_outputs_nest_too_deep_fails_the_job_by_the_name_of_the_limit(graphs: Graphs) -> None:
    jobs = graphs.declare(a={}, other={}, b={"after": ["a", "other"], "input": {"x": {"$output": "a"}}})
    graphs.finish(jobs["a"], 1)
    deep = "[" * 1_500 + "]" * 1_500
    graphs.api.execute("UPDATE jobs SET output = %s::json WHERE id = %s", deep, str(ids.decode("job", jobs["a"])))
    graphs.finish(jobs["other"], 1)
    record = graphs.show(jobs["b"])
    assert record["error"].startswith("InputInvalid: with its outputs it nests too deep; at most 500 levels")
    assert "(limit nesting)" in record["error"]


def test_a_parent_waits_for_its_children_and_holds_nothing(graphs: Graphs) -> None:
    parent = graphs.api.trigger(tags={"k": "v"}, priority=3)["id"]
    run, claim_id = graphs.start(parent)
    one, two = graphs.children(parent, claim_id, "one", "two")
    child = graphs.show(one)
    assert (child["trigger"], child["triggered_by"], child["parent_id"]) == ("event", parent, parent)
    assert (child["tree_id"], child["priority"], child["tags"]) == (parent, 3, {"k": "v"})
    graphs.wait(run, claim_id, one, two)
    record = graphs.show(parent)
    assert (record["status"], record["attempt"], record["started_at"]) == ("queued", 0, None)
    assert record["waiting_for"]["jobs"] == [one, two]
    assert graphs.api.get("/v1/ava/queues").get_json()["data"]["total_waiting"] == 1
    with graphs.api.database.connect() as connection:
        assert {reason: jobs for reason, jobs in metrics.waiting_jobs(connection).items() if jobs} == {"children": 1}
    sentence = graphs.api.get(f"{JOBS}/{parent}/why").get_json()["data"]["sentence"]
    assert f"its handler waits for the end of {one}, {two}" in sentence
    graphs.finish(one, 1)
    assert graphs.show(parent)["waiting_for"] is not None
    graphs.finish(two, error="ValueError: no")
    assert graphs.show(parent)["waiting_for"] is None
    again, claim_id = graphs.start(parent)
    assert again.run_no == 2
    with graphs.api.database.connect() as connection:
        loaded = journal.load(connection, run=again, claim_id=claim_id, attempt=1)
    assert loaded is not None
    assert [(entry.name, entry.child_id) for entry in loaded.entries] == [("one", one), ("two", two)]
    assert {child.status for child in loaded.children.values()} == {Status.COMPLETED, Status.FAILED}
    graphs.end(again, claim_id)
    logs = graphs.api.get(f"{JOBS}/{parent}/logs").get_json()["data"]["logs"]
    messages = [line["msg"] for line in logs]
    assert messages[:3] == ["Worker handler started", "Handler waits for 2 jobs", "Handler continues"]


def test_a_child_is_refused_by_a_count_of_that_moment(graphs: Graphs, api_settings: Settings) -> None:
    parent = graphs.api.trigger()["id"]
    _, claim_id = graphs.start(parent)
    with graphs.api.database.connect() as connection:
        job = lists.show(connection, tenant_id="ten_test", job_id=parent)
    assert job is not None
    creator = Creators(replace(api_settings, tenant_max_queued=1)).get()

    def make(name: str) -> str:
        new = [NewChild(name=name, worker_id="wkr_open", input_json="{}")]
        with graphs.api.database.transaction() as connection:
            return creator.create(connection, job, claim_id=claim_id, new=new)[0].id

    child = make("one")
    with pytest.raises(TooMany, match="1 queued jobs, 0 more"):
        make("two")
    graphs.finish(child)
    assert graphs.show(make("three"))["status"] == "queued"


def test_a_cancel_takes_the_tree_from_the_leaves_up_but_for_detached_children(graphs: Graphs) -> None:
    parent = graphs.api.trigger()["id"]
    run, claim_id = graphs.start(parent)
    queued, running = graphs.children(parent, claim_id, "queued", "running")
    (detached,) = graphs.children(parent, claim_id, "apart", is_detached=True)
    child_run, child_claim = graphs.start(running)
    graphs.wait(run, claim_id, queued, running)
    asked = graphs.api.post(f"{JOBS}/{parent}/cancel").get_json()["data"]
    assert (asked["status"], asked["cancel_requested_at"] is not None) == ("queued", True)
    record = graphs.show(queued)
    assert (record["status"], record["cancelled_by"]) == ("cancelled", parent)
    assert record["error"] == f"ParentCancelled: {parent} was cancelled"
    graphs.wake()
    assert graphs.show(parent)["status"] == "queued"
    graphs.end(child_run, child_claim, 1)
    assert graphs.show(running)["status"] == "cancelled"
    assert graphs.show(parent)["status"] == "cancelled"
    assert graphs.show(detached)["status"] == "queued"


def test_a_child_that_starts_during_the_cancel_of_its_parent_is_waited_for(graphs: Graphs) -> None:
    parent = graphs.api.trigger()["id"]
    run, claim_id = graphs.start(parent)
    (child,) = graphs.children(parent, claim_id, "one")
    graphs.wait(run, claim_id, child)
    client = Api(graphs.api.app, graphs.api.database)
    thread = threading.Thread(target=lambda: client.post(f"{JOBS}/{parent}/cancel"))
    with graphs.api.database.transaction() as connection:
        child_run, child_claim = graphs.claim(connection, child)
        thread.start()
        graphs.api.wait_for_blocked()
    thread.join(10)
    graphs.wake()
    record = graphs.show(parent)
    assert (record["status"], record["cancel_requested_at"] is not None) == ("queued", True)
    assert graphs.show(child)["cancelled_by"] == parent
    graphs.end(child_run, child_claim, 1)
    assert graphs.statuses({"parent": parent, "child": child}) == {"parent": "cancelled", "child": "cancelled"}


def test_a_job_that_waits_for_a_running_child_is_not_replaced(graphs: Graphs) -> None:
    rule = {"key": "k", "mode": "replace"}
    parent = graphs.api.trigger(dedupe=rule)["id"]
    run, claim_id = graphs.start(parent)
    (child,) = graphs.children(parent, claim_id, "one")
    graphs.wait(run, claim_id, child)
    child_run, child_claim = graphs.start(child)
    body = {"worker_id": "wkr_open", "dedupe": rule}
    message = error_of(graphs.api.post(JOBS, json=body), 409, "resource_conflict")["message"]
    assert f"{parent} has the same worker and key, and a job below it runs" in message
    records = [graphs.show(job_id) for job_id in (parent, child)]
    assert [(each["status"], each["cancel_requested_at"]) for each in records] == [("queued", None), ("running", None)]
    graphs.api.post(f"{JOBS}/{parent}/cancel")
    error_of(graphs.api.post(JOBS, json=body), 409, "resource_conflict")
    graphs.end(child_run, child_claim, 1)
    assert graphs.api.post(JOBS, json=body).status_code == 201


def test_a_deadline_stops_the_tree_and_fails_the_job(graphs: Graphs) -> None:
    parent = graphs.api.trigger(deadline_seconds=5)["id"]
    run, claim_id = graphs.start(parent)
    (child,) = graphs.children(parent, claim_id, "one")
    graphs.wait(run, claim_id, child)
    graphs.stop_overdue()
    assert graphs.show(parent)["status"] == "queued"
    graphs.api.execute(
        "UPDATE jobs SET created_at = created_at - interval '9 s', deadline_at = deadline_at - interval '9 s'"
    )
    graphs.stop_overdue()
    graphs.wake()
    record = graphs.show(parent)
    assert (record["status"], record["error"]) == ("failed", "Timeout: exceeded its deadline of 5 s")
    assert graphs.show(child)["status"] == "cancelled"
    assert graphs.show(child)["error"] == f"ParentCancelled: {parent} exceeded its deadline"


def test_a_handler_that_completes_after_its_deadline_has_failed_in_its_log_too(graphs: Graphs) -> None:
    job = graphs.api.trigger(deadline_seconds=5)["id"]
    started = graphs.start(job)
    graphs.api.execute(
        "UPDATE jobs SET created_at = created_at - interval '9 s', deadline_at = deadline_at - interval '9 s'"
    )
    graphs.stop_overdue()
    graphs.end(*started)
    record = graphs.show(job)
    assert (record["status"], record["error"]) == ("failed", "Timeout: exceeded its deadline of 5 s")
    last = graphs.api.get(f"/v1/ava/jobs/{job}/logs").get_json()["data"]["logs"][-1]
    assert (last["level"], last["msg"].split(" after ")[0]) == ("error", "Handler failed")


def test_nothing_of_an_unfinished_tree_is_old(graphs: Graphs) -> None:
    jobs = graphs.declare(a={}, b={"after": ["a"]})
    graphs.finish(jobs["a"])
    for expected in (2, 0):
        for _ in range(3):
            with graphs.api.database.connect() as connection:
                OldJobs(retention_days=0.0).delete(connection, 50)
        assert graphs.api.execute("SELECT count(*) FROM jobs") == [(expected,)]
        if expected:
            graphs.finish(jobs["b"])
    assert graphs.api.execute("SELECT count(*) FROM job_edges") == [(0,)]
