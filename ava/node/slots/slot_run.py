"""A run in a slot: its handler is a task of the event loop, and a stop cancels that task."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from weakref import WeakSet

from ava.domain.jobs.job import LogLevel, RunKey
from ava.node.outcome import Stop
from ava.node.parent.deadlines import MARGIN_SECONDS, RunState
from ava.node.run_board import Phase
from ava.node.runs import breakpoints, run_reports
from ava.node.runs.job_log import LineWriter
from ava.node.runs.run import Run
from ava.telemetry import tracing


class SlotRun(Run):
    """A run that shares its process. The loop's thread begins and ends it; any thread may stop it."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.began_at = self.job.started_at
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        #: Raises `TooManyWaiting` if the job may not wait; None if it does not wait.
        self.admit_wait: Callable[[], None] | None = None
        #: Locked while lines are stored, so that none is stored after the end of its run.
        self.storing = threading.Lock()
        #: Whether its end is written, or about to be; and whether it is.
        self.is_ending = self.is_end_written = False
        #: Its output streams, created on first use.
        self._streams: dict[LogLevel, LineWriter] = {}
        # Waiting in the loop would block all runs.
        self.log.may_wait = False
        #: The loop's thread sets the phase and its start, another one the rest of the state.
        self._phase, self._since = Phase.CLAIMING, time.monotonic()
        # The timeout is checked at most one tick late, so it needs no margin.
        self._state = RunState(
            timeout_seconds=self.timeout_seconds - MARGIN_SECONDS,
            grace_seconds=self.handler.spec.cancel_grace_seconds,
            phase=self._phase,
            since=self._since,
        )
        #: Seconds that the loop was blocked during this run, and the part that this run caused.
        self.stalled_seconds = self.own_stall_seconds = 0.0

    @property
    def is_open(self) -> bool:
        return self._phase is Phase.RUNNING

    @property
    def key(self) -> RunKey:
        return self.job.run

    @property
    def lost_seconds(self) -> float:
        """Return the seconds that other runs blocked this one."""
        return self.stalled_seconds - self.own_stall_seconds

    @property
    def state(self) -> RunState:
        return replace(self._state, phase=self._phase, since=self._since)

    @state.setter
    def state(self, state: RunState) -> None:
        self._state = state

    def is_punctual(self, clock: float) -> bool:
        """Return True if there is nothing to decide by the clock of this run. Faster than a decision."""
        return (
            self._state.stop is None and self._phase is not Phase.ENDING and clock < self._since + self.timeout_seconds
        )

    def _enter_phase(self, phase: Phase) -> None:
        self._phase, self._since = phase, time.monotonic() - self.lost_seconds

    def all_tasks(self) -> Iterable[asyncio.Task[Any]]:
        return list(self.tasks)

    async def call_in_loop(self) -> None:
        """Call the handler and store its return value or exception. Called in a separate task and context."""
        self._enter_phase(Phase.RUNNING)
        with tracing.start_span("handler", parent=self.span) as at:
            try:
                self._async_task = asyncio.current_task()
                try:
                    self.output = await self._await(self.make_arguments(logging.getLogger("ava.job")))
                finally:
                    await self._end_tasks()
            except BaseException as error:
                self.raised = breakpoints.explained(error)
                assert self.raised is not None
                at.record_failure(run_reports.kind_of(self, self.raised))
            finally:
                # From here on, a stop has no effect.
                self._async_task = None
        self._enter_phase(Phase.ENDING)
        # Before the traceback. Receivers of Celery's signals may print until the log is closed.
        self.end_lines()

    def stream(self, level: LogLevel) -> LineWriter:
        """Return the stream that writes lines of a level to the log of this run. Thread-safe."""
        if (stream := self._streams.get(level)) is None:
            stream = LineWriter(level)
            stream.begin(self.log)
            # No lock, because a signal handler may stop this run. Another thread may have been faster.
            stream = self._streams.setdefault(level, stream)
        return stream

    def end_lines(self) -> None:
        # A copy, because a thread may concurrently print for the first time.
        for stream in [*self._streams.values()]:
            stream.close()

    async def _end_tasks(self) -> None:
        """Cancel the tasks that the handler left running, and wait until they end, as `asyncio.run` does."""
        current = asyncio.current_task()
        while left := [task for task in self.tasks if task is not current and not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def stop(self, reason: Stop) -> None:
        """Stop the handler by cancelling its task. Any thread may call it repeatedly; the first reason counts."""
        with self._lock:
            if self.stopped_for is not None:
                return
            self.stopped_for = reason
        # A closed loop has no task.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._async_task is not None:
            self._async_task.cancel()
