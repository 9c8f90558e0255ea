"""One run: a claimed job, its handler, and the section in which the handler may be interrupted."""

from __future__ import annotations

# The C module below `signal`. `signal` converts actions to enum members, which takes as long as a log line.
import _signal  # type: ignore[import-not-found]
import asyncio
import contextvars
import decimal
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ava.domain.jobs.job import Job, LogLevel
from ava.domain.jobs.messages import task_id
from ava.domain.jobs.run_outcome import RunOutcome
from ava.domain.jobs.run_usage import RunUsage
from ava.handler.children import as_json
from ava.handler.env import Env
from ava.handler.errors import Interruption, JobCancelled, JobInterrupted, RetryLater, Suspended
from ava.handler.journal_calls import Calls
from ava.handler.registry import Handler
from ava.handler.retry_rules import NextAttempt
from ava.node import outcome
from ava.node.child import descriptor_pipes
from ava.node.child.descriptor_pipes import DescriptorPipes
from ava.node.child.job_log import JobLog
from ava.node.child.run_settings import RunSettings
from ava.node.outcome import Stop
from ava.telemetry import tracing
from ava.telemetry.span import NOTHING, Span

if TYPE_CHECKING:
    from ava.node.child.process_state import ProcessState


class Run:
    """The run of a job in a child process.

    The handler may be interrupted only between `_open` and `_close`, and only by a stop of this run. `_open`, `_close`
    and `stop` take the same lock, so a SIGTERM never arrives too early or too late, and never reaches the next run.
    """

    def __init__(
        self,
        *,
        job: Job,
        handler: Handler,
        log: JobLog,
        settings: RunSettings,
        main_thread: threading.Thread,
        claim_id: str | None = None,
        claim_sent_ns: int | None = None,
        span: Span = NOTHING,
        calls: Callable[[Run], Calls],
    ) -> None:
        """`calls` creates the interface through which the handler uses the journal."""
        self.job = job
        #: The id of the claim, part of the fencing token of every write.
        self.claim_id = claim_id
        #: When the claim was sent, in Unix nanoseconds.
        self.claim_sent_ns = time.time_ns() if claim_sent_ns is None else claim_sent_ns
        #: The run's span in the trace: from the claim until the end is written.
        self.span = span
        self.handler = handler
        self.log = log
        self.task_id = task_id(job.run)
        self.stopped_for: Stop | None = None
        #: The handler's return value and its exception.
        self.output: Any = None
        self.raised: BaseException | None = None
        #: Whether the handler has ended and `end` is decided.
        self.is_decided = False
        #: The outcome to write; None if the job returns to the queue, or if the run has lost it.
        self.end: RunOutcome | None = None
        #: The handler must be entered before this monotonic time; None: at any time.
        self.begins_before: float | None = None
        #: Whether the job had expired before the handler was entered.
        self.is_expired = False
        #: The handler's last progress report, as a JSON string; None once it is stored.
        self.progress_json: str | None = None
        self._settings = settings
        #: Masks the run's secrets in strings; None if it has none.
        self.mask = settings.mask
        self._main_thread = main_thread
        #: When its handler was about to begin, in Unix nanoseconds.
        self.began_ns = time.time_ns()
        self._lock = threading.Lock()
        self._is_open = False
        #: The SIGTERM action of this process before the handler changes it.
        self._sigterm_action: object = None
        self._is_interrupted = self._is_swallowed = False
        self._async_task: asyncio.Task[Any] | None = None
        self.timeout_seconds = min(handler.spec.timeout_seconds, settings.timeout_seconds or math.inf)
        #: Maximum memory in MiB; 0: unlimited.
        self.max_memory_mb = settings.max_memory_mb
        #: Returns the peak memory in bytes of the run that began at a given time, if the node has measured it.
        self.measured_peak: Callable[[int], int | None] = lambda _began_ns: None
        #: Processor time of this process in microseconds: before the handler, and used by the handler.
        self.cpu_before_us = 0
        self.cpu_us: int | None = None
        self._deadline = time.monotonic() + self.timeout_seconds
        self._make_calls = calls
        #: The handler's journal interface; None until first use.
        self._calls: Calls | None = None

    def isolated_in(self, process_state: ProcessState) -> AbstractContextManager[logging.Logger]:
        """Return the context for the call of the handler."""
        return process_state.isolated(self.log)

    def redirect(self) -> DescriptorPipes | None:
        """Pass on the output of the handler's subprocesses. Returns the pipes; None if there are none."""
        captures_subprocesses = self.handler.spec.captures_subprocesses
        return descriptor_pipes.redirect(self.log, captures_subprocesses=captures_subprocesses, mask=self.mask)

    @property
    def peak_bytes(self) -> int | None:
        """Return the peak memory that the node measured, in bytes; None before the first measurement."""
        return self.measured_peak(self.began_ns)

    @property
    def usage(self) -> RunUsage:
        """Return the run's processor time and memory."""
        return RunUsage(cpu_us=self.cpu_us, peak_memory_mb=outcome.in_mb(self.peak_bytes))

    @property
    def _exceeded(self) -> str:
        return outcome.exceeded_text(
            self.stopped_for or Stop.TIMEOUT,
            timeout_seconds=self.timeout_seconds,
            max_memory_mb=self.max_memory_mb,
            peak_bytes=self.peak_bytes,
        )

    @property
    def is_overdue(self) -> bool:
        """Return True if the handler has exceeded its timeout."""
        return time.monotonic() >= self._deadline

    def call(self, logger: Any, block_signals: Callable[[], None], timer_stops: Iterable[object] = ()) -> None:
        """Call the handler and store its return value or exception, including interruptions.

        `timer_stops` and `block_signals` end the handling of signals in this thread; see `ProcessState`.
        """
        try:
            try:
                self._open()
                # A copied context, so that the handler's changes of context variables end with it.
                self.output = contextvars.copy_context().run(self._invoke, logger)
            finally:
                # In one bytecode instruction, because the signals of a short timer would interrupt any further code.
                _ = [*timer_stops]
                # Twice, because a signal handler may raise between the last line of the handler and the first `_close`.
                try:
                    self._close(block_signals)
                finally:
                    self._close(block_signals)
        except BaseException as error:
            self.raised = error

    def decide_end(self, *, chance: float) -> None:
        """Decide the run's outcome, and log the traceback of the handler's exception.

        `chance` (0 to 1) is the jitter of a retry's backoff.
        """
        if self.is_expired:
            self.log.add(LogLevel.WARN, "Handler not started: the job has expired")
            self.is_decided = True
            return
        # A stopped async handler raises CancelledError.
        expected = asyncio.CancelledError if self.stopped_for is not None else JobCancelled
        if isinstance(self.raised, NextAttempt) and self.job.attempt >= self.job.max_attempts:
            self.raised = self.raised.error
        if isinstance(self.raised, NextAttempt):
            # The handler requested this attempt, so log its error as one line without traceback.
            self.log.add(LogLevel.WARN, str(self.raised))
        elif self.raised is not None and not isinstance(
            self.raised, JobCancelled | JobInterrupted | RetryLater | Suspended | expected
        ):
            self.log.add(LogLevel.ERROR, outcome.format_traceback(self.raised))
        decided = outcome.decide(
            self.job,
            stop=self.stopped_for,
            raised=self.raised,
            output=self.output,
            exceeded=self._exceeded,
            elapsed_ms=self.log.elapsed_ms,
            chance=chance,
            mask=self.mask,
            wait=None if self._calls is None else self._calls.wait,
            retries=self.handler.retries.with_delays(self._settings.retry),
        )
        self.end = None if decided is None else replace(decided, usage=self.usage)
        self.is_decided = True

    def forget_error(self) -> None:
        """Free the stack frames of a handler that raised; called once the end is written.

        An error's traceback refers back to this run, so only the garbage collector would free it, after other jobs.
        """
        self.raised = None

    def _invoke(self, logger: Any) -> Any:
        arguments = self.make_arguments(logger)
        if not self.handler.is_async:
            return None if self._has_expired() else self._as_json(self.handler.function(*arguments))
        with asyncio.Runner() as runner:
            return runner.run(self._await(arguments))

    def make_arguments(self, logger: Any) -> tuple[Any, ...]:
        """Return the handler's arguments; called in the context of the run. Raises an error for unusable settings
        or input.
        """
        if self._settings.fault is not None:
            raise self._settings.fault
        # The decimal context is an object that the copied context shares with this process.
        decimal.setcontext(decimal.getcontext().copy())
        env = Env(
            config=self._settings.config,
            secrets=self._settings.secrets,
            job=self.job,
            log=logger,
            report=self._report,
            is_cancelled=lambda: self.stopped_for is not None,
            calls=self._open_journal,
            traceparent=tracing.current(),
        )
        payload = self.job.input if self.handler.parse is None else self.handler.parse(self.job.input)
        return (payload, env) if self.handler.takes_env else (payload,)

    def all_tasks(self) -> Iterable[asyncio.Task[Any]]:
        """Return the tasks of an async handler: all tasks of its event loop."""
        return asyncio.all_tasks()

    def _open_journal(self) -> Calls:
        self._calls = self._make_calls(self)
        return self._calls

    async def _await(self, arguments: tuple[Any, ...]) -> Any:
        self._async_task = asyncio.current_task()
        if self.stopped_for is not None:
            raise asyncio.CancelledError
        if self._has_expired():
            return None
        try:
            output = await self.handler.function(*arguments)
        except BaseException as error:
            if self._calls is not None:
                self._calls.unawaited.explain(error)
            raise
        if self._calls is not None:
            self._calls.unawaited.refuse()
            # In a thread, because it may read outputs, and other runs may share the event loop.
            output = await asyncio.get_running_loop().run_in_executor(None, self._as_json, output)
        return output

    def _as_json(self, output: Any) -> Any:
        """Return an output with JSON in place of references to children and their outputs."""
        if self._calls is None:
            return output
        # An output that is nested too deep is refused later.
        with suppress(RecursionError):
            output = as_json(output)
        return output

    def _has_expired(self) -> bool:
        """Return True if the handler must no longer be entered."""
        self.is_expired = self.begins_before is not None and time.monotonic() >= self.begins_before
        return self.is_expired

    def _report(self, fraction: float, message: str) -> None:
        if self.log.is_repeating:
            return
        shown = message if self.mask is None else self.mask.text(message)
        self.progress_json = json.dumps({"fraction": fraction, "message": shown[:1000]})

    def _open(self) -> None:
        with self._lock:
            self._sigterm_action = _signal.getsignal(signal.SIGTERM)
            self._is_open = True
        if self.stopped_for is not None and not self.handler.is_async:
            raise self._interruption()

    def _close(self, block_signals: Callable[[], None]) -> None:
        self._is_open = False
        block_signals()
        # When this lock is free, a thread that was about to send the signal has sent it, and the signal is blocked.
        with self._lock:
            pass

    def stop(self, reason: Stop) -> None:
        """Stop the handler. Other threads may call it repeatedly; the first reason counts.

        The signal goes to the main thread, so that a SIGTERM handler installed by the job's handler also runs. Without
        such a handler, each call sends the signal until it has interrupted the job's handler: if a signal arrives just
        before a blocking call, CPython records it but the call does not end. With such a handler, the signal is sent
        once.
        """
        with self._lock:
            is_first = self.stopped_for is None
            self.stopped_for = self.stopped_for or reason
            if is_first or (not self._is_interrupted and _signal.getsignal(signal.SIGTERM) is self._sigterm_action):
                self._signal()

    @property
    def is_open(self) -> bool:
        """Return True while the handler runs and may be interrupted."""
        return self._is_open

    def stop_as_lost(self) -> None:
        """Stop the handler immediately, because the run has lost its job.

        Called by a signal handler in the main thread. Takes no lock, because the main thread may already hold it.
        """
        if self.stopped_for is None:
            self.stopped_for = Stop.LOST
        self.on_sigterm()

    def _signal(self) -> None:
        if self._is_open and self._main_thread.ident is not None:
            signal.pthread_kill(self._main_thread.ident, signal.SIGTERM)

    def on_sigterm(self) -> None:
        """Interrupt the handler if a stop was requested. Called by this process's SIGTERM handler in the main thread.

        Raises the `Interruption` in a sync handler and cancels the task of an async one. A SIGTERM without a stop, or a
        second one, has no effect.
        """
        if not self._is_open or self.stopped_for is None or self._is_interrupted:
            return
        if not self.handler.is_async:
            raise self._interruption()
        if self._async_task is not None:
            self._is_interrupted = True
            # A closed loop has no task to cancel.
            with suppress(RuntimeError):
                self._async_task.get_loop().call_soon_threadsafe(self._async_task.cancel)

    def _interruption(self) -> Interruption:
        assert self.stopped_for is not None
        self._is_interrupted = True
        return self.stopped_for.exception(self._exceeded)

    def mark_swallowed(self) -> None:
        """Record that Python dropped the interruption, because it was raised in a `__del__` or a similar place."""
        self._is_swallowed = True

    def interrupt_again_if_swallowed(self) -> None:
        """Interrupt the handler again if Python dropped the first interruption. Called by another thread."""
        if self._is_swallowed:
            with self._lock:
                self._is_swallowed = self._is_interrupted = False
                self._signal()
