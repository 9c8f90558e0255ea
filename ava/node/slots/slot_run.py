"""A run in a slot: its handler is a task of the event loop, and a stop cancels that task."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from ava.domain.jobs.job import LogLevel, RunKey
from ava.node.child import breakpoints, run_reports
from ava.node.child.job_log import LineWriter
from ava.node.child.run import Run
from ava.node.outcome import Stop
from ava.node.parent.deadlines import MARGIN_SECONDS, RunState
from ava.node.run_board import Phase
from ava.telemetry import tracing


class SlotRun(Run):
    """A run that shares its process. The loop's thread begins and ends it; any thread may stop it."""

    #: The event loop of this process.
    loop: asyncio.AbstractEventLoop

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        #: The tasks that its code has started.
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        #: Raises `TooManyWaiting` if the job may not wait; None if it does not wait.
        self.admit_wait: Callable[[], None] | None = None
        #: Held while lines are stored, so that no line is stored after the end of its run.
        self.storing = threading.Lock()
        #: Whether its end is written, or about to be; and whether it is.
        self.is_ending = self.is_end_written = False
        #: What it prints to, made when it prints first.
        self._streams: dict[LogLevel, LineWriter] = {}
        # A wait in the loop would stop all runs.
        self.log.may_wait = False
        #: What the run monitor knows of it. The time-out is checked at most a tick late, so it needs no margin.
        self.state = RunState(
            timeout_seconds=self.timeout_seconds - MARGIN_SECONDS,
            grace_seconds=self.handler.spec.cancel_grace_seconds,
            phase=Phase.CLAIMING,
            since=time.monotonic(),
        )
        self.phase, self.since = Phase.CLAIMING, self.state.since
        #: Seconds during its life for which the loop stood still, and those of them that it has caused.
        self.stalled_seconds = self.own_stall_seconds = 0.0

    @property
    def key(self) -> RunKey:
        """Returns the run as the store knows it."""
        return self.job.run

    @property
    def lost_seconds(self) -> float:
        """Returns the seconds that other runs have taken from it."""
        return self.stalled_seconds - self.own_stall_seconds

    @property
    def overdue_at(self) -> float:
        """Returns when its time is over, by the clock of the run."""
        return self.since + self.timeout_seconds

    def enter_phase(self, phase: Phase) -> None:
        """Note how far it is."""
        self.phase, self.since = phase, time.monotonic() - self.lost_seconds

    def all_tasks(self) -> Iterable[asyncio.Task[Any]]:
        """Returns the tasks of this run."""
        return list(self.tasks)

    async def call_in_loop(self) -> None:
        """Call the handler and keep what it returns or raises; called in a task and a context of its own."""
        self.enter_phase(Phase.RUNNING)
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
                # No stop reaches what follows.
                self._async_task = None
        self.enter_phase(Phase.ENDING)
        # Before the traceback. Receivers of Celery's signals may print until the log is closed.
        self.end_lines()

    def stream(self, level: LogLevel) -> LineWriter:
        """Returns the stream whose lines go to the log of this run with a level; any thread calls it."""
        with self._lock:
            if (stream := self._streams.get(level)) is None:
                stream = self._streams[level] = LineWriter(level)
                stream.begin(self.log)
            return stream

    def end_lines(self) -> None:
        """Write what was printed without the end of its line."""
        # A copy, because a thread may print first now.
        for stream in [*self._streams.values()]:
            stream.close()

    async def _end_tasks(self) -> None:
        """Cancel the tasks that the handler has left, and wait for their ends, as `asyncio.run` does."""
        current = asyncio.current_task()
        while left := [task for task in self.tasks if task is not current and not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def stop(self, reason: Stop) -> None:
        """Stop the handler: cancel its task, once. Any thread calls it any number of times; the first reason counts."""
        with self._lock:
            if self.stopped_for is not None:
                return
            self.stopped_for = reason
        # A loop that is closed has no task to cancel.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._async_task is not None:
            self._async_task.cancel()
