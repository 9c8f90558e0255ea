"""Nodes while responses of commits are lost: what they repeat has one effect."""

from __future__ import annotations

import uuid
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import cast

import pytest

from ava.broker.refused_queues import Refusals
from ava.broker.untrusted_messages import DROPPED
from ava.domain import ids
from ava.domain.jobs.job import Job, RunKey
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.waits import EntryState, JournalKind, NewEntry
from ava.domain.limits.rates import Rate
from ava.errors import DatabaseUnavailable
from ava.node.child.companion import Companion
from ava.node.child.run_steps import RunSteps
from ava.node.intake import Intake
from ava.node.parent.node_row import NodeRow
from ava.node.runs.run_writer import RunWriter
from ava.store.fleet import nodes
from ava.store.fleet.nodes import NodeSpec
from ava.store.jobs.reads import lists
from chaos.faults.lost_commits import ELSEWHERE, NODES
from harness.api import Api
from tests import limited
from tests.backlog import NODE, WORKER
from tests.graphs import Graphs
from tests.limited import LIMITED
from tests.lost_commits import Bench, Scenario, Scenarios, name_of
from tests.pulled import OPERATOR
from tests.runs import ended

_SCENARIOS = Scenarios()
_SPEC = NodeSpec(
    id=NODE, name="n", host="h", pid=1, version="1", queues=["default"], workers=[WORKER], processes=4
)  # fmt: skip


@_SCENARIOS.cuts("fleet.nodes.pause", "fleet.nodes.resume", "fleet.nodes.write_queues")
def _node_that_is_paused(bench: Bench) -> None:
    intake = Intake()
    row = NodeRow(_SPEC, [], Refusals(), intake)

    def heartbeat() -> None:
        with bench.database.connect() as connection:
            row.heartbeat(connection, busy=0, free_seconds=0, every_seconds=0)

    bench.repeat(heartbeat)
    node_id = bench.api.get("/v1/ava/nodes", headers=OPERATOR).get_json()["data"][0]["id"]
    for verb, queues in (("pause", []), ("resume", ["default"])):
        assert bench.call("POST", f"/v1/ava/nodes/{node_id}/{verb}", headers=OPERATOR)[-1] == 200
        bench.repeat(heartbeat)
        assert intake.is_open == bool(queues)
        # The consumer follows within a second.
        intake.is_consuming = intake.is_open
        bench.repeat(heartbeat)
        assert bench.only("SELECT queues FROM nodes") == queues
    assert bench.api.execute("SELECT paused_at, paused_by FROM nodes") == [(None, None)]


def test_queues_that_could_not_be_written_are_written_with_the_next_heartbeat(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DatabaseUnavailable

    intake = Intake()
    row = NodeRow(_SPEC, [], Refusals(), intake)
    heartbeat = partial(row.heartbeat, busy=0, free_seconds=0, every_seconds=0)
    with api.database.connect() as connection:
        heartbeat(connection)
        intake.is_consuming = False
        with monkeypatch.context() as patched:
            patched.setattr(nodes, "write_queues", fail)
            with pytest.raises(DatabaseUnavailable):
                heartbeat(connection)
        heartbeat(connection)
    assert api.execute("SELECT queues FROM nodes") == [([],)]


@_SCENARIOS.cuts("fleet.nodes.heartbeat_if_silent")
def _node_whose_parent_is_frozen(bench: Bench) -> None:
    bench.stored.join()
    bench.stored.run("UPDATE nodes SET seen_at = now() - interval '1 hour', busy = 0")
    steps = SimpleNamespace(writer=SimpleNamespace(database=bench.database))
    companion = Companion(bench.settings, NODE, cast("RunSteps", steps))
    bench.closing.callback(companion.mailbox.close)
    bench.repeat(companion._heartbeat_for_frozen_parent)
    assert bench.api.execute("SELECT busy, now() - seen_at < interval '1 min' FROM nodes") == [(4, True)]


def _writer(bench: Bench) -> RunWriter:
    writer = RunWriter(bench.database, NODE)
    bench.closing.callback(writer.close)
    return writer


@_SCENARIOS.cuts("jobs.transitions.park.park_unclaimed")
def _message_of_a_job_that_this_node_cannot_run(bench: Bench) -> None:
    paused, foreign = bench.stored.insert(2, is_published=True)
    bench.api.set_status(WORKER, "paused")
    writer = _writer(bench)
    assert writer.claim_or_park(RunKey(*paused.key, 1), WORKER, str(uuid.uuid4())) is None
    assert DROPPED.take_reasons() == []
    bench.api.set_status(WORKER, "active")
    writer.defer(RunKey(*foreign.key, 1), WORKER, dead_after_seconds=14)
    bench.settle()
    assert bench.stored.run("SELECT waits_for, run_no FROM jobs ORDER BY id") == [("worker", 1), ("node", 1)]


@_SCENARIOS.cuts("jobs.transitions.permits.defer_rate")
def _run_that_defers_its_rate(bench: Bench) -> None:
    stored = bench.stored
    stored.join(handlers=[LIMITED])
    limited.limit(stored, rate=Rate(jobs=1000, seconds=1.0))
    limited.insert(stored, 2)
    while stored.count("waits_for IS NULL") < 2:
        limited.feed(stored).run_once(0)
    claim_id = str(uuid.uuid4())
    first = _claimed(bench, claim_id)
    with bench.api.database.connect() as connection:
        how = ended(
            connection, first.run, Ending.DEFERRED, [limited.line(first)], claim_id=claim_id, delay_seconds=600.0,
            is_rate_limited=True,
        )  # fmt: skip
    _writer(bench).end(how)
    bench.settle()
    assert stored.run("SELECT waits_for FROM jobs ORDER BY id") == [("deferred",), ("permit",)]
    due = "next_at - clock_timestamp() BETWEEN interval '590 s' AND interval '600 s'"
    assert bench.only(f"SELECT {due} FROM rate_states")


def _claimed(bench: Bench, claim_id: str) -> Job:
    ((tenant_id, job_id),) = bench.api.execute("SELECT tenant_id, id::text FROM jobs ORDER BY id LIMIT 1")
    with bench.api.database.connect() as connection:
        job = lists.show(connection, tenant_id=tenant_id, job_id=ids.encode("job", job_id))
    assert job is not None
    claimed = bench.stored.claim(job, run_no=job.run_no + 1, claim_id=claim_id)
    assert claimed is not None
    return claimed


@_SCENARIOS.cuts("jobs.journal.carry")
def _journal_of_the_next_attempt(bench: Bench) -> None:
    graphs = Graphs(bench.api, bench.settings)
    run, claim_id = graphs.start(bench.api.trigger()["id"])
    paid = NewEntry(kind=JournalKind.STEP, name="pay", state=EntryState.DONE, value_json="7")
    missed = NewEntry(kind=JournalKind.STEP, name="ship", state=EntryState.TIMED_OUT, value_json="null")
    graphs.journal(run, claim_id, paid, missed)
    with bench.api.database.connect() as connection:
        job = lists.show(connection, tenant_id=run.tenant_id, job_id=run.job_id)
    assert job is not None
    loaded = _writer(bench).load_journal(replace(job, attempt=2), claim_id)
    bench.settle()
    assert loaded is not None
    assert [(entry.name, entry.value_json) for entry in loaded.entries] == [("pay", "7")]
    assert bench.api.execute("SELECT name, attempt FROM job_journal") == [("pay", 2)]


@pytest.mark.parametrize("scenario", _SCENARIOS, ids=name_of)
def test_repeated_work_has_one_effect(bench: Bench, scenario: Scenario) -> None:
    _SCENARIOS.run(scenario, bench)


def test_every_statement_has_a_scenario() -> None:
    assert set().union(*_SCENARIOS.values()) == {name for name, reason in ELSEWHERE.items() if reason is NODES}
