"""`ava.testing.run` ends an attempt as a node does, without servers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from ava import Env, JobCancelled, testing, worker
from ava.errors import HandlerError
from ava.handler import registry
from harness.system import ROOT


@pytest.fixture(autouse=True)
def _own_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_handlers", {})


def test_the_output_goes_through_json_and_the_log_has_what_was_logged_and_printed() -> None:
    @worker("copy", max_retries=2)
    def copy(input: dict[str, Any], env: Env) -> Any:
        env.log.info("Copying %d", input["rows"])
        env.log.debug("left out")
        logging.getLogger("slow_queries").warning("slow")
        print("a\nb", end="")  # noqa: T201 - a handler may print
        print("oops", file=sys.stderr)  # noqa: T201
        env.progress(0.5, "half")
        env.progress(1)
        return {"target": env["TARGET"], "rows": (1, 2), "attempt": env.attempt, "worker": env.job["worker_id"]}

    found = testing.run(copy, {"rows": 2}, config={"TARGET": "s3"}, attempt=2)
    assert (found.status, found.error, found.exception, found.is_retried) == ("completed", None, None, False)
    assert found.output == {"target": "s3", "rows": [1, 2], "attempt": 2, "worker": "wkr_copy"}
    lines = [(line.level.value, line.msg) for line in found.logs]
    assert lines == [("info", "Copying 2"), ("warn", "slow"), ("info", "a"), ("warn", "oops"), ("info", "b")]
    assert found.progress == [(0.5, "half"), (1.0, "")]


def test_a_failure_shows_the_error_of_the_record_and_whether_a_node_would_try_again() -> None:
    @worker("fail", max_retries=1)
    def fail(input: dict[str, Any]) -> None:
        raise ValueError(f"no rows in {input['path']}")

    first, last = (testing.run("fail", {"path": "x"}, attempt=attempt) for attempt in (1, 2))
    assert (first.status, first.error, first.is_retried) == ("failed", "ValueError: no rows in x", True)
    assert (last.status, last.is_retried) == ("failed", False)
    assert isinstance(first.exception, ValueError)
    assert first.logs[-1].level == "error"
    assert first.messages[-1].endswith("ValueError: no rows in x")
    assert "node" not in first.messages[-1]


def test_an_error_that_the_rules_of_retries_leave_out_is_not_tried_again() -> None:
    @worker("strict", max_retries=3, give_up_on=KeyError)
    def strict(input: dict[str, Any]) -> None:
        raise KeyError(input["name"]) if input["name"] == "known" else ValueError

    assert testing.run("strict", {"name": "known"}).is_retried is False
    assert testing.run("strict", {"name": "other"}).is_retried is True


def test_what_json_cannot_carry_fails_as_in_a_node() -> None:
    @worker("odd")
    def odd(input: dict[str, Any]) -> Any:
        return {"when": object()}

    assert testing.run("wkr_odd").error == "OutputError: output.when is of type object, which JSON cannot represent"


def test_a_cancel_and_a_timeout_interrupt_the_handler() -> None:
    cleaned = []

    @worker("sleeper")
    def sleeper(input: dict[str, Any], env: Env) -> Any:
        try:
            time.sleep(60)
        except JobCancelled:
            assert env.cancelled
            return {"kept": 1}
        finally:
            cleaned.append(True)

    cancelled = testing.run(sleeper, cancel_after=0.05)
    assert (cancelled.status, cancelled.output, cancelled.error) == ("cancelled", {"kept": 1}, None)
    late = testing.run(sleeper, timeout_seconds=0.05)
    assert (late.status, late.error) == ("failed", "Timeout: exceeded 0.05 s")
    assert cleaned == [True, True]


def test_an_async_handler_is_cancelled_at_its_await() -> None:
    seen = []

    @worker("async_sleeper")
    async def sleeper(input: dict[str, Any]) -> Any:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            seen.append(error)
            raise

    assert testing.run(sleeper, cancel_after=0.05).status == "cancelled"
    assert len(seen) == 1


@pytest.fixture
def process_state() -> Iterator[None]:
    def read() -> object:
        return (sys.stdout, sys.stderr, sys.unraisablehook, logging.root.level, list(logging.root.handlers),
                signal.getsignal(signal.SIGTERM), signal.pthread_sigmask(signal.SIG_BLOCK, ()))  # fmt: skip

    before, threads = read(), set(threading.enumerate())
    yield
    assert read() == before
    # A thread that an earlier test left may end meanwhile.
    assert set(threading.enumerate()) <= threads


@pytest.mark.usefixtures("process_state")
def test_the_process_is_left_as_it_was() -> None:
    @worker("leaver")
    def leaver(input: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            raise KeyError("x")

    for _ in range(3):
        assert testing.run(leaver, cancel_after=30).status == "failed"


_DEBUGGED = """
import pdb, time
from ava import testing, worker

@worker("debugged", timeout_seconds=0.3)
def debugged(input):
    print("before")
    {breakpoint}
    time.sleep(0.6)
    print("after", input["n"])
    return input["n"]

found = testing.run(debugged, {{"n": 7}}, cancel_after=0.4)
print("found", found.status, found.output, found.messages)
"""


@pytest.mark.parametrize("statement", ["breakpoint()", "pdb.set_trace()"])
def test_a_breakpoint_has_the_terminal_and_nothing_stops_the_run_while_its_author_looks(statement: str) -> None:
    script = _DEBUGGED.format(breakpoint=statement)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONBREAKPOINT": ""}
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="p input['n'] * 6\nc\n",
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "(Pdb) 42" in done.stdout
    assert "debugged()" in done.stdout
    assert "testing" not in done.stdout
    assert done.stdout.endswith("after 7\nfound completed 7 ['before']\n")


def test_a_breakpoint_that_is_switched_off_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONBREAKPOINT", "0")
    monkeypatch.setattr(sys, "breakpointhook", sys.__breakpointhook__)

    @worker("switched_off")
    def switched_off(input: dict[str, Any]) -> None:
        breakpoint()
        print("printed")  # noqa: T201

    assert testing.run(switched_off).messages == ["printed"]


def test_a_wrong_call_is_refused_in_one_sentence() -> None:
    @worker("plain")
    def plain(input: dict[str, Any]) -> None: ...

    @worker("waiting")
    async def waiting(input: dict[str, Any]) -> None: ...

    with pytest.raises(HandlerError, match="not a declared handler; declare it with @worker"):
        testing.run(print)
    with pytest.raises(TypeError, match="must be a mapping or an instance of the handler's input type, not list"):
        testing.run(plain, [1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not JSON serializable"):
        testing.run(plain, {"a": object()})

    async def call() -> None:
        testing.run(waiting)

    with pytest.raises(RuntimeError, match="outside an event loop"):
        asyncio.run(call())
    raised: list[BaseException] = []

    def elsewhere() -> None:
        try:
            testing.run(plain)
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(raised[0])


def test_a_wrong_input_fails_with_the_sentence_of_the_api_and_the_handler_is_not_called() -> None:
    called: list[Any] = []

    @worker("strict", input_schema={"type": "object", "required": ["to"], "properties": {"to": {"type": "string"}}})
    def strict(input: dict[str, Any]) -> None:
        called.append(input)

    result = testing.run(strict, {})
    sentence = "It is missing, and the worker's schema requires it."
    assert (result.status, result.error, result.is_retried) == ("failed", f"InputInvalid: input.to: {sentence}", False)
    assert result.exception is not None
    assert result.exception.fields == {"input.to": [sentence]}  # type: ignore[attr-defined]
    assert testing.run(strict, {"to": "a"}).status == "completed"
    assert called == [{"to": "a"}]
