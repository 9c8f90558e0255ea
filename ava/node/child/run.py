"""One run: a claimed job, its handler, and the one stretch of it that may be interrupted."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ava import tracing
from ava.domain.job import Job, LogLevel, RunEnd
from ava.domain.messages import task_id
from ava.handler.env import Env
from ava.handler.errors import Interruption, JobCancelled, JobInterrupted
from ava.handler.registry import Handler
from ava.node import outcome
from ava.node.child.job_log import JobLog
from ava.node.outcome import Stop

__all__ = ["Run"]


class Run:
    """What a child process holds of the job that it runs.

    Only between `_open` and `_close` may the handler be interrupted, and only by someone who names this very run. Both
    ends and `stop` take the same lock, so a SIGTERM can neither come early nor late, nor reach the next run.
    """

    def __init__(
        self,
        *,
        job: Job,
        handler: Handler,
        log: JobLog,
        config: Mapping[str, str],
        main_thread: threading.Thread,
        span: tracing.Span = tracing.NOTHING,
    ) -> None:
        self.job = job
        #: Its part of a trace, from before the claim until its end is written.
        self.span = span
        self.handler = handler
        self.log = log
        self.task_id = task_id(job.id, job.run_no)
        self.stopped_for: Stop | None = None
        #: What the handler returned, and what it raised.
        self.output: Any = None
        self.raised: BaseException | None = None
        #: Whether the handler is done and it is decided what is written as its end.
        self.is_decided = False
        #: What is written; None until then, and if the job goes back to the queue or the run has lost it.
        self.end: RunEnd | None = None
        #: What the handler last said of its progress, as JSON text, until it is stored.
        self.progress_json: str | None = None
        self._config = config
        self._main_thread = main_thread
        self._lock = threading.Lock()
        self._is_open = False
        self._is_interrupted = self._is_swallowed = False
        self._async_task: asyncio.Task[Any] | None = None
        self._deadline = time.monotonic() + handler.spec.timeout_seconds

    @property
    def is_overdue(self) -> bool:
        """Whether the handler's time is over."""
        return time.monotonic() >= self._deadline

    def call(self, logger: Any, block_signals: Callable[[], None]) -> None:
        """Run the handler and keep what it returns or raises; interruptions are among the latter.

        `block_signals` has no signal interrupt this thread any more; see `ProcessState.block_signals`.
        """
        try:
            try:
                self._open()
                self.output = self._invoke(logger)
            finally:
                # Twice, for a signal's handler may raise between the handler's last line and the first.
                try:
                    self._close(block_signals)
                finally:
                    self._close(block_signals)
        except BaseException as error:
            self.raised = error

    def decide_end(self, *, chance: float) -> None:
        """Decide what is written as this run's end, and log the traceback of what the handler raised.

        `chance` (0 to 1) spreads the back-off of a retry.
        """
        if self.raised is not None and not isinstance(self.raised, self._expected_errors):
            self.log.add(LogLevel.ERROR, outcome.format_traceback(self.raised))
        self.end = outcome.decide(
            self.job,
            stop=self.stopped_for,
            raised=self.raised,
            output=self.output,
            timeout_seconds=self.handler.spec.timeout_seconds,
            elapsed_ms=self.log.elapsed_ms,
            chance=chance,
        )
        self.is_decided = True

    @property
    def _expected_errors(self) -> tuple[type[BaseException], ...]:
        # An async handler that was asked to stop raises CancelledError.
        if self.stopped_for is None:
            return JobCancelled, JobInterrupted
        return JobCancelled, JobInterrupted, asyncio.CancelledError

    def _invoke(self, logger: Any) -> Any:
        env = Env(
            config=self._config,
            job=self.job,
            log=logger,
            report=self._report,
            is_cancelled=lambda: self.stopped_for is not None,
            traceparent=tracing.current(),
        )
        arguments = (self.job.input, env) if self.handler.takes_env else (self.job.input,)
        if not self.handler.is_async:
            return self.handler.function(*arguments)
        with asyncio.Runner() as runner:
            return runner.run(self._await(arguments))

    async def _await(self, arguments: tuple[Any, ...]) -> Any:
        self._async_task = asyncio.current_task()
        if self.stopped_for is not None:
            raise asyncio.CancelledError
        return await self.handler.function(*arguments)

    def _report(self, fraction: float, message: str) -> None:
        self.progress_json = json.dumps({"fraction": fraction, "message": message[:1000]})

    def _open(self) -> None:
        with self._lock:
            self._is_open = True
        if self.stopped_for is not None and not self.handler.is_async:
            raise self._interruption()

    def _close(self, block_signals: Callable[[], None]) -> None:
        self._is_open = False
        block_signals()
        # Whoever was about to send a signal has sent it now, and it waits.
        with self._lock:
            pass

    def stop(self, reason: Stop) -> None:
        """Have the handler let go: called by another thread of this process, any number of times; the first counts.

        The signal goes to the main thread, so that a handler's own SIGTERM handler hears it as well.
        """
        with self._lock:
            if self.stopped_for is None:
                self.stopped_for = reason
                self._signal()

    @property
    def is_open(self) -> bool:
        """Whether the handler runs and may be interrupted."""
        return self._is_open

    def lose(self) -> None:
        """Have the handler let go at once, for the run has lost its right.

        For a signal's handler in the main thread, which may hold the lock: none is taken.
        """
        if self.stopped_for is None:
            self.stopped_for = Stop.LOST
        self.on_sigterm()

    def _signal(self) -> None:
        if self._is_open and self._main_thread.ident is not None:
            signal.pthread_kill(self._main_thread.ident, signal.SIGTERM)

    def on_sigterm(self) -> None:
        """What this process's SIGTERM handler does while this run is its run; in the main thread.

        Raises the `Interruption` where the handler is to be interrupted now; a SIGTERM that nobody of ours sent, or one
        that comes again, does nothing.
        """
        if not self._is_open or self.stopped_for is None or self._is_interrupted:
            return
        if not self.handler.is_async:
            raise self._interruption()
        if self._async_task is not None:
            self._is_interrupted = True
            # A loop that is closed already has nothing to interrupt.
            with suppress(RuntimeError):
                self._async_task.get_loop().call_soon_threadsafe(self._async_task.cancel)

    def _interruption(self) -> Interruption:
        assert self.stopped_for is not None
        self._is_interrupted = True
        return self.stopped_for.exception(self.handler.spec.timeout_seconds)

    def on_swallowed(self) -> None:
        """The interruption came up where Python lets nothing be raised, such as in a `__del__`."""
        self._is_swallowed = True

    def repeat(self) -> None:
        """Interrupt the handler once more if the first time was swallowed; called by another thread."""
        if self._is_swallowed:
            with self._lock:
                self._is_swallowed = self._is_interrupted = False
                self._signal()
