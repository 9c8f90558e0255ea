"""Random histories of jobs against PostgreSQL: no order of moves leads to an illegal history.

The model below has the result of each move. After every step all rows are compared with it: a move that is not in
`ava.domain.job.TRANSITIONS`, a final job that changes, a run that writes without its right, or a log that differs from
its record.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ava.domain.job import FINAL, TRANSITIONS, Job, JobSpec, LogLevel, LogLine, RunEnd, Status
from ava.domain.retry import MAX_LOSSES
from ava.domain.worker import OnWorkerLost, WorkerSpec
from ava.settings import Settings
from ava.store.engine.database import Connection, Database
from ava.store.fleet import nodes, workers
from ava.store.fleet.nodes import NodeSpec
from ava.store.jobs import client_moves, rescues, runs, turns
from ava.store.jobs.moves import park
from harness.new_jobs import make_jobs

TENANT = "ten_test"
DEAD_AFTER_SECONDS = 14.0
NODES = [str(uuid.UUID(int=n)) for n in (1, 2, 3)]
WORKERS = {
    "wkr_plain": (0, OnWorkerLost.REQUEUE),
    "wkr_retries": (2, OnWorkerLost.REQUEUE),
    "wkr_fails_when_lost": (1, OnWorkerLost.FAIL),
}
ENDS = st.sampled_from([Status.COMPLETED, Status.FAILED, Status.QUEUED, Status.CANCELLED])
CLOSED = ("Handler completed", "Handler failed", "Handler cancelled")


@dataclass(kw_only=True)
class Model:
    """The expected state of a job."""

    worker_id: str
    status: Status = Status.QUEUED
    run_no: int = 0
    attempt: int = 0
    losses: int = 0
    is_dated: bool = False
    is_cancel_asked: bool = False
    node: str | None = None
    #: How often a run of it was begun.
    begun: int = 0
    #: The row as it was when it became final.
    final_row: dict[str, Any] | None = None
    #: The states that it has gone through.
    history: list[Status] = field(default_factory=lambda: [Status.QUEUED])

    @property
    def max_attempts(self) -> int:
        return WORKERS[self.worker_id][0] + 1

    def move(self, status: Status) -> None:
        assert status in TRANSITIONS[self.status], f"{self.history} then {status}"
        self.status = status
        self.history.append(status)
        if status is Status.QUEUED:
            self.node = None

    def may_begin(self, run_no: int) -> bool:
        return self.status is Status.QUEUED and not self.is_dated and run_no == self.run_no + 1

    def begin(self, job: Job, node: str) -> None:
        self.move(Status.RUNNING)
        self.run_no, self.node = self.run_no + 1, node
        self.attempt += 1
        self.begun += 1
        assert (job.run_no, job.attempt, job.node_id) == (self.run_no, self.attempt, node)

    def holds(self, run_no: int) -> bool:
        return self.status is Status.RUNNING and self.run_no == run_no

    def lose(self, *, is_loss: bool) -> None:
        """Expect that its process is gone or returns it."""
        is_last = is_loss and (WORKERS[self.worker_id][1] is OnWorkerLost.FAIL or self.losses >= MAX_LOSSES)
        self.losses += is_loss
        if self.is_cancel_asked:
            self.move(Status.CANCELLED)
        elif is_last:
            self.move(Status.FAILED)
        else:
            self.attempt -= 1
            self.move(Status.QUEUED)


class Jobs(RuleBasedStateMachine):
    """Triggers, claims, ends, cancels, losses and restarts, in any order, also by processes without a claim."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self.models: dict[str, Model] = {}
        #: Every run that had a message, with its node: a message may come late, and twice.
        self.messages: list[tuple[str, int, str]] = []
        self.living = set(NODES)
        with self._connect() as connection:
            connection.exec_driver_sql("DELETE FROM job_logs")
            connection.exec_driver_sql("DELETE FROM jobs")
            for node in NODES:
                join(connection, node)

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self._database.connect() as connection:
            yield connection

    def pick(self, data: st.DataObject) -> tuple[str, Model]:
        return data.draw(st.sampled_from(sorted(self.models.items(), key=lambda item: item[0])), label="job")

    def pick_run(self, data: st.DataObject) -> tuple[str, int, str, Model]:
        job_id, run_no, node = data.draw(st.sampled_from(self.messages), label="run")
        return job_id, run_no, node, self.models[job_id]

    # Moves of clients ----------------------------------------------------------------------------------------------

    @rule(worker_id=st.sampled_from(sorted(WORKERS)), is_dated=st.booleans())
    def trigger(self, worker_id: str, is_dated: bool) -> None:
        moment = datetime(2100, 1, 1, tzinfo=UTC) if is_dated else None
        spec = JobSpec(worker_id=worker_id, scheduled_at=moment)
        with self._connect() as connection:
            (job,) = make_jobs(connection, [spec], tenant_id=TENANT)
        self.models[job.id] = Model(worker_id=worker_id, is_dated=is_dated)

    @precondition(lambda self: self.models)
    @rule(data=st.data(), is_ours=st.sampled_from([True, True, True, False]))
    def cancel(self, data: st.DataObject, is_ours: bool) -> None:
        job_id, model = self.pick(data)
        tenant = TENANT if is_ours else "ten_other"
        with self._connect() as connection:
            job = client_moves.cancel(connection, tenant_id=tenant, user_id="usr_test", job_id=job_id)
        assert (job is not None) == (is_ours and model.status not in FINAL)
        if job is not None:
            model.is_cancel_asked = True
            if model.status is Status.QUEUED:
                model.move(Status.CANCELLED)
            assert job.status is model.status

    # Moves of a node ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.models)
    @rule(data=st.data(), node=st.sampled_from(NODES), offset=st.sampled_from([0, 0, 0, 0, -1, 1]))
    def claim(self, data: st.DataObject, node: str, offset: int) -> None:
        job_id, model = self.pick(data)
        run_no = model.run_no + 1 + offset
        with self._connect() as connection:
            job = runs.claim(connection, _wanted(job_id, model, run_no, node))
        assert (job is not None) == model.may_begin(run_no)
        self.messages.append((job_id, run_no, node))
        if job is not None:
            model.begin(job, node)

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def log(self, data: st.DataObject) -> None:
        job_id, run_no, _, model = self.pick_run(data)
        with self._connect() as connection:
            is_stored = runs.append_lines(
                connection, job_id=job_id, run_no=run_no, lines=[line(run_no, 1, "said")], progress_json='{"n":1}'
            )
        assert is_stored == model.holds(run_no)

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), status=ENDS, is_followed=st.booleans())
    def end(self, data: st.DataObject, status: Status, is_followed: bool) -> None:
        job_id, run_no, node, model = self.pick_run(data)
        run_end = RunEnd(
            job_id=job_id,
            run_no=run_no,
            status=status,
            elapsed_ms=1,
            output_json='{"done":true}' if status is Status.COMPLETED else None,
            error="ValueError: no" if status is Status.FAILED else None,
            retry_in_seconds=1.0 if status is Status.QUEUED else None,
        )
        if status is Status.QUEUED and model.attempt >= model.max_attempts:
            return  # `ava.domain.retry.may_retry` prevents it.
        last_lines = [line(run_no, 1, "said"), line(run_no, 2, run_end.closing[1])]
        next_id, next_model = self.pick(data)
        wanted = _wanted(next_id, next_model, next_model.run_no + 1, node)
        # The job that ends has no next run yet.
        may_begin = is_followed and next_model.may_begin(wanted.run_no)
        begun = None
        with self._connect() as connection:
            if is_followed:
                status_now, begun = runs.end_and_claim(connection, run_end, last_lines, None, wanted)
                self.messages.append((next_id, wanted.run_no, node))
            else:
                status_now = runs.end(connection, run_end, last_lines)
        # Only the database decides that a run was cancelled, not the process.
        is_accepted = model.holds(run_no) and (model.is_cancel_asked or status is not Status.CANCELLED)
        assert status_now == ((Status.CANCELLED if model.is_cancel_asked else status) if is_accepted else None)
        if status_now is not None:
            model.move(status_now)
            model.is_dated = status_now is Status.QUEUED
        assert (begun is not None) == may_begin
        if begun is not None:
            next_model.begin(begun, node)

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), is_loss=st.booleans())
    def rescue(self, data: st.DataObject, is_loss: bool) -> None:
        job_id, run_no, node, model = self.pick_run(data)
        with self._connect() as connection:
            rescued = rescues.rescue(
                connection, job_id=job_id, run_no=run_no, node_id=node, msg="lost", error="WorkerLost: it died",
                is_loss=is_loss,
            )  # fmt: skip
        is_held = model.holds(run_no) and model.node == node
        assert (rescued is not None) == is_held
        if rescued is not None:
            model.lose(is_loss=is_loss)
            assert rescued.status == model.status

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        job_id, run_no, node, model = self.pick_run(data)
        with self._connect() as connection:
            status = rescues.end_killed_run(
                connection, job_id=job_id, run_no=run_no, node_id=node, error="Timeout: exceeded 1 s"
            )
        assert (status is not None) == (model.holds(run_no) and model.node == node)
        if status is not None:
            may_retry = model.attempt < model.max_attempts
            model.move(Status.CANCELLED if model.is_cancel_asked else Status.QUEUED if may_retry else Status.FAILED)
            model.is_dated = model.status is Status.QUEUED
            assert status is model.status

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def invalidate(self, data: st.DataObject) -> None:
        job_id, run_no, _, model = self.pick_run(data)
        with self._connect() as connection:
            is_invalidated = rescues.invalidate_unclaimed(connection, job_id=job_id, run_no=run_no)
        assert is_invalidated == (model.status is Status.QUEUED and run_no == model.run_no + 1)
        model.run_no += is_invalidated

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def defer(self, data: st.DataObject) -> None:
        job_id, model = self.pick(data)
        wanted: Any = {"job_id": job_id, "run_no": model.run_no + 1, "worker_id": model.worker_id}
        with self._connect() as connection:
            before = runs.show(connection, job_id)
            is_deferred = park.park_unclaimed(connection, **wanted, lacks_handler=True, dead_after_seconds=14.0)
        assert is_deferred == (model.status is Status.QUEUED and not model.is_dated)
        model.is_dated |= is_deferred
        model.run_no += is_deferred and before is not None and before.published_at is not None

    # Moves by time and the dispatcher ------------------------------------------------------------------------------

    @rule(node=st.sampled_from(NODES))
    def die(self, node: str) -> None:
        with self._connect() as connection:
            connection.exec_driver_sql(
                "UPDATE nodes SET seen_at = now() - interval '1 hour' WHERE id = %(id)s::uuid", {"id": node}
            )
        self.living.discard(node)

    @rule(node=st.sampled_from(NODES))
    def come_back(self, node: str) -> None:
        with self._connect() as connection:
            assert nodes.heartbeat(connection, node, busy=0, quiet_seconds=0)
        self.living.add(node)

    @rule(node=st.sampled_from(NODES))
    def leave(self, node: str) -> None:
        with self._connect() as connection:
            nodes.deregister(connection, node)
        self.living.discard(node)

    @rule()
    def rescue_from_dead_nodes(self) -> None:
        with self._connect() as connection:
            silent = {id_: at for id_, at in nodes.read_heartbeats(connection).items() if id_ not in self.living}
            rescued = rescues.rescue_from_dead_nodes(
                connection, silent=silent, msg="lost", error="WorkerLost: gone", limit=100
            )
        held = {
            job_id
            for job_id, model in self.models.items()
            if model.status is Status.RUNNING and model.node not in self.living
        }
        assert {job.id for job in rescued} == held
        for job_id in held:
            self.models[job_id].lose(is_loss=True)

    @rule()
    def feed(self) -> None:
        with self._connect() as connection:
            connection.exec_driver_sql("UPDATE jobs SET waits_for = 'date', run_at = now() WHERE waits_for IS NOT NULL")
            park.make_due(connection, limit=1000)
            found = turns.heads(connection, queue="default", priority=5, tenants=[TENANT], each=1000)
            for published in turns.publish_chosen(connection, found.get(TENANT, [])):
                assert published.status is Status.QUEUED
                self.messages.append((published.id, published.run_no + 1, NODES[0]))
        for model in self.models.values():
            model.is_dated &= model.status is not Status.QUEUED

    # Invariants ----------------------------------------------------------------------------------------------------

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        with self._connect() as connection:
            found = [dict(row) for row in connection.exec_driver_sql(_ROWS).mappings()]
            logs: dict[str, list[str]] = {}
            for job_id, msg in connection.exec_driver_sql("SELECT job_id::text, msg FROM job_logs ORDER BY seq"):
                logs.setdefault(job_id, []).append(msg)
        assert len(found) == len(self.models)
        for row, (_, model) in zip(found, sorted(self.models.items()), strict=True):
            expected = (model.status, model.run_no, model.attempt, model.losses, model.node)
            node = row["node_id"] if model.status is Status.RUNNING else None
            model_node = model.node if model.status is Status.RUNNING else None
            actual = (row["status"], row["run_no"], row["attempt"], row["losses"], node)
            assert actual == (*expected[:4], model_node), f"{model.history}"
            self._look_at_log(model, logs.get(row["id"], []))
            if model.status in FINAL:
                model.final_row = model.final_row or row
                assert row == model.final_row, "a final job never changes"

    def _look_at_log(self, model: Model, messages: list[str]) -> None:
        assert messages.count("Worker handler started") == model.begun
        if model.status in FINAL and model.begun and not self._was_cancelled_in_queue(model):
            assert messages[-1].startswith(f"Handler {model.status}"), messages
        assert sum(message.startswith(CLOSED) for message in messages) <= model.begun

    @staticmethod
    def _was_cancelled_in_queue(model: Model) -> bool:
        return model.history[-2:] == [Status.QUEUED, Status.CANCELLED]


_ROWS = """
SELECT id::text, status, run_no, attempt, losses, node_id::text, started_at, completed_at, output::text, error,
       cancel_requested_at, cancelled_by, progress::text
FROM jobs ORDER BY id
"""


def _wanted(job_id: str, model: Model, run_no: int, node: str) -> runs.Claim:
    return runs.Claim(job_id=job_id, run_no=run_no, worker_id=model.worker_id, node_id=node)


def line(run_no: int, number: int, text: str) -> LogLine:
    return LogLine(seq=run_no * runs.SEQ_PER_RUN + number, ts=datetime.now(UTC), level=LogLevel.INFO, msg=text)


def join(connection: Connection, node_id: str) -> None:
    nodes.register(
        connection,
        NodeSpec(
            id=node_id, name=f"node@{node_id}", host="here", pid=1, version="1", queues=["default"],
            workers=sorted(WORKERS), processes=2,
        ),
    )  # fmt: skip
    nodes.heartbeat(connection, node_id, busy=0, quiet_seconds=0)


def announce(connection: Connection) -> None:
    specs = [
        WorkerSpec(
            id=worker_id, name=worker_id, description="", timeout_seconds=10, max_retries=max_retries,
            cancel_grace_seconds=1, queue="default", tenants=None, on_worker_lost=on_worker_lost,
        )
        for worker_id, (max_retries, on_worker_lost) in WORKERS.items()
    ]  # fmt: skip
    workers.announce(connection, specs)


def test_every_history_of_jobs_is_legal(database_settings: Settings) -> None:
    database = Database.of(database_settings, name="tests")
    with database.connect() as connection:
        announce(connection)
    try:
        run_state_machine_as_test(
            lambda: Jobs(database),
            settings=settings(
                max_examples=int(os.environ.get("AVA_TEST_HISTORIES", "25")),
                stateful_step_count=40,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        database.close()
