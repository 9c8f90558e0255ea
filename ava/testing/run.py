"""Call a handler in this process as a node's child does, without servers, and return its job's outcome."""

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
from ava.domain.approval import Decision
from ava.domain.input_schema import InputMismatch, InputSchema
from ava.domain.jobs import retry
from ava.domain.jobs.job import Job, LogLevel, LogLine, Status, Trigger
from ava.domain.jobs.priority import DEFAULT as DEFAULT_PRIORITY
from ava.domain.jobs.run_outcome import RunOutcome
from ava.domain.secrets.masking import SecretMask
from ava.errors import HandlerError, OutputError
from ava.handler import registry
from ava.handler.env import leave
from ava.handler.errors import GiveUp, Interruption, JobTimeout
from ava.handler.journal_calls import Calls
from ava.handler.registry import Handler
from ava.handler.tasks import Task
from ava.handler.typed_values import to_payload
from ava.node.child.process_run import ProcessRun
from ava.node.outcome import Stop
from ava.node.runs.job_log import JobLog, LineWriter
from ava.node.runs.log_capture import LogCapture
from ava.node.runs.run import Run
from ava.node.runs.run_settings import RunSettings
from ava.testing.breakpoints import given_to_debuggers
from ava.testing.journal import CreatedChild, GivenCalls, Journal

#: Seconds between two checks for a stop.
_TICK_SECONDS = 0.02


class InputInvalid(GiveUp):
    """The input does not match the worker's schema: the API refuses the trigger with this message and these fields."""

    def __init__(self, mismatch: InputMismatch) -> None:
        super().__init__(str(mismatch))
        self.fields = mismatch.fields


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one attempt, as in the job's record and log."""

    #: `completed`, `failed` or `cancelled`.
    status: Status
    #: The handler's return value after a JSON round trip.
    output: Any
    #: One line, `Kind: reason`, if the attempt failed.
    error: str | None
    #: The handler's exception; None if it returned.
    exception: BaseException | None
    #: The handler's lines: its log calls, its printed lines, and the traceback of its exception.
    logs: list[LogLine]
    #: Each reported progress as fraction and message.
    progress: list[tuple[float, str]]
    #: True if a node would run another attempt.
    is_retried: bool
    #: The results of its steps by name.
    steps: dict[str, Any]
    #: The children that it created, in order.
    children: list[CreatedChild]
    #: Its wait at each suspension, as the log shows it.
    waits: list[str]

    @property
    def runs(self) -> int:
        """Return how often the handler was entered."""
        return len(self.waits) + 1

    @property
    def messages(self) -> list[str]:
        """Return the messages of `logs`."""
        return [line.msg for line in self.logs]


class _RecordedRun(ProcessRun):
    """A run that records every progress, not only the last."""

    reports: list[tuple[float, str]]
    #: Whether a debugger controls it: then no timeout or cancel interrupts the author.
    is_debugged = False

    def record_debugger(self) -> None:
        """Record that a debugger has taken over."""
        self.is_debugged = True

    def _report(self, fraction: float, message: str) -> None:
        super()._report(fraction, message)
        if not self.log.is_repeating:
            self.reports.append((fraction, message))


def run(  # noqa: PLR0913 - each is one thing that a test may give
    handler: Callable[..., Any] | str,
    input: Any = None,
    *,
    config: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    attempt: int = 1,
    cancel_after: float | None = None,
    timeout_seconds: float | None = None,
    steps: Mapping[str, Any] | None = None,
    children: Mapping[str, Any] | None = None,
    events: Sequence[Mapping[str, Any]] = (),
    approvals: Mapping[str, bool | Decision | None] | None = None,
    tenant_id: str = "ten_test",
    user_id: str = "usr_test",
) -> Result:
    """Run one attempt of a handler in this process and return its outcome.

    `handler`: a task, that is a function with `@worker`, or its worker's slug or id. `input`: a mapping, or an instance
    of the handler's input type. `config`: the values of `env["KEY"]`.
    `secrets`: the values of `env.secrets["NAME"]`; they are masked as in a node. `cancel_after`: seconds until the job
    is cancelled. `timeout_seconds`: replaces the handler's timeout.

    A handler that waits is entered again from its top, as in a node, until it ends; waits take no real time. `steps`:
    results of steps by name; their functions are not called. `children`: outcomes of children by name or worker.
    Each is a value, an exception, or a function of the step's arguments or the child's input. `events`: the events that
    arrive once the handler waits for them, in this order, with at least a `type`. `approvals`: the decision for each
    name, True, False or an `ava.Decision`; None: nobody decides in time.

    An input that does not match the worker's schema is `failed` with `InputInvalid` and the API's message, without
    calling the handler, because the API would refuse it.

    The handler is interrupted as in a node, but never killed: if it ignores a stop, `run` keeps waiting. A
    `breakpoint()` in it gets the terminal; from then on nothing stops it, and it prints to the terminal. Warnings are
    left to the test. Raise `HandlerError` if the handler is not declared or nothing ends a wait, `TypeError` or
    `ValueError` if the input is not JSON, and `RuntimeError` outside the main thread, which receives the signals, or
    for an async handler in a running event loop.
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
    job, journal = _job(found, input_json, attempt, tenant_id, user_id), Journal(children or {}, events, approvals)

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
        one = _RecordedRun(job=job, handler=found, log=log, settings=settings, calls=calls)
        one.reports = reports
        with _captured(log, one.record_debugger), _stopping(one, cancel_after):
            try:
                one.call(logging.getLogger("ava.job"), block_signals=lambda: None)
            finally:
                leave()
        may_repeat = found.retries.allow(_cause(one))
        # The same decision as in a node. It never returns None here: only a shutdown and a lost claim have no outcome.
        one.decide_end(draw=0.5)
        assert one.end is not None
        if one.end.wait is None:
            return _result(one, one.end, journal, waits, is_retried=may_repeat and _has_retries(one, one.end))
        waits.append(one.end.wait.description)
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
    """Return the error that the retry rules check: a timeout is one, whatever the handler raised."""
    return JobTimeout() if one.stopped_for is Stop.TIMEOUT else one.raised or OutputError()


def _has_retries(one: Run, end: RunOutcome) -> bool:
    max_attempts = one.handler.spec.max_retries + 1
    return end.status is Status.FAILED and retry.may_retry(attempt=one.job.attempt, max_attempts=max_attempts)


def _find(handler: Callable[..., Any] | str, timeout_seconds: float | None) -> Handler:
    if isinstance(handler, Task):
        found: Handler | None = handler.handler
    elif isinstance(handler, str):
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


def _input_json(input: Any) -> str:
    payload = dict(input or {}) if input is None or isinstance(input, Mapping) else to_payload(input)
    return json.dumps(payload, allow_nan=False)


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
        # The last attempt, so that its outcome has the error; `Result.is_retried` tells whether a node would retry.
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
    """Write log records and printed lines to `log`, until a breakpoint.

    The root logger's other handlers get the records, too.
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
    """Stop the run on cancel or timeout, with a signal as in a node."""
    has_ended = threading.Event()
    cancel_at = None if cancel_after is None else time.monotonic() + cancel_after

    def watch() -> None:
        while not has_ended.wait(_TICK_SECONDS):
            if one.is_debugged:
                continue
            if cancel_at is not None and time.monotonic() >= cancel_at:
                one.stop(Stop.CANCEL)
            elif one.is_overdue:
                one.stop(Stop.TIMEOUT)
            one.interrupt_again_if_swallowed()

    def on_unraisable(unraisable: Any) -> None:
        # Python drops an interruption raised in a `__del__`.
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
        has_ended.set()
        watcher.join()
        # Handle a pending signal before its action is restored.
        signal.pthread_sigmask(signal.SIG_BLOCK, ())
        signal.signal(signal.SIGTERM, own)
        sys.unraisablehook = hook
