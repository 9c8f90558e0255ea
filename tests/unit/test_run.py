"""A run is interrupted only while its handler runs, and only by a stop of this run."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from ava.domain.jobs.job import LogLevel, Status
from ava.domain.worker import OnWorkerLost, WorkerSpec
from ava.handler import Env, Interruption, JobCancelled, JobInterrupted, JobTimeout
from ava.handler.journal_calls import Calls
from ava.handler.registry import Handler
from ava.node.child.process_run import ProcessRun
from ava.node.outcome import Stop
from ava.node.runs.job_log import JobLog
from ava.node.runs.run import Run
from ava.node.runs.run_settings import RunSettings
from ava.testing.journal import Journal
from tests.unit.handlers import JOB
from tests.unit.process_states import process_state

_SPEC = WorkerSpec(
    id="wkr_x", name="x", description="", timeout_seconds=2, max_retries=0, cancel_grace_seconds=1,
    queue="default", tenants=None, on_worker_lost=OnWorkerLost.REQUEUE,
)  # fmt: skip
Made = TypeVar("Made", bound=Run)
#: Seconds after which a test that waits for something fails.
_SECONDS = 20


class Process:
    """What a child process adds to a run: its SIGTERM handler, which acts for the run that the process holds."""

    def __init__(self) -> None:
        self.run: ProcessRun | None = None
        self.sigterms = 0

    def on_sigterm(self, _signum: int, _frame: object) -> None:
        self.sigterms += 1
        if self.run is not None:
            self.run.on_sigterm()

    def on_unraisable(self, unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, Interruption) and self.run is not None:
            self.run.mark_swallowed()

    def call(self, run: ProcessRun) -> ProcessRun:
        """Call the run's handler, and decide the run's end."""
        self.run = run
        run.call(None, block_sigterm)
        # A signal that is pending now is delivered to a run that is closed.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        run.decide_end(draw=0.5)
        return run


def block_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    process = Process()
    before = signal.signal(signal.SIGTERM, process.on_sigterm)
    monkeypatch.setattr(sys, "unraisablehook", process.on_unraisable)
    yield process
    signal.signal(signal.SIGTERM, before)


def run_of(function: Callable[..., Any], **job: Any) -> ProcessRun:
    return made_run(ProcessRun, function, **job)


def made_run(run_type: type[Made], function: Callable[..., Any], **job: Any) -> Made:
    handler = Handler(
        spec=_SPEC, function=function, is_async=asyncio.iscoroutinefunction(function), takes_env=True
    )  # fmt: skip
    log = JobLog(first_seq=0, started_at=datetime(2025, 6, 1, tzinfo=UTC))
    return run_type(
        job=replace(JOB, **job),
        handler=handler,
        log=log,
        settings=RunSettings(config={"KEY": "value"}),
        calls=lambda run: Calls(store=Journal({}), job_id=run.job.id),
    )


class Stopper:
    """Acts on a run in a thread of its own, as the companion thread of a child does, once the handler has begun."""

    def __init__(self, act: Callable[[], object], *, again_after: float = _SECONDS) -> None:
        """`again_after`: the seconds after which it acts again, as a node's parent sends a stop again and again."""
        self.handler_runs = threading.Event()
        self._ended = threading.Event()
        self._again_after = again_after
        self._thread = threading.Thread(target=self._act, args=(act,))

    def _act(self, act: Callable[[], object]) -> None:
        assert self.handler_runs.wait(_SECONDS)
        act()
        while not self._ended.wait(self._again_after):
            act()

    def __enter__(self) -> Stopper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.handler_runs.set()
        self._ended.set()
        self._thread.join()


def wait_until_interrupted(is_done: Callable[[], bool] = lambda: False) -> None:
    """Wait in short steps, because Python may miss a signal that arrives just as a blocking call begins."""
    for _ in range(_SECONDS * 100):
        if is_done():
            return
        time.sleep(0.01)
    raise AssertionError("the handler was not interrupted")


@pytest.mark.parametrize(
    ("reason", "raised"), [(Stop.CANCEL, JobCancelled), (Stop.TIMEOUT, JobTimeout), (Stop.SHUTDOWN, JobInterrupted)]
)
def test_a_stop_raises_its_own_interruption_in_the_handler(
    process: Process, reason: Stop, raised: type[Interruption]
) -> None:
    def handle(_input: dict[str, Any], env: Env) -> None:
        stopper.handler_runs.set()
        try:
            wait_until_interrupted()
        finally:
            assert env.cancelled

    run = run_of(handle)
    with Stopper(lambda: run.stop(reason)) as stopper:
        process.call(run)
    assert type(run.raised) is raised
    assert run.stopped_for is reason


def test_a_handler_that_is_stopped_before_it_begins_is_never_called(process: Process) -> None:
    called: list[str] = []

    async def handle_async(_input: dict[str, Any], _env: Env) -> None:
        called.append("async")

    for function, raised in ((lambda _input, _env: called.append("sync"), JobCancelled), (handle_async, BaseException)):
        run = run_of(function)
        run.stop(Stop.CANCEL)
        process.call(run)
        assert isinstance(run.raised, raised)
        assert run.end is not None
        assert run.end.status is Status.CANCELLED
    assert (called, process.sigterms) == ([], 0)


def test_a_stop_after_the_handler_has_ended_interrupts_nothing(process: Process) -> None:
    run = process.call(run_of(lambda _input, _env: "done"))
    run.stop(Stop.CANCEL)
    assert (process.sigterms, run.raised, run.output) == (0, None, "done")
    assert run.end is not None
    assert run.end.status is Status.COMPLETED


def test_a_sigterm_that_arrives_when_the_handler_has_ended_interrupts_nothing(process: Process) -> None:
    def handle(_input: dict[str, Any], _env: Env) -> str:
        # The signal is sent while the handler runs, and delivered after it has ended.
        block_sigterm()
        run.stop(Stop.CANCEL)
        return "done"

    run = run_of(handle)
    process.call(run)
    assert (process.sigterms, run.raised, run.output) == (1, None, "done")
    assert run.end is not None
    assert (run.end.status, run.end.output_json) == (Status.CANCELLED, '"done"')


def test_a_timer_of_a_handler_ends_with_it_however_short_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_number: int, _frame: object) -> None:
        raise ValueError("an alarm")

    def handle(_input: dict[str, Any], _env: Env) -> None:
        signal.signal(signal.SIGALRM, fail)
        # Its signals come faster than the steps that block them.
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.00005)
        while True:
            time.sleep(0.01)

    # Another thread may take the last alarm. Python acts on it later: it calls the action of then, or warns of none.
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    with process_state() as state:
        for _ in range(50):
            run = run_of(handle)
            run.call(None, state.block_signals, state.timer_stops())
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
            assert str(run.raised) == "an alarm"
    signal.signal(signal.SIGALRM, before)


def test_a_stop_of_one_run_never_reaches_another(process: Process) -> None:
    def handle(_input: dict[str, Any], _env: Env) -> str:
        earlier.stop(Stop.CANCEL)
        later.stop(Stop.CANCEL)
        return "done"

    earlier, later = process.call(run_of(lambda _input, _env: None)), run_of(lambda _input, _env: None)
    run = process.call(run_of(handle))
    assert (process.sigterms, run.raised, run.output) == (0, None, "done")


def test_a_sigterm_without_a_stop_does_nothing(process: Process) -> None:
    def handle(_input: dict[str, Any], _env: Env) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "done"

    run = process.call(run_of(handle))
    assert (process.sigterms, run.raised, run.output) == (1, None, "done")


def test_the_first_reason_counts_and_interrupts_once(process: Process) -> None:
    def handle(_input: dict[str, Any], _env: Env) -> str:
        try:
            run.stop(Stop.TIMEOUT)
            wait_until_interrupted()
        except JobTimeout as error:
            run.stop(Stop.CANCEL)
            os.kill(os.getpid(), signal.SIGTERM)
            return str(error)
        return "not interrupted"

    run = run_of(handle)
    process.call(run)
    assert (run.stopped_for, run.output, process.sigterms) == (Stop.TIMEOUT, "exceeded 2 s", 2)


@pytest.mark.parametrize(("has_own", "signals"), [(False, 2), (True, 1)])
def test_a_signal_that_does_not_end_a_blocking_call_is_sent_again_unless_the_handler_has_its_own(
    process: Process, monkeypatch: pytest.MonkeyPatch, has_own: bool, signals: int
) -> None:
    sent: list[int] = []
    kill = signal.pthread_kill

    def pthread_kill(thread_id: int, signum: int) -> None:
        sent.append(signum)
        if len(sent) > 1:
            kill(thread_id, signum)

    monkeypatch.setattr(signal, "pthread_kill", pthread_kill)

    def handle(_input: dict[str, Any], _env: Env) -> None:
        if has_own:
            signal.signal(signal.SIGTERM, lambda *_: None)
        run.stop(Stop.CANCEL)
        run.stop(Stop.CANCEL)

    run = run_of(handle)
    before = signal.getsignal(signal.SIGTERM)
    process.call(run)
    signal.signal(signal.SIGTERM, before)
    assert len(sent) == signals
    assert isinstance(run.raised, JobCancelled) is not has_own


def test_an_interruption_that_python_drops_is_repeated(process: Process) -> None:
    class Dropped:
        def __del__(self) -> None:
            stopper.handler_runs.set()
            # The interruption that is raised here is dropped, and reported to `sys.unraisablehook`.
            wait_until_interrupted()

    def handle(_input: dict[str, Any], _env: Env) -> None:
        Dropped()
        dropped.append(run.raised)
        wait_until_interrupted()

    def stop() -> None:
        run.stop(Stop.CANCEL)
        while not ended.wait(0.01):
            run.interrupt_again_if_swallowed()

    run, dropped, ended = run_of(handle), [], threading.Event()
    with Stopper(stop) as stopper:
        process.call(run)
        ended.set()
    assert dropped == [None]
    assert isinstance(run.raised, JobCancelled)
    assert process.sigterms == 2


@pytest.mark.parametrize("returns", [True, False])
def test_a_stop_cancels_the_task_of_an_async_handler(process: Process, returns: bool) -> None:
    async def handle(_input: dict[str, Any], env: Env) -> dict[str, bool]:
        stopper.handler_runs.set()
        try:
            await asyncio.sleep(_SECONDS)
        except asyncio.CancelledError:
            # The loop goes on, so that the handler can clean up.
            await asyncio.sleep(0)
            if not returns:
                raise
        return {"cancelled": env.cancelled}

    run = run_of(handle)
    with Stopper(lambda: run.stop(Stop.CANCEL), again_after=0.1) as stopper:
        process.call(run)
    assert run.end is not None
    assert run.end.status is Status.CANCELLED
    assert run.end.output_json == ('{"cancelled":true}' if returns else None)
    assert run.log.is_empty, "the CancelledError of a stopped handler is no error"


def test_a_sigterm_handler_of_the_jobs_own_receives_the_signal(process: Process) -> None:
    received: list[int] = []

    def handle(_input: dict[str, Any], _env: Env) -> str:
        signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
        stopper.handler_runs.set()
        wait_until_interrupted(lambda: bool(received))
        return "ended in order"

    run = run_of(handle)
    with Stopper(lambda: run.stop(Stop.CANCEL)) as stopper:
        process.call(run)
    assert (process.sigterms, run.raised, run.output) == (0, None, "ended in order")


def test_a_run_that_has_lost_its_job_stops_at_once_and_writes_no_end(process: Process) -> None:
    def handle(_input: dict[str, Any], _env: Env) -> None:
        # A signal handler of the main thread calls it, while that thread may hold the lock of the run.
        with run._lock:
            run.stop_as_lost()

    run = run_of(handle)
    process.call(run)
    assert isinstance(run.raised, JobInterrupted)
    assert (run.stopped_for, run.is_decided, run.end) == (Stop.LOST, True, None)


def test_a_run_is_overdue_when_its_timeout_has_passed(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(lambda _input, _env: None)
    assert not run.is_overdue
    monkeypatch.setattr(run, "_deadline", run._deadline - _SPEC.timeout_seconds)
    assert run.is_overdue


def test_a_handler_gets_its_input_its_configuration_and_its_attempt(process: Process) -> None:
    def handle(input: dict[str, Any], env: Env) -> list[Any]:
        env.progress(0.5, "x" * 2_000)
        return [input, dict(env), env.attempt, env.cancelled]

    run = process.call(run_of(handle, input_json='{"a":1}', attempt=3, max_attempts=3))
    assert run.output == [{"a": 1}, {"KEY": "value"}, 3, False]
    assert run.progress_json == '{"fraction": 0.5, "message": "' + "x" * 1_000 + '"}'


def _fail() -> None:
    raise ValueError("no")


def handle_and_fail(_input: dict[str, Any], _env: Env) -> None:
    _fail()


async def handle_and_fail_async(_input: dict[str, Any], _env: Env) -> None:
    _fail()


@pytest.mark.parametrize("function", [handle_and_fail, handle_and_fail_async])
def test_the_traceback_in_the_log_begins_at_the_handlers_own_line(
    process: Process, function: Callable[..., Any]
) -> None:
    run = process.call(run_of(function))
    (line,) = run.log.take()
    first, location, *_, last = line.msg.splitlines()
    assert (line.level, first, last) == (LogLevel.ERROR, "Traceback (most recent call last):", "ValueError: no")
    assert location.endswith(f", in {function.__name__}")
    assert "ava/node" not in line.msg
    assert run.end is not None
    assert run.end.error == "ValueError: no"
