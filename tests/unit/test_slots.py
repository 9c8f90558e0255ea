"""Concurrent workers and the parts of a slot process, without servers."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest

from ava import Env, testing
from ava.domain.jobs.job import RunKey
from ava.errors import HandlerError
from ava.handler import registry
from ava.handler.registry import worker
from ava.node.outcome import Stop
from ava.node.runs.run_writer import RunWriter
from ava.node.slots import command, run_context
from ava.node.slots.loop_watch import LoopWatch
from ava.node.slots.member import Member, OverdueRun, read_exit_report
from ava.node.slots.slot_claims import Batches, SlotClaims, SlotEnds, WantedRun
from ava.settings import load
from ava.store.engine.database import Database
from harness.polling import wait_until
from tests.unit.monitored_node import ENVIRON

pytestmark = pytest.mark.usefixtures("restored_registry")


async def _wait(input: dict[str, Any]) -> None:
    """A handler that waits."""


def _compute(input: dict[str, Any]) -> None:
    """A handler that does not."""


def test_concurrent_workers_have_a_queue_of_their_own() -> None:
    worker("ccc_wait", concurrent=True)(_wait)
    worker("ccc_other", concurrent=True, queue="models")(_wait)
    assert registry.find("wkr_ccc_wait").spec.queue == "concurrent"  # type: ignore[union-attr]
    assert {"concurrent", "models"} <= registry.concurrent_queues()


@pytest.mark.parametrize(
    ("function", "options", "reason"),
    [
        (_compute, {}, "concurrent=True needs an async def"),
        (_wait, {"max_memory_mb": 100}, "max_memory_mb needs a separate process per run"),
        (_wait, {"capture_subprocesses": True}, "capture_subprocesses needs a separate process per run"),
    ],
)
def test_what_needs_a_process_of_its_own_is_refused(function: Any, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(HandlerError, match=f"Worker 'ccc_wrong': {reason}"):
        worker("ccc_wrong", concurrent=True, **options)(function)


def test_a_queue_with_workers_of_both_kinds_is_refused_by_name() -> None:
    worker("ccc_wait", concurrent=True, queue="mixed")(_wait)
    worker("ccc_compute", queue="mixed")(_compute)
    with pytest.raises(HandlerError, match="Queue 'mixed': the worker 'ccc_wait' is concurrent, but 'ccc_compute' is"):
        registry.concurrent_queues()


def test_a_concurrent_handler_is_tried_without_servers() -> None:
    async def ask(input: dict[str, Any], env: Env) -> Any:
        await asyncio.sleep(0)
        env.log.info("asked")
        return input

    worker("ccc_ask", concurrent=True)(ask)
    done = testing.run(ask, {"a": 1})
    assert (done.status, done.output) == ("completed", {"a": 1})


def _member(slots: int) -> Member:
    return Member("slot process", lambda _: 0, slots)


def _overdue(number: int, job_id: str = "job_" + "a" * 26) -> OverdueRun:
    run = RunKey("ten_" + "a" * 26, job_id, number)
    return OverdueRun(run=run, claim_id="c" * 36, began_ns=time.time_ns(), timeout_seconds=0.5, stop=Stop.TIMEOUT)


@pytest.mark.parametrize("slots", [1, 40, 2000])
def test_the_exit_report_of_a_process_names_all_late_runs(slots: int) -> None:
    member = _member(slots)
    assert (read_exit_report(member.exit_report), member.check_silence(1), member.is_ready) == ([], 0, False)
    overdue = [_overdue(number) for number in range(slots)]
    member.write_exit_report(overdue)
    report = member.exit_report
    member.renew()
    assert read_exit_report(report) == overdue
    assert read_exit_report(member.exit_report) == []


def test_an_exit_report_names_the_runs_for_which_there_is_space() -> None:
    member = _member(2)
    overdue = [_overdue(1), _overdue(2, "job_" + "a" * 1024), _overdue(3)]
    member.write_exit_report(overdue)
    assert read_exit_report(member.exit_report) == [overdue[0], overdue[2]]
    pool = _member(0)
    pool.write_exit_report(overdue)
    assert read_exit_report(pool.exit_report) == []


def test_the_seconds_without_a_newer_sign_of_life_are_counted_since_the_first_one() -> None:
    member = _member(1)
    member.renew()
    assert [member.check_silence(1) for _ in range(3)] == [0, 0, 0]
    member.show_life()
    assert [member.check_silence(0.5) for _ in range(3)] == [0, 0.5, 1]
    member.show_life()
    assert member.check_silence(0.5) == 0


@pytest.mark.parametrize(("every_seconds", "found_after"), [(0.2499, 10.5), (0.4, 10.8), (0.9, 12), (60.0, 720)])
def test_a_silent_process_is_killed_after_ten_seconds_in_which_the_command_was_not_frozen(
    monkeypatch: pytest.MonkeyPatch, every_seconds: float, found_after: float
) -> None:
    killed: list[int] = []
    now = [1000.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(command.process_tree, "kill_tree", killed.append)
    member = _member(1)
    node = command._Command(load(ENVIRON), [member], None)
    member.pid = 7
    member.show_life()
    node._check()
    while not killed:
        now[0] += every_seconds
        node._check()
    assert killed == [7]
    assert 10 < now[0] - 1000 <= found_after


def test_the_runs_of_a_process_are_written_off_only_if_it_has_consumed(monkeypatch: pytest.MonkeyPatch) -> None:
    written_off: list[Any] = []
    monkeypatch.setattr(command, "_fork", lambda act: written_off.append(act) or 1)
    monkeypatch.setattr(command.process_tree, "kill_children", lambda **_: 0)
    member = _member(1)
    node = command._Command(load(ENVIRON), [member], None)
    # An earlier process of it has consumed; this one could not reach the database.
    member.was_ready = True
    node._handle_end(member, 1, 1)
    assert not written_off
    member.show_ready()
    node._handle_end(member, 1, -9)
    assert len(written_off) == 1


class _Run(SimpleNamespace):
    """What a watch uses of a run."""

    def __init__(self) -> None:
        job = SimpleNamespace(worker_id="wkr_a", id="job_a")
        super().__init__(stalled_seconds=0.0, own_stall_seconds=0.0, tasks=set(), job=job, log=self, lines=[])

    __hash__ = object.__hash__

    def add(self, _level: object, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def watched_loop() -> Any:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(run_context.task_factory)
    yield loop
    loop.close()


def test_a_loop_that_turns_stops_no_clock_and_one_that_is_blocked_all_but_that_of_the_culprit(
    watched_loop: Any,
) -> None:
    culprit, other = _Run(), _Run()
    signs: list[float] = []
    LoopWatch(watched_loop, lambda: [culprit, other], lambda: signs.append(time.monotonic()), lambda: None).start()  # type: ignore[list-item]

    async def block() -> None:
        await asyncio.sleep(0.5)
        assert other.stalled_seconds == 0.0
        time.sleep(1.6)

    async def run() -> None:
        context = copy_context()
        context.run(run_context.CURRENT.set, culprit)  # type: ignore[arg-type]
        await asyncio.get_running_loop().create_task(block(), context=context)

    assert threading.current_thread() is threading.main_thread()
    watched_loop.run_until_complete(run())
    (line,) = culprit.lines
    assert "in block" in line
    assert not other.lines
    assert 1.0 <= other.stalled_seconds <= 3.0
    assert culprit.own_stall_seconds == culprit.stalled_seconds
    assert len(signs) > 5


def test_a_loop_that_responds_in_the_middle_of_a_check_is_no_error_and_is_checked_again(
    watched_loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _Run()
    watch = LoopWatch(watched_loop, lambda: [run], lambda: None, lambda: None)  # type: ignore[list-item]
    asked: list[float] = []
    monkeypatch.setattr(watched_loop, "call_soon_threadsafe", lambda _, asked_at: asked.append(asked_at))

    def answer_meanwhile() -> None:
        watch._respond(asked[-1])

    monkeypatch.setattr(watch, "_find_run", answer_meanwhile)
    for now in (10.0, 10.1, 11.5, 11.6):
        watch._poll(now, 0.1)
    assert asked == [10.0, 11.5]
    assert run.stalled_seconds == 0.0


def test_heartbeats_continue_after_a_failed_poll(watched_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    signs: list[float] = []
    watch = LoopWatch(watched_loop, list, lambda: signs.append(time.monotonic()), lambda: None)

    def fail(now: float, passed: float) -> None:
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr(watch, "_poll", fail)
    watch.start()
    wait_until(lambda: len(signs) > 3, what="signs after three failures")
    watched_loop.close()
    watch.join(5)
    assert not watch.is_alive()


def _writer() -> RunWriter:
    return RunWriter(Database(ENVIRON["DATABASE_URL"], name="test"), "n")


async def _result_of(part: Batches[Any, Any], item: Any) -> Any:
    return await part.request(item)


async def _cancel_the_first(waits: list[Any], part: Batches[Any, Any]) -> None:
    """Have two tasks wait for one batch of a thread, and cancel the first before the batch is done."""
    first, second = [asyncio.get_running_loop().create_task(wait) for wait in waits]
    await asyncio.sleep(0)
    first.cancel()
    part.start()
    await asyncio.wait_for(second, 10)
    assert first.cancelled()
    await asyncio.to_thread(part.close)


def test_a_task_that_is_cancelled_while_its_run_is_claimed_holds_up_no_other(
    watched_loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = SlotClaims(load(ENVIRON), _writer(), watched_loop)
    # The handler is not known, so the jobs are deferred.
    monkeypatch.setattr(claims._writer, "defer", lambda *_, **__: None)
    keys = [RunKey("ten_a", job_id, 1) for job_id in ("job_a", "job_b")]
    waits = [_result_of(claims, WantedRun(key, "wkr_ccc_unknown")) for key in keys]
    watched_loop.run_until_complete(_cancel_the_first(waits, claims))


def test_a_task_that_is_cancelled_while_its_end_is_written_holds_up_no_other(
    watched_loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = SlotEnds(_writer(), watched_loop)
    monkeypatch.setattr(ends, "process", lambda runs: [None] * len(runs))
    watched_loop.run_until_complete(_cancel_the_first([_result_of(ends, _Run()), _result_of(ends, _Run())], ends))
