"""Graphs that are retried, what retention keeps of them, and the limits of graphs and trees."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

import ava
from ava.broker.control import Control
from ava.dispatcher.duties.probed_work import run_bulk_batches
from ava.dispatcher.duties.retention import OldJobs
from ava.domain import ids
from ava.domain.access.caller import Caller, Role
from ava.domain.limits.table import TREE_JOBS
from ava.domain.worker import OnWorkerLost, WorkerSpec
from ava.errors import ChildrenRefused
from ava.node.runs.run_journal import Creators, RunJournal
from ava.services import job_retries
from ava.services.bulk_batches import BulkBatches
from ava.services.creation import child_creator
from ava.settings import Settings
from ava.store.fleet import workers
from ava.store.jobs import old_jobs
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions import edges
from harness.api import Api, error_of
from harness.timestamps import LATER
from tests.graphs import BULK, JOBS, Graphs

if TYPE_CHECKING:
    from ava.node.runs.run import Run

READS = {"x": {"$output": "a.x"}}


def _retry(graphs: Graphs, job_id: str) -> dict[str, str]:
    """Retry an entry with what comes after it. Returns the new jobs by their names."""
    response = graphs.api.post(f"{JOBS}/{job_id}/retry", json={"from": "failed"})
    assert response.status_code == 201, response.text
    return {job["name"]: job["id"] for job in graphs.tree(response.get_json()["data"]["id"])["jobs"]}


def _forget(graphs: Graphs) -> int:
    """Delete what retention keeps no longer. Returns the number of jobs that are left."""
    for _ in range(3):
        with graphs.api.database.connect() as connection:
            OldJobs(retention_days=0.0).delete(connection, 100)
    [(count,)] = graphs.api.execute("SELECT count(*) FROM jobs")
    return int(count)


def _delete(graphs: Graphs, *job_ids: str) -> None:
    """Delete jobs as retention does while no unfinished job comes after them."""
    for job_id in job_ids:
        graphs.api.execute("DELETE FROM jobs WHERE id = %s", str(ids.decode("job", job_id)))


def test_a_bulk_retry_passes_over_entries_whose_inputs_were_never_resolved_and_names_one(graphs: Graphs) -> None:
    jobs = graphs.declare(a={}, b={"after": ["a"], "input": READS}, c={"after": ["b"]}, d={}, e={"after": ["d"]})
    for name in ("a", "d"):
        graphs.finish(jobs[name], error="ValueError: no")
    filter_ = {"tree_id": jobs["a"]}
    operation = graphs.api.post(f"{JOBS}/retry", json={"filter": filter_}).get_json()["data"]
    context = graphs.api.app.extensions["ava"]
    run_bulk_batches(BulkBatches(context.database, context.jobs, cast("Control", None)))
    operation = graphs.api.get(f"/v1/ava/operations/{operation['id']}").get_json()["data"]
    assert [operation[name] for name in ("state", "total", "done", "failed")] == ["done", 5, 4, 1]
    assert operation["reason"].startswith(f"{jobs['b']} never had an input")
    assert '{"from": "failed"}' in operation["reason"]
    retried = graphs.api.execute("SELECT retry_of::text FROM jobs WHERE retry_of IS NOT NULL")
    assert {ids.encode("job", uuid) for (uuid,) in retried} == set(jobs.values()) - {jobs["b"]}


def test_retention_keeps_an_output_until_the_retried_graph_has_read_it(graphs: Graphs) -> None:
    jobs = graphs.declare(a={}, b={}, c={"after": ["a", "b"], "input": READS})
    graphs.finish(jobs["a"], {"x": 7})
    graphs.finish(jobs["b"], error="ValueError: no")
    renewed = _retry(graphs, jobs["b"])
    # Of the first graph only what is read again is kept.
    assert _forget(graphs) == 1 + len(renewed)
    graphs.finish(renewed["b"])
    assert graphs.show(renewed["c"])["input"] == {"x": 7}
    graphs.finish(renewed["c"])
    assert _forget(graphs) == 0


def _failed_reader(graphs: Graphs) -> dict[str, str]:
    """Returns a graph whose `b` has read the output of `a` and failed. Both are past retention."""
    jobs = graphs.declare(a={}, b={"after": ["a"], "input": READS})
    graphs.finish(jobs["a"], {"x": 1})
    graphs.finish(jobs["b"], error="ValueError: no")
    return jobs


def test_retention_passes_over_an_output_that_a_retry_at_this_moment_reads(graphs: Graphs) -> None:
    jobs = _failed_reader(graphs)
    service = graphs.api.app.extensions["ava"].jobs
    caller = Caller(tenant_id="ten_test", user_id="usr_test", role=Role.TENANT_USER)
    with graphs.api.database.transaction() as connection:
        failed = service.show(caller, jobs["b"])
        new = job_retries.prepare(connection, caller, failed, service.rules)
        (made,) = service.creator.create_all(connection, new)
        _forget(graphs)
    graphs.wake()
    assert graphs.show(made.id)["input"] == {"x": 1}


def test_retention_keeps_an_output_of_a_graph_that_is_retried_after_its_scan(graphs: Graphs) -> None:
    jobs = _failed_reader(graphs)
    with graphs.api.database.connect() as connection:
        retention = old_jobs.job_retention(connection, default=0.0)
        looked = old_jobs.scan(connection, retention, after=old_jobs.FIRST_POSITION, limit=100)
        retried = _retry(graphs, jobs["b"])
        old_jobs.delete_lines(connection, looked, limit=100)
        old_jobs.delete(connection, looked)
    graphs.wake()
    assert graphs.show(retried["b"])["input"] == {"x": 1}


def test_a_retry_names_a_completed_job_that_is_not_kept_any_more(graphs: Graphs) -> None:
    jobs = graphs.declare(a={}, b={}, c={"after": ["a", "b"], "input": READS})
    graphs.finish(jobs["a"], {"x": 7})
    graphs.finish(jobs["b"], error="ValueError: no")
    _delete(graphs, jobs["a"])
    refused = graphs.api.post(f"{JOBS}/{jobs['b']}/retry", json={"from": "failed"})
    assert jobs["a"] in error_of(refused, 409, "resource_conflict")["message"]


def test_an_entry_whose_output_is_deleted_while_it_waits_fails_and_stops_no_other(graphs: Graphs) -> None:
    # Retention may have chosen a job a moment before the retry.
    jobs = graphs.declare(a={}, b={}, c={"after": ["a", "b"], "input": READS})
    others = graphs.declare(a={}, b={"after": ["a"], "when": "failed"}, c={"after": ["b"]})
    more = graphs.declare(a={}, b={"after": ["a"]})
    for graph in (jobs, others):
        graphs.finish(graph["a"], {"x": 7})
    graphs.finish(jobs["b"], error="ValueError: no")
    renewed, again = _retry(graphs, jobs["b"]), _retry(graphs, others["b"])
    _delete(graphs, jobs["a"], others["a"])
    graphs.finish(renewed["b"])
    assert graphs.show(renewed["c"])["error"] == "InputInvalid: the output of a is deleted"
    assert graphs.show(again["b"])["error"] == "ConditionUnmet: a predecessor is deleted"
    graphs.finish(more["a"])
    assert graphs.startable(more) == {"b"}


def test_an_input_that_the_schema_refuses_once_its_outputs_are_known_fails_the_job(graphs: Graphs) -> None:
    graphs.api.execute(
        """UPDATE workers SET input_schema = '{"properties": {"x": {"type": "integer"}}}', input_schema_version = 'v'
           WHERE id = 'wkr_open'"""
    )
    jobs = graphs.declare(a={}, b={"after": ["a"], "input": READS}, c={"after": ["b"]}, d={"after": ["a"]})
    graphs.finish(jobs["a"], {"x": "text"})
    record = graphs.show(jobs["b"])
    assert (record["status"], record["error"].partition(":")[0]) == ("failed", "InputInvalid")
    assert "x" in record["error"]
    assert "text" not in record["error"]
    assert graphs.show(jobs["c"])["error"] == "ConditionUnmet: b failed"
    assert graphs.startable(jobs) == {"d"}


def test_a_bulk_has_at_most_ten_thousand_names_in_after(api: Api) -> None:
    def bulk(followers: int) -> list[dict[str, Any]]:
        first = [{"worker_id": "wkr_open", "name": f"n{n}"} for n in range(100)]
        return [*first, *({"worker_id": "wkr_open", "after": [each["name"] for each in first]},) * followers]

    refused = error_of(api.post(BULK, json={"jobs": bulk(101)}), 422, "validation_error")
    assert "graph_edges" in refused["message"]
    assert api.post(BULK, json={"jobs": bulk(100)}).status_code == 201


def test_a_tree_has_at_most_ten_thousand_jobs_below_its_root(graphs: Graphs) -> None:
    root = graphs.api.trigger()["id"]
    _, claim_id = graphs.start(root)
    graphs.children(root, claim_id, "one")
    graphs.api.execute(
        """INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts,
               parent_id, tree_id)
           SELECT tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts, parent_id, tree_id
           FROM jobs CROSS JOIN generate_series(1, 9998) WHERE parent_id IS NOT NULL"""
    )
    graphs.children(root, claim_id, "last")
    with pytest.raises(ChildrenRefused, match="tree_jobs"):
        graphs.children(root, claim_id, "beyond")
    assert len(graphs.tree(root)["jobs"]) == 10_001


def test_runs_that_make_children_in_turns_keep_to_the_jobs_of_their_tree(
    graphs: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_creator, "TREE_JOBS", replace(TREE_JOBS, fixed=64))
    root = graphs.api.trigger()["id"]
    parents = graphs.children(root, graphs.start(root)[1], *(f"p{n}" for n in range(16)))
    makers = [graphs.maker(parent, graphs.start(parent)[1]) for parent in parents]
    for make in makers:
        make("first")
    for n in range(2):
        for make in makers:
            make(f"more{n}")
    with pytest.raises(ChildrenRefused, match="tree_jobs"):
        makers[0]("beyond")
    assert len(graphs.tree(root)["jobs"]) == 65


def test_a_run_makes_children_once_those_of_another_run_of_its_tree_are_there(graphs: Graphs) -> None:
    root = graphs.api.trigger()["id"]
    parents = graphs.children(root, graphs.start(root)[1], "a", "b")
    runs = [graphs.start(parent) for parent in parents]
    made: list[str] = []
    thread = threading.Thread(target=lambda: made.extend(graphs.children(parents[1], runs[1][1], "one")))
    with graphs.api.database.transaction() as connection:
        run, claim_id = runs[0]
        tree_uuid = edges.enter_tree(connection, run=run, claim_id=claim_id)
        assert tree_uuid is not None
        edges.read_tree_size(connection, run=run, tree_uuid=tree_uuid, max_depth=32, max_jobs=10)
        thread.start()
        graphs.api.wait_for_blocked()
        assert made == []
    thread.join(10)
    assert len(made) == 1


def test_a_tree_is_thirty_two_jobs_deep(graphs: Graphs) -> None:
    job_id = graphs.api.trigger()["id"]
    for _ in range(32):
        _, claim_id = graphs.start(job_id)
        (job_id,) = graphs.children(job_id, claim_id, "one")
    _, claim_id = graphs.start(job_id)
    with pytest.raises(ChildrenRefused, match="tree_depth"):
        graphs.children(job_id, claim_id, str(uuid4()))


def test_children_are_found_by_their_parent(graphs: Graphs) -> None:
    parent = graphs.api.trigger()["id"]
    run, claim_id = graphs.start(parent)
    one, two = graphs.children(parent, claim_id, "one", "two")
    _, child_claim = graphs.start(one)
    graphs.children(one, child_claim, "below")
    graphs.wait(run, claim_id, one, two)
    found = graphs.api.get(f"{JOBS}?filter[parent_id]={parent}").get_json()["data"]
    assert [job["id"] for job in found] == [two, one]
    found = graphs.api.get(f"{JOBS}?filter[parent_id]={parent}&filter[status]=running").get_json()["data"]
    assert [job["id"] for job in found] == [one]
    error_of(graphs.api.get(f"{JOBS}?filter[parent_id]=wkr_open"), 400, "validation_error")


def test_a_handler_waits_only_while_its_tenant_has_few_waiting_jobs(graphs: Graphs, api_settings: Settings) -> None:
    job = graphs.api.trigger()["id"]
    _, claim_id = graphs.start(job)
    with graphs.api.database.connect() as connection:
        found = lists.show(connection, tenant_id="ten_test", job_id=job)
    run = cast("Run", SimpleNamespace(job=found, claim_id=claim_id, stopped_for=None))

    def admit(max_waiting: int) -> None:
        creators = Creators(replace(api_settings, tenant_max_waiting=max_waiting))
        RunJournal(run, graphs.api.database, creators).admit_wait()

    graphs.declare(a={}, b={"after": ["a"]}, c={"after": ["a"]})
    with pytest.raises(ava.TooManyWaiting, match="waiting_jobs"):
        admit(2)
    admit(3)
    # 0 stands for any number.
    admit(0)


def test_a_worker_says_the_deadline_of_its_jobs_and_a_trigger_says_another(graphs: Graphs) -> None:
    def deadline(job: dict[str, Any], since: str = "created_at") -> float:
        timestamps = [datetime.fromisoformat(job[name]) for name in ("deadline_at", since)]
        return (timestamps[0] - timestamps[1]).total_seconds()

    api = graphs.api
    spec = WorkerSpec(
        id="wkr_slow", name="Slow", description="", timeout_seconds=300, max_retries=0, cancel_grace_seconds=10,
        queue="default", tenants=None, on_worker_lost=OnWorkerLost.REQUEUE, deadline_seconds=90,
    )  # fmt: skip
    with api.database.connect() as connection:
        workers.announce(connection, [spec])
    assert api.get("/v1/ava/workers/wkr_slow").get_json()["data"]["deadline_seconds"] == 90
    assert deadline(api.trigger("wkr_slow")) == pytest.approx(90, abs=0.01)
    assert deadline(api.trigger("wkr_slow", scheduled_at=LATER), "scheduled_at") == 90
    assert deadline(api.trigger("wkr_slow", deadline_seconds=30)) == pytest.approx(30, abs=0.01)
    parent = api.trigger()["id"]
    _, claim_id = graphs.start(parent)
    (child,) = graphs.children(parent, claim_id, "one", worker_id="wkr_slow")
    assert deadline(graphs.show(child)) == pytest.approx(90, abs=0.01)
    # A retry has the same seconds anew.
    job = api.trigger(deadline_seconds=45)["id"]
    graphs.finish(job)
    assert deadline(api.post(f"{JOBS}/{job}/retry").get_json()["data"]) == pytest.approx(45, abs=0.01)
    made = api.post("/v1/ava/workers", json={"slug": "pulled", "runtime": "pull", "deadline_seconds": 7})
    assert made.get_json()["data"]["deadline_seconds"] == 7
    changed = api.request("PATCH", "/v1/ava/workers/wkr_pulled", json={"deadline_seconds": None})
    assert changed.get_json()["data"]["deadline_seconds"] is None
