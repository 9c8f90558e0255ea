"""One run: a claimed job, its handler's call, and its outcome."""

from __future__ import annotations

import asyncio
import decimal
import json
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from ava.domain.jobs.job import Job, LogLevel
from ava.domain.jobs.messages import task_id
from ava.domain.jobs.run_outcome import RunOutcome
from ava.domain.jobs.usage import RunUsage
from ava.handler.children import as_json
from ava.handler.env import Env, enter
from ava.handler.errors import JobCancelled, JobInterrupted, RetryLater, Suspended
from ava.handler.journal_calls import Calls
from ava.handler.registry import Handler
from ava.handler.retry_rules import NextAttempt
from ava.node import outcome
from ava.node.outcome import Stop
from ava.node.runs.job_log import JobLog
from ava.node.runs.run_settings import RunSettings
from ava.telemetry import tracing
from ava.telemetry.span import NOTHING, Span

#: Seconds between polls for lines to store.
LINES_SECONDS = 0.1


class Run(ABC):
    """The run of a job. The kinds of processes differ in how they enter and stop its handler."""

    def __init__(
        self,
        *,
        job: Job,
        handler: Handler,
        log: JobLog,
        settings: RunSettings,
        claim_id: str | None = None,
        claim_sent_ns: int | None = None,
        span: Span = NOTHING,
        calls: Callable[[Run], Calls],
    ) -> None:
        """`calls` creates the interface through which the handler uses the journal."""
        self.job = job
        #: Part of the fencing token of every write.
        self.claim_id = claim_id
        #: When the claim was sent, in Unix nanoseconds.
        self.claim_sent_ns = time.time_ns() if claim_sent_ns is None else claim_sent_ns
        #: The run's span in the trace: from the claim until the end is written.
        self.span = span
        self.handler = handler
        self.log = log
        self.task_id = task_id(job.run)
        self.stopped_for: Stop | None = None
        self.output: Any = None
        self.raised: BaseException | None = None
        #: Whether the handler has ended and `end` is decided.
        self.is_decided = False
        #: The outcome to write; None if the job returns to the queue, or if the run has lost it.
        self.end: RunOutcome | None = None
        #: Start of the handler in the database's time, if the run shares its claim.
        self.began_at: datetime | None = None
        #: The handler must be entered before this monotonic time.
        self.begins_before: float | None = None
        #: Whether the job had expired before the handler was entered.
        self.is_expired = False
        #: Whether the handler was entered: set right before its call, so that CPython switches to another thread only
        #: after that. A thread of this process that reads True thus knows that the handler's frame exists.
        self.is_entered = False
        #: The handler's last progress report, as a JSON string; None once it is stored.
        self.progress_json: str | None = None
        self._settings = settings
        self.mask = settings.mask
        #: When its handler was about to begin, in Unix nanoseconds.
        self.began_ns = time.time_ns()
        self._lock = threading.Lock()
        self._async_task: asyncio.Task[Any] | None = None
        self.timeout_seconds = min(handler.spec.timeout_seconds, settings.timeout_seconds or math.inf)
        #: 0: unlimited.
        self.max_memory_mb = settings.max_memory_mb
        #: See `NewRuns`.
        self.measured_peak: Callable[[int], int | None] = lambda _began_ns: None
        #: Processor time in microseconds of the handler; None if it shares its process.
        self.cpu_us: int | None = None
        self._make_calls = calls
        #: The handler's journal interface; None until first use.
        self._calls: Calls | None = None

    @abstractmethod
    def stop(self, reason: Stop) -> None:
        """Stop the handler. Any thread may call it repeatedly; the first reason counts."""

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Return True while the handler runs and may be interrupted."""

    def stop_as_lost(self) -> None:
        """Stop the handler immediately, because the run has lost its job."""
        self.stop(Stop.LOST)

    @property
    def peak_bytes(self) -> int | None:
        """Return the peak memory in bytes, if the node has measured it."""
        return self.measured_peak(self.began_ns)

    @property
    def usage(self) -> RunUsage:
        return RunUsage(cpu_us=self.cpu_us, peak_memory_mb=outcome.in_mb(self.peak_bytes))

    @property
    def _exceeded(self) -> str:
        return outcome.exceeded_message(
            self.stopped_for or Stop.TIMEOUT,
            timeout_seconds=self.timeout_seconds,
            max_memory_mb=self.max_memory_mb,
            peak_bytes=self.peak_bytes,
        )

    @property
    def has_lines(self) -> bool:
        """Return True if lines or a progress report must be stored.

        Those of a run that has just begun wait, because a short run stores them with its end.
        """
        is_empty = self.log.is_empty and self.progress_json is None
        return not is_empty and self.log.elapsed_ms >= 1000 * LINES_SECONDS

    def decide_end(self, *, draw: float) -> None:
        """Decide the run's outcome, and log the traceback of the handler's exception.

        `draw` (0 to 1) is the random number for the retry's jitter.
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
            # The handler requested this attempt, so log its error without traceback.
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
            draw=draw,
            mask=self.mask,
            wait=None if self._calls is None else self._calls.wait,
            retries=self.handler.retries.with_delays(self._settings.retry),
        )
        self.end = None if decided is None else replace(decided, usage=self.usage)
        self.is_decided = True

    def forget_error(self) -> None:
        """Free the stack frames of a handler that raised; called once the end is written.

        A traceback refers back to this run, so only the garbage collector would free it, after other jobs.
        """
        self.raised = None

    def make_arguments(self, logger: Any) -> tuple[Any, ...]:
        """Return the handler's arguments, in the context of the run. Raises an error for unusable settings or input."""
        if self._settings.fault is not None:
            raise self._settings.fault
        # The copied context shares the decimal context, an object, with this process.
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
        enter(env)
        payload = self.job.input if self.handler.parse is None else self.handler.parse(self.job.input)
        return (payload, env) if self.handler.takes_env else (payload,)

    def all_tasks(self) -> Iterable[asyncio.Task[Any]]:
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
            self.is_entered = True
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
        self.is_expired = self.begins_before is not None and time.monotonic() >= self.begins_before
        return self.is_expired

    def _report(self, fraction: float, message: str) -> None:
        if self.log.is_repeating:
            return
        shown = message if self.mask is None else self.mask.string(message)
        self.progress_json = json.dumps({"fraction": fraction, "message": shown[:1000]})
