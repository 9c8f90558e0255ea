"""The memory in which processes publish their current runs, and keep the ends that are not written yet."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ava.domain.jobs.job import LogLevel, LogLine, RunKey
from ava.domain.jobs.run_outcome import Ending, RunOutcome
from ava.node import run_board
from ava.node.run_board import CurrentRun, Phase, RunBoard
from ava.store.jobs.transitions.ended_runs import EndedRun
from tests.runs import first_run

JOB = "job_01h455vb4pex5vsknk084sn02q"
OTHER = "job_01h455vb4pex5vsknk084sn02r"
CLAIM = "0198a1b2-0000-7000-8000-000000000001"
KEY, LAST = RunKey("ten_" + "a" * 60, JOB, 3), RunKey("ten_b", OTHER, 2**31 - 1)
RUN = CurrentRun(key=KEY, phase=Phase.RUNNING, claim_id=CLAIM, began_ns=5, timeout_seconds=60.5, grace_seconds=0.5)
PID = 4711


@pytest.fixture
def board() -> RunBoard:
    return RunBoard(2)


def _completed(output_json: str = "{}") -> EndedRun:
    at = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))
    return EndedRun.of(
        replace(first_run(KEY), cpu_us=7),
        RunOutcome(run=KEY, ending=Ending.COMPLETED, elapsed_ms=7, output_json=output_json),
        claim_id=CLAIM,
        began_at=at,
        lines=[LogLine(seq=9, ts=at, level=LogLevel.WARN, msg="Zeile\n\u2028 zwei")],
        closing=LogLine(seq=10, ts=at, level=LogLevel.INFO, msg="Handler completed in 7ms"),
        progress_json='{"fraction":0.5}',
    )


def test_what_a_process_publishes_is_read_by_its_pid(board: RunBoard) -> None:
    part = board.of_process(1)
    assert board.read_all() == {}
    part.open(PID)
    assert board.read_all() == {}
    before = time.monotonic()
    part.publish(RUN)
    found = board.read(PID)
    assert found is not None
    assert before <= found.since <= time.monotonic()
    assert (found.key, found.phase, found.claim_id) == (KEY, Phase.RUNNING, CLAIM)
    assert (found.began_ns, found.timeout_seconds, found.grace_seconds, found.next_run) == (5, 60.5, 0.5, None)
    assert board.read(PID + 1) is None
    part.publish(CurrentRun(key=KEY, phase=Phase.ENDING, next_run=LAST))
    assert board.read_all()[PID].next_run == LAST
    part.publish(None)
    assert board.read_all() == {}


def test_a_child_publishes_across_the_fork(board: RunBoard) -> None:
    pid = os.fork()
    if pid == 0:
        board.of_process(0).open(os.getpid())
        board.of_process(0).publish(RUN)
        os._exit(0)
    os.waitpid(pid, 0)
    # Its last word stays until another process takes its place.
    assert board.read_all()[pid].key == KEY
    board.of_process(0).open(PID)
    assert board.read_all() == {}


def test_the_run_before_is_read_until_the_next_one_is_published_whole(
    board: RunBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = board.of_process(0)
    part.open(PID)
    part.publish(RUN)
    numbers = []

    class Interrupted:
        size, unpack_from = run_board._NUMBER.size, run_board._NUMBER.unpack_from

        def pack_into(self, *_: object) -> None:
            # The process is stopped before it writes the number.
            numbers.append(board.read(PID))

    monkeypatch.setattr(run_board, "_NUMBER", Interrupted())
    part.publish(CurrentRun(key=RunKey("ten_a", OTHER, 1), phase=Phase.CLAIMING))
    ((before),) = numbers
    assert before is not None
    assert before.job_id == JOB


def test_memory_that_was_spoiled_names_no_run(board: RunBoard) -> None:
    part = board.of_process(0)
    part.open(PID)
    part.publish(RUN)
    at = run_board._ENTRIES_AT[part._number % 2]
    part._memory[at + 40 : at + 44] = b"\xff\xff\xff\xff"
    assert board.read_all() == {}


def test_stored_outcomes_are_read_unchanged_until_they_are_forgotten(board: RunBoard) -> None:
    part = board.of_process(1)
    part.open(PID)
    assert board.read_ends(PID) == ()
    assert part.keep_end(_completed())
    assert part.keep_end(_completed('{"a":"\u2028"}'))
    assert board.read_ends(PID) == (_completed(), _completed('{"a":"\u2028"}'))
    part.forget_ends()
    assert board.read_ends(PID) == ()


def test_an_outcome_without_space_is_not_stored(board: RunBoard) -> None:
    part = board.of_process(0)
    part.open(PID)
    large = _completed('"' + "x" * 40_000 + '"')
    assert part.keep_end(large)
    assert not part.keep_end(large)
    assert part.keep_end(_completed())
    assert len(board.read_ends(PID)) == 2
    assert board.of_process(1).read() == (0, None), "the next process has its own"


def test_a_process_that_takes_an_entry_keeps_no_outcome_of_the_previous_one(board: RunBoard) -> None:
    part = board.of_process(0)
    part.open(PID)
    part.keep_end(_completed())
    part.open(PID + 1)
    assert board.read_ends(PID + 1) == ()


def test_the_time_of_a_stored_outcome_has_its_zone(board: RunBoard) -> None:
    part = board.of_process(0)
    part.open(PID)
    part.keep_end(_completed())
    (found,) = board.read_ends(PID)
    assert found.began_at == _completed().began_at
    assert found.began_at.astimezone(UTC).hour == 1


def test_a_dead_process_can_be_forgotten_and_its_entry_taken(board: RunBoard) -> None:
    part = board.of_process(0)
    part.open(PID)
    part.publish(RUN)
    part.keep_end(_completed())
    board.forget(PID)
    assert board.read_all() == {}
    assert board.read_ends(PID) == ()
    part.open(PID + 1)
    part.publish(RUN)
    assert set(board.read_all()) == {PID + 1}
