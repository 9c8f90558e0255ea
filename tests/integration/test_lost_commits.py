"""Commits whose responses are lost: the next try finds what the first one has written, also if that commits late."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from ava.dispatcher.duties.retention import OldJobs
from ava.domain.jobs.job import Job, JobSpec, RunKey, Status
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.waits import NewChild, Wait, WaitCondition
from ava.errors import DatabaseUnavailable
from ava.node.runs.run_journal import Creators, RunJournal
from ava.node.runs.run_writer import RunWriter
from ava.settings import Settings
from ava.store.engine.database import Connection, Database
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions import cancel, claim, rescue
from ava.store.jobs.transitions.ended_runs import EndedRun
from harness.commit_cuts import CommitCuts
from harness.new_jobs import make_jobs
from harness.polling import wait_until
from tests.graphs import JOBS, Graphs
from tests.integration.model.run_driver import run_line
from tests.runs import ended

if TYPE_CHECKING:
    from ava.node.runs.run import Run

NODE = str(uuid.uuid4())
TENANT, WORKER = "ten_test", "wkr_brief"


@pytest.fixture
def writer(cuts: CommitCuts) -> Iterator[RunWriter]:
    """The writer of a process that reaches the database through the proxy."""
    database = Database(cuts.url, name="tests")
    writer = RunWriter(database, NODE)
    yield writer
    writer.close()
    database.close()


def _trigger(connection: Connection, count: int = 1) -> list[RunKey]:
    jobs = make_jobs(connection, [JobSpec(worker_id=WORKER)] * count, tenant_id=TENANT)
    return [RunKey(*job.key, 1) for job in jobs]


def _running(connection: Connection, run: RunKey, claim_id: str) -> Job:
    wanted = claim.Claim(run=run, worker_id=WORKER, node_id=NODE, claim_id=claim_id)
    job = claim.claim(connection, wanted)
    assert job is not None
    return job


def _end(connection: Connection, run: RunKey, claim_id: str, ending: Ending, **fields: object) -> EndedRun:
    return ended(connection, run, ending, [run_line(run.run_no, 1, "over")], claim_id=claim_id, **fields)


def _status(connection: Connection, run: RunKey) -> tuple[Status, int]:
    job = lists.show(connection, tenant_id=TENANT, job_id=run.job_id)
    assert job is not None
    return job.status, job.run_no


def _was_cut(cuts: CommitCuts, *names: str) -> bool:
    return any(set(names) <= set(kind) for kind in cuts.cut)


def test_a_claim(cuts: CommitCuts, connection: Connection, writer: RunWriter) -> None:
    (run,) = _trigger(connection)
    job = writer.claim(run, WORKER, str(uuid.uuid4()))
    assert _was_cut(cuts, "jobs.transitions.claim.claim")
    assert job is not None
    assert job.run == run


def test_a_claim_of_several_runs(cuts: CommitCuts, connection: Connection, writer: RunWriter) -> None:
    runs = _trigger(connection, 10)
    jobs = writer.claim_together(runs, WORKER, str(uuid.uuid4()))
    assert _was_cut(cuts, "jobs.transitions.claim.claim_together")
    assert sorted(job.run for job in jobs) == sorted(runs)


def test_an_end(cuts: CommitCuts, connection: Connection, writer: RunWriter) -> None:
    (run,) = _trigger(connection)
    _running(connection, run, claim_id := str(uuid.uuid4()))
    assert writer.end(_end(connection, run, claim_id, Ending.COMPLETED)) == (Status.COMPLETED, None, False)
    assert _was_cut(cuts, "jobs.transitions.end.end")


def test_an_end_of_a_run_that_was_asked_to_stop(cuts: CommitCuts, connection: Connection, writer: RunWriter) -> None:
    (run,) = _trigger(connection)
    _running(connection, run, claim_id := str(uuid.uuid4()))
    how = _end(connection, run, claim_id, Ending.COMPLETED)
    cancel.cancel(connection, tenant_id=TENANT, user_id="usr_a", job_id=run.job_id)
    assert writer.end(how) == (Status.CANCELLED, None, False)
    assert _was_cut(cuts, "jobs.transitions.end.end_stopped")
    assert _status(connection, run) == (Status.CANCELLED, 1)


def test_an_end_that_claims_the_next_run(cuts: CommitCuts, connection: Connection, writer: RunWriter) -> None:
    run, following = _trigger(connection, 2)
    _running(connection, run, claim_id := str(uuid.uuid4()))
    message = SimpleNamespace(runs=(following,), worker_id=WORKER)
    how = _end(connection, run, claim_id, Ending.COMPLETED)
    status, job, _ = writer.end(how, (message, str(uuid.uuid4())))  # type: ignore[arg-type]
    assert _was_cut(cuts, "jobs.transitions.end.end_and_claim")
    assert status is Status.COMPLETED
    assert job is not None
    assert job.run == following


def test_an_end_that_checks_the_next_run(cuts: CommitCuts, connection: Connection, writer: RunWriter) -> None:
    *jobs, following = writer.claim_together(_trigger(connection, 3), WORKER, claim_id := str(uuid.uuid4()))
    how = [_end(connection, job.run, claim_id, Ending.COMPLETED) for job in jobs]
    found = writer.end_and_check(how, following, claim_id, outranked_by=claim.NO_PRIORITY)
    assert _was_cut(cuts, "jobs.transitions.end.end_and_check")
    assert found == ({job.key: Status.COMPLETED for job in jobs}, claim.NOTHING)


def test_ends_of_several_runs(cuts: CommitCuts, connection: Connection, writer: RunWriter) -> None:
    runs = _trigger(connection, 3)
    claim_ids = [str(uuid.uuid4()) for _ in runs]
    for run, claim_id in zip(runs, claim_ids, strict=True):
        _running(connection, run, claim_id)
    how = [
        _end(connection, run, claim_id, Ending.COMPLETED, began_at=None)
        for run, claim_id in zip(runs, claim_ids, strict=True)
    ]
    assert set(writer.end_together(how).values()) == {Status.COMPLETED}
    assert _was_cut(cuts, "jobs.transitions.end.end_together")


@pytest.mark.parametrize("ending", [Ending.RETRIED, Ending.DEFERRED])
def test_an_end_that_returns_the_job_to_the_queue(
    cuts: CommitCuts, connection: Connection, writer: RunWriter, ending: Ending
) -> None:
    (run,) = _trigger(connection)
    _running(connection, run, claim_id := str(uuid.uuid4()))
    assert writer.end(_end(connection, run, claim_id, ending, delay_seconds=60.0))[0] is Status.QUEUED
    assert _was_cut(cuts, "jobs.transitions.end.requeue")
    assert _status(connection, run) == (Status.QUEUED, 1)


def test_a_wait(cuts: CommitCuts, connection: Connection, writer: RunWriter) -> None:
    (run,) = _trigger(connection)
    _running(connection, run, claim_id := str(uuid.uuid4()))
    waits = Wait(condition=WaitCondition.TIME, timeout_seconds=60.0)
    assert writer.end(_end(connection, run, claim_id, Ending.WAITED, wait=waits))[0] is Status.QUEUED
    assert _was_cut(cuts, "jobs.transitions.end.requeue", "jobs.transitions.wait.begin_wait")
    ((count,),) = connection.exec_driver_sql("SELECT count(*) FROM job_waits").all()
    assert count == 1


def test_runs_that_are_returned_unbegun(cuts: CommitCuts, connection: Connection) -> None:
    """Several statements on a connection without a transaction: its loss is an outage, as of any other."""
    (run,) = _trigger(connection)
    _running(connection, run, claim_id := str(uuid.uuid4()))
    database = Database(cuts.url, name="tests")
    while not _was_cut(cuts, "jobs.transitions.end.requeue"):
        with suppress(DatabaseUnavailable), database.connect() as cut:
            rescue.release(cut, [(run, claim_id)])
    database.close()
    wait_until(lambda: _status(connection, run) == (Status.QUEUED, 1), what="the run is returned")


def test_children_are_created_once(cuts: CommitCuts, graphs: Graphs, api_settings: Settings) -> None:
    parent = graphs.api.trigger()["id"]
    _, claim_id = graphs.start(parent)
    with graphs.api.database.connect() as connection:
        job = lists.show(connection, tenant_id=TENANT, job_id=parent)
    run = cast("Run", SimpleNamespace(job=job, claim_id=claim_id, stopped_for=None))
    database = Database(cuts.url, name="tests")
    new = [NewChild(name=name, worker_id="wkr_open", input_json="{}", is_detached=False) for name in ("one", "two")]
    states = RunJournal(run, database, Creators(api_settings)).make_children(new)
    database.close()
    assert _was_cut(cuts, "jobs.transitions.edges.enter_tree")
    assert {job["id"] for job in graphs.tree(parent)["jobs"]} == {parent, *(state.id for state in states)}


_PAUSE = """
CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN old; END $$;
CREATE TRIGGER pause BEFORE DELETE ON jobs FOR EACH ROW WHEN (old.tree_id IS NULL) EXECUTE FUNCTION pause();
"""


def test_retention_keeps_an_output_of_a_graph_that_is_retried_while_it_deletes(graphs: Graphs) -> None:
    """The delete of an older job pauses, as a slow one does, after the statement has its snapshot."""
    graphs.finish(graphs.api.trigger()["id"])
    jobs = graphs.declare(a={}, b={"after": ["a"], "input": {"x": {"$output": "a.x"}}})
    graphs.finish(jobs["a"], {"x": 1})
    graphs.finish(jobs["b"], error="ValueError: no")
    graphs.api.execute(_PAUSE)
    deleting = threading.Thread(target=_in_own_session(graphs, lambda c: OldJobs(retention_days=0.0).delete(c, 100)))
    responses = []
    retrying = threading.Thread(
        target=lambda: responses.append(graphs.api.post(f"{JOBS}/{jobs['b']}/retry", json={"from": "failed"}))
    )
    with graphs.api.database.transaction() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(42)")
        deleting.start()
        graphs.api.wait_for_blocked()
        retrying.start()
        # It has its response, or waits for the deletion.
        retrying.join(1.0)
    deleting.join(10)
    retrying.join(10)
    (response,) = responses
    graphs.wake()
    if response.status_code == 201:
        assert graphs.show(response.get_json()["data"]["id"])["input"] == {"x": 1}
    else:
        assert (response.status_code, jobs["a"] in response.text) in ((409, True), (404, False))


def _in_own_session(graphs: Graphs, act: Callable[[Connection], object]) -> Callable[[], None]:
    def run() -> None:
        with graphs.api.database.connect() as connection:
            act(connection)

    return run
