"""What a handler changes in its process is undone, and handlers that come later find it as it was."""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import gc
import io
import locale
import os
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ava.node.runs.job_log import JobLog
from tests.unit.process_states import NewState, process_state, run


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


def test_the_environment_is_restored(new_state: NewState) -> None:
    def handler() -> None:
        os.environ["HOME"], os.environ["AVA_LEFT"] = "/nowhere", "1"
        del os.environ["PATH"]

    state = new_state()
    before = environment()
    run(state, handler)
    assert environment() == before
    assert os.getenv("AVA_LEFT") is None
    run(state, os.environ.clear)
    assert environment() == before


def test_the_working_directory_and_the_umask_are_restored(new_state: NewState, tmp_path: Path) -> None:
    def handler() -> None:
        os.chdir(tmp_path)
        os.umask(0o777)

    state = new_state()
    folder, umask = os.getcwd(), os.umask(0o022)
    os.umask(umask)
    run(state, handler)
    assert (os.getcwd(), os.umask(umask)) == (folder, umask)


def test_a_replaced_environment_is_put_back(new_state: NewState) -> None:
    def handler() -> None:
        os.environ["AVA_LEFT"] = "1"
        os.environ = {}  # type: ignore[assignment]  # noqa: B003 - the mistake that is tested

    state = new_state()
    before, mapping = environment(), os.environ
    run(state, handler)
    assert os.environ is mapping
    assert environment() == before


def test_what_can_be_restored_is_restored_when_a_needed_descriptor_is_closed(tmp_path: Path) -> None:
    def handler() -> None:
        os.chdir(tmp_path)
        # Closed, and the number is that of another file now. That of a copy may be any that an earlier test has freed.
        os.dup2(other, reading)

    reading, other = os.open(__file__, os.O_RDONLY), os.open(os.devnull, os.O_RDWR)
    folder = os.getcwd()
    with process_state([reading]) as state:
        with pytest.raises(OSError, match=f"closed descriptor {reading}"):
            run(state, handler)
        assert os.getcwd() == folder
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    os.close(reading)
    os.close(other)


def test_streams_and_their_descriptors_are_restored(new_state: NewState, tmp_path: Path) -> None:
    def handler() -> None:
        sys.stdout.close()
        sys.stdin, sys.stdout, sys.stderr = io.StringIO(), io.StringIO(), io.StringIO()
        os.close(0)
        with (tmp_path / "taken").open("w") as other:
            os.dup2(other.fileno(), 1)
            os.dup2(other.fileno(), 2)

    state = new_state()
    streams, files = (sys.stdin, sys.stdout, sys.stderr), [os.fstat(number) for number in range(3)]
    run(state, handler)
    assert (sys.stdin, sys.stdout, sys.stderr) == streams
    assert all(os.path.samestat(os.fstat(number), file) for number, file in enumerate(files))


def test_signal_handlers_masks_and_timers_are_restored(new_state: NewState) -> None:
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD, signal.SIGALRM]

    def handler() -> None:
        for number in numbers:
            signal.signal(number, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 1_000)
        signal.setitimer(signal.ITIMER_PROF, 1_000)
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    reading, writing = os.pipe2(os.O_NONBLOCK)
    state = new_state()
    before = [signal.getsignal(number) for number in numbers]
    run(state, handler)
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.getitimer(signal.ITIMER_REAL) == signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert signal.set_wakeup_fd(-1) == -1
    os.close(reading)
    os.close(writing)


def test_a_pending_signal_of_a_handler_is_dropped(new_state: NewState) -> None:
    def handler() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: received.append("handler"))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        # To this thread: a signal to the process would go to a thread that does not block it.
        signal.raise_signal(signal.SIGUSR1)

    received: list[str] = []
    state = new_state()
    run(state, handler)
    # Delivered to the default action, the signal would have killed this process.
    assert received == []
    assert signal.SIGUSR1 not in signal.sigpending()


@pytest.fixture
def own_signals() -> Iterator[list[int]]:
    """This process's own handlers of two signals. Returns what they have received."""
    received: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGUSR1)
    before = [signal.signal(number, lambda number, _frame: received.append(number)) for number in numbers]
    yield received
    for number, action in zip(numbers, before, strict=True):
        signal.signal(number, action)


def test_what_a_signal_handler_raises_after_the_run_is_dropped(own_signals: list[int]) -> None:
    def fail(_number: int, _frame: object) -> None:
        raise ValueError("no")

    def send() -> None:
        # This thread blocks no signal, so that it takes those that the main thread blocks.
        while not has_ended.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)

    def handler() -> None:
        signal.signal(signal.SIGUSR1, fail)
        sender.start()
        while True:
            time.sleep(0.01)

    has_ended, sender = threading.Event(), threading.Thread(target=send)
    own = signal.getsignal(signal.SIGUSR1)
    with process_state() as state, state.isolated(JobLog(first_seq=0, started_at=datetime.now(UTC))):
        try:
            try:
                handler()
            finally:
                # Twice, as `Run.call` does, because the first call may be interrupted before its first line.
                try:
                    state.block_signals()
                finally:
                    state.block_signals()
        except ValueError:
            assert signal.getsignal(signal.SIGUSR1) is own
    has_ended.set()
    sender.join()


def test_a_loop_that_handled_sigterm_leaves_the_process_s_own_handler(own_signals: list[int]) -> None:
    async def handle() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)

    own = signal.getsignal(signal.SIGTERM)
    with process_state():
        asyncio.run(handle())
        assert signal.getsignal(signal.SIGTERM) is own
        os.kill(os.getpid(), signal.SIGTERM)
    assert own_signals == [signal.SIGTERM]


def test_warning_filters_and_hooks_are_restored(new_state: NewState) -> None:
    def handler() -> None:
        warnings.simplefilter("error")
        warnings.showwarning = lambda *_args, **_kwargs: None
        sys.excepthook = sys.unraisablehook = sys.breakpointhook = threading.excepthook = lambda *_: None

    def hooks() -> list[object]:
        own = [sys.excepthook, sys.unraisablehook, sys.breakpointhook, threading.excepthook]
        return [list(warnings.filters), warnings.showwarning, *own]

    state = new_state()
    before = hooks()
    run(state, handler)
    assert hooks() == before


def test_what_a_handler_raises_passes_and_everything_is_restored(new_state: NewState) -> None:
    def handler() -> None:
        os.environ["AVA_LEFT"] = "1"
        raise ValueError("no")

    state = new_state()
    with pytest.raises(ValueError, match="no"):
        run(state, handler)
    assert "AVA_LEFT" not in os.environ


def test_limits_and_modes_of_the_interpreter_and_the_kernel_are_restored(new_state: NewState) -> None:
    def handler() -> None:
        socket.setdefaulttimeout(0.5)
        sys.setrecursionlimit(12_345)
        gc.disable()
        gc.set_threshold(7)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        resource.setrlimit(resource.RLIMIT_NPROC, (1_000, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
        sys.setswitchinterval(0.5)
        sys.set_int_max_str_digits(10_000)
        sys.setprofile(lambda *_: None)
        threading.setprofile(lambda *_: None)
        threading.settrace(lambda *_: None)
        asyncio.set_event_loop(loop)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        locale.setlocale(locale.LC_NUMERIC, "C.UTF-8" if locale.setlocale(locale.LC_NUMERIC) == "C" else "C")
        os.environ["TZ"] = "America/Anchorage"
        time.tzset()

    def traits() -> list[object]:
        return [
            socket.getdefaulttimeout(), sys.getrecursionlimit(), gc.isenabled(), gc.get_threshold(),
            resource.getrlimit(resource.RLIMIT_NOFILE), os.sched_getaffinity(0), locale.setlocale(locale.LC_ALL),
            time.tzname, time.localtime(0).tm_gmtoff, resource.getrlimit(resource.RLIMIT_NPROC),
            sys.getswitchinterval(), sys.get_int_max_str_digits(), sys.getprofile(), threading.getprofile(),
            threading.gettrace(), asyncio.events._event_loop_policy,  # type: ignore[attr-defined]
        ]  # fmt: skip

    # First, because it makes the policy that is restored.
    loop = asyncio.new_event_loop()
    state = new_state()
    before = traits()
    run(state, handler)
    loop.close()
    assert traits() == before


@pytest.mark.parametrize("has_policy", [False, True])
def test_an_event_loop_and_a_policy_that_were_set_are_gone(
    new_state: NewState, monkeypatch: pytest.MonkeyPatch, has_policy: bool
) -> None:
    policy = asyncio.DefaultEventLoopPolicy() if has_policy else None
    monkeypatch.setattr(asyncio.events, "_event_loop_policy", policy)
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(asyncio.events, "_event_loop_policy", policy)
    state = new_state()

    def is_set() -> bool:
        found = asyncio.events._event_loop_policy  # type: ignore[attr-defined]
        return found is not policy or getattr(getattr(found, "_local", None), "_loop", None) is not None

    assert not is_set()
    run(state, lambda: asyncio.set_event_loop(loop))
    assert not is_set()
    run(state, lambda: asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy()))
    assert not is_set()
    loop.close()


def test_a_running_loop_and_the_hooks_of_coroutines_are_gone(new_state: NewState) -> None:
    def handler() -> None:
        asyncio._set_running_loop(loop)
        sys.set_asyncgen_hooks(print, print)
        sys.set_coroutine_origin_tracking_depth(5)

    async def succeed() -> None:
        """Succeed."""

    loop = asyncio.new_event_loop()
    state = new_state()
    run(state, handler)
    run(state, lambda: asyncio.run(succeed()))
    assert sys.get_asyncgen_hooks() == (None, None)
    assert sys.get_coroutine_origin_tracking_depth() == 0
    loop.close()


def test_what_costs_nothing_to_read_is_restored(new_state: NewState) -> None:
    def handler() -> None:
        sys.displayhook = warnings.formatwarning = lambda *_args, **_options: "secret"
        gc.callbacks.insert(0, lambda *_: None)
        threading.stack_size(262_144)
        decimal.DefaultContext.prec = 3
        decimal.DefaultContext.traps[decimal.Inexact] = True
        signal.signal(signal.SIGSEGV, signal.SIG_IGN)

    def traits() -> list[object]:
        return [
            sys.displayhook, warnings.formatwarning, list(gc.callbacks), threading.stack_size(),
            decimal.Context().prec, dict(decimal.Context().traps), signal.getsignal(signal.SIGSEGV),
        ]  # fmt: skip

    state = new_state()
    before = traits()
    run(state, handler)
    assert traits() == before


def test_the_account_is_restored(new_state: NewState) -> None:
    def handler() -> None:
        # The kernel allows it to root alone; any other account stays as it is.
        with contextlib.suppress(PermissionError):
            os.setegid(65_534)
            os.seteuid(65_534)

    before = os.getresuid(), os.getresgid()
    run(new_state(), handler)
    assert (os.getresuid(), os.getresgid()) == before


def test_what_cannot_be_restored_is_an_error(new_state: NewState, monkeypatch: pytest.MonkeyPatch) -> None:
    state = new_state()
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    # As for a process that is not root: it may raise its niceness, and not lower it again.
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    monkeypatch.setattr(os, "getpriority", lambda *_: niceness + 1)
    with pytest.raises(OSError, match="niceness"):
        run(state, lambda: None)
