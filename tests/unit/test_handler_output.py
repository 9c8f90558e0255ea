"""What a handler logs, prints and warns of goes to its own job's log, whatever it leaves behind."""

# Printing is what is tested.
# ruff: noqa: T201

from __future__ import annotations

import gc
import io
import logging
import os
import socket
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from ava.domain.jobs.job import LogLevel
from ava.node.child.process_state import other_threads
from tests.unit.process_states import NewState, run

#: Seconds after which a test that waits for something fails.
_SECONDS = 20


def test_what_a_handler_logs_warns_of_and_prints_goes_to_its_log(
    new_state: NewState, capsys: pytest.CaptureFixture[str]
) -> None:
    def handler() -> None:
        logging.getLogger("ava.job").info("logged %d", 1)
        logging.getLogger("elsewhere").warning("by a library")
        logging.getLogger("elsewhere").debug("not from INFO on")
        warnings.warn("warned", stacklevel=1)
        print("printed")
        print("to stderr", file=sys.stderr)
        print("without an end", end="")

    state = new_state()
    assert run(state, handler) == [
        (LogLevel.INFO, "logged 1"),
        (LogLevel.WARN, "by a library"),
        (LogLevel.WARN, f"UserWarning: warned (test_handler_output.py:{handler.__code__.co_firstlineno + 4})"),
        (LogLevel.INFO, "printed"),
        (LogLevel.WARN, "to stderr"),
        (LogLevel.INFO, "without an end"),
    ]
    print("after the run")
    assert capsys.readouterr() == ("after the run\n", "")


def test_threads_that_a_left_thread_starts_later_do_not_write_to_the_next_log(
    new_state: NewState, capsys: pytest.CaptureFixture[str]
) -> None:
    next_runs, is_said = threading.Event(), threading.Event()

    def say_later() -> None:
        print("printed late")
        logging.getLogger("ava.job").error("logged late")
        is_said.set()

    def start_later() -> None:
        assert next_runs.wait(_SECONDS)
        threading.Timer(0, say_later).start()

    def wait() -> None:
        next_runs.set()
        assert is_said.wait(_SECONDS)
        own = threading.Thread(target=print, args=("by a thread of the run",))
        own.start()
        own.join()

    left = threading.Thread(target=start_later)
    state = new_state()
    assert run(state, left.start) == []
    assert run(state, wait) == [(LogLevel.INFO, "by a thread of the run")]
    left.join()
    assert capsys.readouterr().out == "printed late\n"


def test_a_thread_that_a_handler_left_does_not_write_to_the_next_log(
    new_state: NewState, capsys: pytest.CaptureFixture[str]
) -> None:
    next_runs, is_said = threading.Event(), threading.Event()

    def say_later() -> None:
        assert next_runs.wait(_SECONDS)
        print("printed late")
        logging.getLogger("ava.job").error("logged late")
        is_said.set()

    def leave_a_thread() -> None:
        left.start()
        own = threading.Thread(target=print, args=("by a thread of the run",))
        own.start()
        own.join()

    def wait() -> None:
        next_runs.set()
        assert is_said.wait(_SECONDS)
        print("by the next run")

    left = threading.Thread(target=say_later)
    state = new_state()
    assert run(state, leave_a_thread) == [(LogLevel.INFO, "by a thread of the run")]
    assert left in other_threads()
    assert run(state, wait) == [(LogLevel.INFO, "by the next run")]
    left.join()
    assert capsys.readouterr().out == "printed late\n"


def test_a_lock_of_logging_that_an_interruption_left_held_is_released(
    new_state: NewState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handler() -> None:
        for lock in (logging._lock, logging._lock, root_handler.lock):  # type: ignore[attr-defined]
            lock.acquire()

    def log() -> None:
        # Its level is in no cache, so this takes the lock of the module.
        logging.getLogger("ava.test.of_its_own").isEnabledFor(logging.ERROR)
        root_handler.handle(logging.makeLogRecord({}))
        is_logged.set()

    root_handler, is_logged = logging.StreamHandler(io.StringIO()), threading.Event()
    monkeypatch.setattr(logging.root, "handlers", [root_handler])
    run(new_state(), handler)
    threading.Thread(target=log, daemon=True).start()
    assert is_logged.wait(_SECONDS)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Garbage is collected by `gc.collect` alone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Left:
    """What only the garbage collector finds."""

    def __init__(self) -> None:
        self.itself = self
        self.socket = socket.socket()
        self.coroutine = self.wait()

    async def wait(self) -> None:
        """Is not awaited."""

    def __del__(self) -> None:
        print("secret printed")
        logging.getLogger("ava.job").error("secret logged")
        warnings.warn("secret warned of", stacklevel=1)
        raise ValueError("secret raised")


def test_what_is_finalized_while_garbage_is_collected_is_not_in_the_log_of_the_run(
    new_state: NewState, no_collection: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave() -> None:
        weakref.finalize(Left(), print, "secret at the end").atexit = False

    def collect() -> None:
        print("before")
        gc.collect()
        print("after")

    def in_a_thread() -> None:
        thread = threading.Thread(target=collect)
        thread.start()
        thread.join()

    def show(value: Any, *_: Any) -> None:
        print(value, file=sys.stderr)

    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: show(unraisable.exc_value))
    monkeypatch.setattr(warnings, "showwarning", show)
    root_handler = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logging.root, "handlers", [root_handler])
    state = new_state()
    for run_of_next_job in (collect, in_a_thread):
        assert run(state, leave) == []
        assert run(state, run_of_next_job) == [(LogLevel.INFO, "before"), (LogLevel.INFO, "after")]
        out, err = capsys.readouterr()
        assert sorted(out.splitlines()) == ["secret at the end", "secret printed"]
        for said in ("secret logged", "secret warned of", "secret raised", "unclosed <socket", "was never awaited"):
            assert said in err


def test_what_is_finalized_while_garbage_is_collected_reaches_the_descriptor_within_the_run(
    new_state: NewState, no_collection: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Left:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            print("secret")

    def collect() -> None:
        Left()
        gc.collect()
        # The mask of the run's secrets is behind the descriptor until the run ends.
        assert os.read(reading, 100) == b"secret\n"

    reading, writing = os.pipe2(os.O_NONBLOCK)
    with open(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        run(new_state(), collect)
    os.close(reading)
