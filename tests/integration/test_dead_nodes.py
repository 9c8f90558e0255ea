"""Which nodes count as dead, and what becomes of their runs: the watch and the rescue against a real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ava.dispatcher.duties.lost_runs import Heartbeats, rescue_from_dead_nodes, watch_heartbeats
from ava.domain import ids
from ava.domain.jobs.job import RunKey
from ava.node.runs.run import Run
from ava.node.runs.run_writer import RunWriter
from ava.store.engine.database import Connection, Database
from ava.store.engine.transactions import one_transaction
from ava.store.fleet import nodes
from ava.store.jobs.transitions import claim, log_lines, rescue
from tests.backlog import NODE, WORKER, Backlog
from tests.lock_waits import await_lock_waits

OTHER_NODE = "01890000-0000-7000-8000-000000000002"


class _Judge:
    """The watch and the rescue of one dispatcher, on a clock of the test."""

    def __init__(self, backlog: Backlog) -> None:
        self.now = 1000.0
        self.rescued = 0
        self._backlog = backlog
        self._heartbeats = Heartbeats[str]()

    def judge(self, seconds: float, *, living: Sequence[str] = ()) -> int:
        """Watch and rescue twice a second for so long; each second `living` nodes send a heartbeat."""
        before, end = self.rescued, self.now + seconds
        while self.now < end:
            if self.now % 1 == 0:
                for node_id in living:
                    self._backlog.join(node_id)
            watch_heartbeats(self._backlog.database, self._heartbeats, self.now)
            self.rescued += rescue_from_dead_nodes(
                self._backlog.database, self._heartbeats, self.now, node_dead_seconds=14
            )
            self.now += 0.5
        return self.rescued - before


def _lines(stored: Backlog) -> list[tuple[int, list[str]]]:
    found = stored.run("SELECT seq, msgs FROM job_logs ORDER BY job_id, seq")
    return [(seq % log_lines.SEQ_PER_RUN, msgs) for seq, msgs in found]


def test_a_run_that_dies_with_its_node_has_one_opening_line(stored: Backlog) -> None:
    stored.join()
    alone, *together = stored.insert(3)
    assert stored.claim(alone)
    with stored.database.connect() as connection:
        runs = [RunKey(job.tenant_id, job.id, 1) for job in together]
        claimed = claim.claim_together(connection, runs, worker_id=WORKER, node_id=NODE, claim_id=str(uuid.uuid4()))
    assert len(claimed) == 2
    assert _lines(stored) == [(0, [log_lines.OPENING])], "a claim of several runs stores none"
    assert _Judge(stored).judge(15) == 3
    lost = (log_lines.SEQ_OF_OTHERS, ["Handler lost: its node is dead"])
    assert _lines(stored) == [(0, [log_lines.OPENING]), lost] * 3


def _lose_with_its_node(stored: Backlog) -> None:
    [(id_, run_no)] = stored.run("SELECT id::text, run_no FROM jobs")
    stored.run(
        "UPDATE jobs SET status = 'running', waits_for = NULL, run_no = run_no + 1, attempt = attempt + 1,"
        " started_at = now(), node_id = gen_random_uuid(), claim_id = gen_random_uuid(), published_at = now()"
    )
    with stored.database.connect() as connection:
        [job] = rescue.rescue_from_dead_nodes(connection, silent={}, msg="lost", error="WorkerLost: died", limit=10)
    assert stored.run("SELECT run_no FROM jobs") == [(run_no + 1,)], id_
    assert job.id == ids.encode("job", id_)


def test_a_job_outlives_ten_deaths_of_its_node_beside_two_of_its_process(stored: Backlog) -> None:
    stored.insert(1)
    # It has lost its own process as often as it may.
    stored.run("UPDATE jobs SET losses = 2")
    for count in range(1, 11):
        _lose_with_its_node(stored)
        assert stored.run("SELECT status, losses, node_losses FROM jobs") == [("queued", 2 + count, count)]
    _lose_with_its_node(stored)
    assert stored.run("SELECT status, error FROM jobs") == [("failed", "WorkerLost: died")]


@pytest.mark.parametrize("seconds", [-3600, -60, 60, 3600])
def test_a_jump_of_postgresqls_clock_kills_no_living_node_and_hides_no_dead_one(
    stored: Backlog, seconds: float
) -> None:
    stored.join(NODE)
    stored.join(OTHER_NODE)
    job, other = stored.insert(2)
    assert stored.claim(job)
    assert stored.claim(other, node_id=OTHER_NODE)
    judge = _Judge(stored)
    judge.judge(10, living=[NODE, OTHER_NODE])
    # A clock that jumps ahead makes all earlier moments older by as much.
    stored.run("UPDATE nodes SET seen_at = seen_at - %(s)s * interval '1 second'", s=seconds)
    assert judge.judge(14, living=[NODE]) == 0
    assert judge.judge(1, living=[NODE]) == 1
    assert judge.judge(30, living=[NODE]) == 0
    assert stored.run("SELECT node_id::text FROM jobs WHERE status = 'running'") == [(NODE,)]


def test_a_heartbeat_that_comes_just_before_the_rescue_saves_its_node(stored: Backlog) -> None:
    stored.join()
    [job] = stored.insert(1)
    assert stored.claim(job)
    with stored.database.connect() as connection:
        silent = nodes.read_heartbeats(connection)
        stored.join()
        assert rescue.rescue_from_dead_nodes(connection, silent=silent, msg="m", error="e: e", limit=10) == {}


def _confirm_in_a_process(stored: Backlog, run: RunKey) -> bool:
    writer = RunWriter(stored.database, NODE)
    with closing(writer):
        return writer.owns_job(cast("Run", SimpleNamespace(job=SimpleNamespace(run=run), claim_id=None)))


def _confirm_in_a_slot_process(stored: Backlog, run: RunKey) -> bool:
    with stored.database.connect() as connection:
        return not nodes.confirm_runs(connection, NODE, [run]).over


_CONFIRM = pytest.mark.parametrize("confirm", [_confirm_in_a_process, _confirm_in_a_slot_process])


def _freeze(stored: Backlog) -> tuple[RunKey, dict[str, datetime]]:
    """Return a run of a node that has been silent for a minute, and the heartbeats."""
    stored.join()
    [job] = stored.insert(1)
    assert stored.claim(job)
    stored.run("UPDATE nodes SET seen_at = now() - interval '1 minute'")
    with stored.database.connect() as connection:
        return RunKey(*job.key, 1), nodes.read_heartbeats(connection)


def _rescue(connection: Connection, silent: dict[str, datetime]) -> int:
    return len(rescue.rescue_from_dead_nodes(connection, silent=silent, msg="m", error="e: e", limit=10))


@_CONFIRM
def test_a_run_that_continues_after_a_freeze_is_not_rescued_any_more(
    stored: Backlog, confirm: Callable[[Backlog, RunKey], bool]
) -> None:
    run, silent = _freeze(stored)
    assert confirm(stored, run)
    with stored.database.connect() as connection:
        assert _rescue(connection, silent) == 0
        stored.run("UPDATE nodes SET stopped_at = now()")
        assert _rescue(connection, silent) == 1
    assert not confirm(stored, run)


@_CONFIRM
def test_a_rescue_leaves_a_run_that_was_confirmed_before_the_rescue_locked_it(
    stored: Backlog, monkeypatch: pytest.MonkeyPatch, confirm: Callable[[Backlog, RunKey], bool]
) -> None:
    run, silent = _freeze(stored)
    confirmed = []

    def find_then_lock(connection: Connection, parameters: Any) -> list[tuple[str, str]]:
        """Let the process ask between the rescue's snapshot and its lock."""
        confirmed.append(confirm(stored, run))
        return stored.run("SELECT tenant_id, id::text FROM jobs")

    monkeypatch.setattr(rescue, "_LOCK_OF_DEAD_NODES", SimpleNamespace(run=find_then_lock))
    with stored.database.connect() as connection:
        assert _rescue(connection, silent) == 0
    assert confirmed == [True]
    assert stored.count("status = 'running'") == 1


@_CONFIRM
def test_a_process_that_continues_after_a_freeze_waits_for_a_rescue_under_way(
    stored: Backlog, confirm: Callable[[Backlog, RunKey], bool]
) -> None:
    run, silent = _freeze(stored)
    with stored.database.connect() as connection, ThreadPoolExecutor(1) as thread:
        with one_transaction(connection):
            assert _rescue(connection, silent) == 1
            confirmed = thread.submit(confirm, stored, run)
            await_lock_waits(stored.database)
        assert confirmed.result() is False


def test_a_job_that_was_lost_too_often_fails_with_its_reason(stored: Backlog) -> None:
    stored.join()
    [job] = stored.insert(1)
    judge = _Judge(stored)
    stored.run("UPDATE jobs SET losses = 9, node_losses = 9")
    for run_no in (1, 2):
        stored.join()
        assert stored.claim(job, run_no=run_no)
        assert judge.judge(15) == 1
    assert stored.run("SELECT status, error FROM jobs") == [("failed", "WorkerLost: the worker node died")]


@pytest.mark.parametrize("is_shutdown", [False, True])
def test_runs_of_an_ended_process_wait_again_and_are_lost_only_if_their_worker_fails_lost_runs(
    stored: Backlog, is_shutdown: bool
) -> None:
    stored.announce("wkr_once")
    stored.run("UPDATE workers SET on_worker_lost = 'fail' WHERE id = 'wkr_once'")
    [once], others = stored.insert(worker_id="wkr_once"), stored.insert(3)
    assert all(stored.claim(job) for job in (once, *others[:2]))
    assert stored.claim(others[2], node_id=OTHER_NODE)
    counts = []
    while not counts or counts[-1]:
        with stored.database.connect() as connection:
            counts.append(
                rescue.interrupt_runs_of_node(
                    connection, node_id=NODE, reason="it ended", is_shutdown=is_shutdown, limit=2
                )
            )
    assert counts == [2, 1, 0]
    found = "SELECT id::text, status, attempt, losses, error FROM jobs ORDER BY id"
    waiting = ("queued", 0, 0, None)
    assert {ids.encode("job", id_): tuple(rest) for id_, *rest in stored.run(found)} == {
        once.id: waiting if is_shutdown else ("failed", 1, 1, "WorkerLost: it ended"),
        others[0].id: waiting,
        others[1].id: waiting,
        others[2].id: ("running", 1, 0, None),
    }
    said = [msgs for seq, msgs in _lines(stored) if seq == log_lines.SEQ_OF_OTHERS]
    assert said == [["Handler interrupted, it ended"]] * 3


def test_a_dispatcher_that_could_not_reach_the_database_declares_no_node_dead(stored: Backlog) -> None:
    stored.join()
    [job] = stored.insert(1)
    assert stored.claim(job)
    judge = _Judge(stored)
    assert judge.judge(13) == 0
    judge.now += 60
    assert judge.judge(13) == 0
    assert judge.judge(14, living=[NODE]) == 0
    assert stored.count("status = 'running'") == 1


@pytest.mark.needs_session(because="ALTER DATABASE holds for new sessions, and the pool keeps its own")
def test_silence_on_a_read_only_server_is_not_counted(stored: Backlog) -> None:
    stored.join()
    database = stored.run("SELECT current_database()")[0][0]
    read_only = Database.of(stored.settings, name="test")
    stored.run(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
    try:
        with read_only.connect() as connection:
            assert nodes.read_heartbeats(connection) == {}
    finally:
        stored.run(f'ALTER DATABASE "{database}" RESET default_transaction_read_only')
        read_only.close()
