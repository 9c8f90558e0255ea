"""Calls a handler in this process as a node's child calls it, without servers, and returns what its job would show."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ava.domain import ids
from ava.domain.input_schema import InputMismatch, InputSchema
from ava.domain.jobs import retry
from ava.domain.jobs.job import Job, LogLevel, LogLine, Status, Trigger
from ava.domain.jobs.priority import DEFAULT as DEFAULT_PRIORITY
from ava.domain.jobs.run_outcome import RunOutcome
from ava.domain.secrets.masking import SecretMask
from ava.errors import HandlerError, OutputError
from ava.handler import registry
from ava.handler.calls import Calls
from ava.handler.errors import GiveUp, Interruption, JobTimeout
from ava.handler.registry import Handler
from ava.node.child.job_log import JobLog, LineWriter
from ava.node.child.log_capture import LogCapture
from ava.node.child.run import Run
from ava.node.child.run_settings import RunSettings
from ava.node.outcome import Stop
from ava.testing.breakpoints import given_to_debuggers
from ava.testing.journal import GivenCalls, Journal, MadeChild

#: Seconds between two checks of the stops.
_TICK_SECONDS = 0.02


class InputInvalid(GiveUp):
    """The input does not match the worker's schema: the API refuses the trigger with this sentence and these fields."""

    def __init__(self, mismatch: InputMismatch) -> None:
        super().__init__(str(mismatch))
        self.fields = mismatch.fields


@dataclass(frozen=True, kw_only=True)
class Result:
    """The end of one attempt, as the job's record and log show it."""

    #: `completed`, `failed` or `cancelled`.
    status: Status
    #: What the handler returned, after its way through JSON.
    output: Any
    #: One line, `Kind: reason`, if the attempt failed.
    error: str | None
    #: What the handler raised; None if it returned.
    exception: BaseException | None
    #: The handler's lines: what it logged and printed, and the traceback of what it raised.
    logs: list[LogLine]
    #: Each progress that the handler reported, as its fraction and its message.
    progress: list[tuple[float, str]]
    #: True if a node would run another attempt.
    is_retried: bool
    #: The results of its steps, by their names.
    steps: dict[str, Any]
    #: The children that it made, in their order.
    children: list[MadeChild]
    #: What it waited for, as the log says it, each time that it was suspended.
    waits: list[str]

    @property
    def runs(self) -> int:
        """Returns how often the handler was entered."""
        return len(self.waits) + 1

    @property
    def messages(self) -> list[str]:
        """Returns the texts of `logs`."""
        return [line.msg for line in self.logs]


class _RecordedRun(Run):
    """A run that keeps each progress, not only the last one."""

    reports: list[tuple[float, str]]
    #: Whether a debugger has it: then neither its time-out nor a cancel interrupts the author.
    is_debugged = False

    def note_debugger(self) -> None:
        """A debugger takes over."""
        self.is_debugged = True

    def _report(self, fraction: float, message: str) -> None:
        super()._report(fraction, message)
        if not self.log.is_repeating:
            self.reports.append((fraction, message))


def run(  # noqa: PLR0913 - each is one thing that a test may give
    handler: Callable[..., Any] | str,
    input: Mapping[str, Any] | None = None,
    *,
    config: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    attempt: int = 1,
    cancel_after: float | None = None,
    timeout_seconds: float | None = None,
    steps: Mapping[str, Any] | None = None,
    children: Mapping[str, Any] | None = None,
    events: Sequence[Mapping[str, Any]] = (),
    tenant_id: str = "ten_test",
    user_id: str = "usr_test",
) -> Result:
    """Run one attempt of a handler in this process and return its end.

    `handler`: a function that `@worker` declares, or its worker's slug or id. `config`: what `env["KEY"]` returns.
    `secrets`: what `env.secrets["NAME"]` returns; they are masked as in a node. `cancel_after`: seconds until the job
    is cancelled. `timeout_seconds`: in place of the handler's own.

    A handler that waits is entered again from its top, as in a node, until it ends; time moves by itself. `steps`: the
    results of steps, by their names, whose functions are then not called. `children`: what the children end with, by
    their names or workers. Each is a value, an exception, or a function of the step's arguments or the child's input.
    `events`: the events that come once the handler waits for them, in this order, with at least a `type`.

    The API refuses an input that the worker's schema does not match, so the handler is not called with it: the result
    is `failed` with `InputInvalid` and the API's sentence.

    The handler is interrupted as in a node, but nothing kills it: after a stop that it ignores, `run` waits on.
    A `breakpoint()` in it gets the terminal; from then on nothing stops it, and what it prints goes to the terminal.
    Warnings are left to the test. Raises `HandlerError` if no such handler is declared or nothing ends a wait,
    `TypeError` or `ValueError` if JSON cannot carry the input, and `RuntimeError` outside the main thread, which takes
    the signals, or for an async handler in a running event loop.
    """
    found = _find(handler, timeout_seconds)
    _check_thread(found)
    given = dict(secrets or {})
    input_json = _input_json(input)
    settings = RunSettings(
        config=dict(config or {}),
        secrets=given,
        mask=SecretMask(given.values()) if given else None,
        fault=_fault_of(found, input_json),
    )
    log = JobLog(first_seq=0, started_at=datetime.now(UTC), mask=settings.mask)
    job, journal = _job(found, input_json, attempt, tenant_id, user_id), Journal(children or {}, events)

    def calls(one: Run) -> Calls:
        return GivenCalls(
            store=journal,
            job_id=one.job.id,
            journal=journal.load(),
            is_async=found.is_async,
            on_caught_up=log.end_repetition,
            now=journal.now,
            pause=journal.pause,
            thread_id=threading.main_thread().ident or 0,
            given_steps=steps or {},
        )

    reports: list[tuple[float, str]] = []
    waits: list[str] = []
    while True:
        log.is_repeating = bool(journal.load().entries)
        one = _RecordedRun(
            job=job, handler=found, log=log, settings=settings, main_thread=threading.main_thread(), calls=calls
        )
        one.reports = reports
        with _captured(log, one.note_debugger), _stopping(one, cancel_after):
            one.call(logging.getLogger("ava.job"), block_signals=lambda: None)
        may_repeat = found.retries.allow(_cause(one))
        # The same decision as in a node. It never returns None here, because only a shutdown and a lost claim write no
        # end.
        one.decide_end(chance=0.5)
        assert one.end is not None
        if one.end.wait is None:
            return _result(one, one.end, journal, waits, is_retried=may_repeat and _has_retries(one, one.end))
        waits.append(one.end.wait.text)
        journal.end_wait(one.end.wait)


def _result(one: _RecordedRun, end: RunOutcome, journal: Journal, waits: list[str], *, is_retried: bool) -> Result:
    return Result(
        status=end.status,
        output=None if end.output_json is None else json.loads(end.output_json),
        error=end.error,
        exception=one.raised,
        logs=one.log.take(),
        progress=one.reports,
        is_retried=is_retried,
        steps=journal.steps,
        children=list(journal.made.values()),
        waits=waits,
    )


def _cause(one: Run) -> BaseException:
    """Returns the error that the rules of retries look at: a time-out is one, whatever the handler raised."""
    return JobTimeout() if one.stopped_for is Stop.TIMEOUT else one.raised or OutputError()


def _has_retries(one: Run, end: RunOutcome) -> bool:
    max_attempts = one.handler.spec.max_retries + 1
    return end.status is Status.FAILED and retry.may_retry(attempt=one.job.attempt, max_attempts=max_attempts)


def _find(handler: Callable[..., Any] | str, timeout_seconds: float | None) -> Handler:
    if isinstance(handler, str):
        found = registry.find(f"wkr_{handler.removeprefix('wkr_')}")
    else:
        found = next((each for each in registry.handlers().values() if each.function is handler), None)
    if found is None:
        raise HandlerError(f"{handler!r} is not a declared handler; declare it with @worker and import its module.")
    if timeout_seconds is None:
        return found
    return replace(found, spec=replace(found.spec, timeout_seconds=timeout_seconds))


def _check_thread(handler: Handler) -> None:
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("call ava.testing.run in the main thread, because a stop is a signal")
    if handler.is_async and asyncio._get_running_loop() is not None:
        raise RuntimeError("call ava.testing.run outside an event loop, because an async handler gets its own")


def _input_json(input: Mapping[str, Any] | None) -> str:
    if input is not None and not isinstance(input, Mapping):
        raise TypeError(f"the input must be a mapping, not {type(input).__name__}")
    return json.dumps(dict(input or {}), allow_nan=False)


def _fault_of(handler: Handler, input_json: str) -> InputInvalid | None:
    schema_json = handler.spec.input_schema_json
    faults = {} if schema_json is None else InputSchema(schema_json).faults(input_json)
    return InputInvalid(InputMismatch.of(faults)) if faults else None


def _job(handler: Handler, input_json: str, attempt: int, tenant_id: str, user_id: str) -> Job:
    now = datetime.now(UTC)
    return Job(
        id=ids.encode("job", ids.new_uuid()),
        worker_id=handler.spec.id,
        tenant_id=tenant_id,
        status=Status.RUNNING,
        trigger=Trigger.MANUAL,
        priority=DEFAULT_PRIORITY,
        input_json=input_json,
        triggered_by=user_id,
        created_at=now,
        started_at=now,
        completed_at=None,
        output_json=None,
        error=None,
        scheduled_at=None,
        attempt=attempt,
        # The last attempt, so that its end shows the error; `Result.is_retried` says what a node would do.
        max_attempts=attempt,
        cancel_requested_at=None,
        cancelled_by=None,
        progress_json=None,
        retry_of=None,
        queue=handler.spec.queue,
        run_no=attempt,
        waits_for=None,
        run_at=None,
        published_at=now,
        node_id=None,
    )


@contextmanager
def _captured(log: JobLog, on_breakpoint: Callable[[], None]) -> Iterator[None]:
    """Write what is logged or printed to `log`, until a breakpoint.

    The root logger's other handlers get the records as well.
    """
    capture, level = LogCapture(log), logging.root.level
    capture.setLevel(logging.INFO)
    writers = LineWriter(LogLevel.INFO), LineWriter(LogLevel.WARN)
    streams = {"stdout": (writers[0], sys.stdout), "stderr": (writers[1], sys.stderr)}
    with ExitStack() as stack:
        stack.callback(logging.root.removeHandler, capture)
        stack.callback(logging.root.setLevel, level)
        logging.root.addHandler(capture)
        logging.root.setLevel(min(level, logging.INFO) or logging.INFO)
        for writer in writers:
            writer.begin(log)
            stack.callback(writer.end)
        stack.enter_context(redirect_stdout(writers[0]))
        stack.enter_context(redirect_stderr(writers[1]))
        stack.enter_context(given_to_debuggers(streams, on_breakpoint))
        yield


@contextmanager
def _stopping(one: _RecordedRun, cancel_after: float | None) -> Iterator[None]:
    """Stop the run when it is cancelled or exceeds its time-out, with a signal as in a node."""
    is_over = threading.Event()
    cancel_at = None if cancel_after is None else time.monotonic() + cancel_after

    def watch() -> None:
        while not is_over.wait(_TICK_SECONDS):
            if one.is_debugged:
                continue
            if cancel_at is not None and time.monotonic() >= cancel_at:
                one.stop(Stop.CANCEL)
            elif one.is_overdue:
                one.stop(Stop.TIMEOUT)
            one.interrupt_again_if_swallowed()

    def on_unraisable(unraisable: Any) -> None:
        # Python drops an interruption that is raised in a `__del__`.
        if isinstance(unraisable.exc_value, Interruption):
            one.mark_swallowed()
        else:
            hook(unraisable)

    hook, sys.unraisablehook = sys.unraisablehook, on_unraisable
    own = signal.signal(signal.SIGTERM, lambda *_: one.on_sigterm())
    watcher = threading.Thread(target=watch, name="ava-testing", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
        # Handles a signal that is already noted, before its action is another one.
        signal.pthread_sigmask(signal.SIG_BLOCK, ())
        signal.signal(signal.SIGTERM, own)
        sys.unraisablehook = hook
