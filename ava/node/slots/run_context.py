"""The context variable that identifies the run of a piece of code in a slot process.

Tasks and `asyncio.to_thread` copy the context of the code that starts them, so their output, log records and warnings
go to the log of their run. Code outside a run writes to the process's original streams.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, TextIO

from ava.domain.jobs.job import LogLevel
from ava.node.runs.job_log import StandardStream
from ava.node.runs.log_capture import JobLogger, LogCapture, log_runs_from_info, make_showwarning

if TYPE_CHECKING:
    from ava.node.slots.slot_run import SlotRun

CURRENT: ContextVar[SlotRun | None] = ContextVar("ava_slot_run", default=None)

_RUN = "_ava_run"


def install() -> None:
    """From now on, send output, log records and warnings of runs in this process to their logs."""
    sys.stdout, sys.stderr = _ContextStream(LogLevel.INFO, sys.stdout), _ContextStream(LogLevel.WARN, sys.stderr)
    others = list(logging.root.handlers)
    log_runs_from_info(others)
    capture = JobLogger.get().capture = LogCapture(_ContextLog(), _is_outside, others)
    logging.root.handlers = [capture]
    warnings.simplefilter("default")
    warnings.showwarning = make_showwarning(_ContextLog(), _is_outside)


def task_factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    context: Context | None = options.get("context")
    run = CURRENT.get() if context is None else context.get(CURRENT)
    if run is not None:
        setattr(task, _RUN, run)
        run.tasks.add(task)
    return task


def run_of_task(task: asyncio.Task[Any] | None) -> SlotRun | None:
    return getattr(task, _RUN, None)


def _is_outside() -> bool:
    return CURRENT.get() is None


class _ContextLog:
    def add(self, level: LogLevel, message: str) -> None:
        if (run := CURRENT.get()) is not None:
            run.log.add(level, message)


class _ContextStream(StandardStream):
    """`sys.stdout` or `sys.stderr`: output goes to the run of the code that writes it."""

    def __init__(self, level: LogLevel, other: TextIO) -> None:
        super().__init__(level)
        self._other = other

    @property
    def _target(self) -> Any:
        run = CURRENT.get()
        return self._other if run is None else run.stream(self._level)

    @property
    def buffer(self) -> Any:
        return self._target.buffer

    def write(self, string: str) -> int:
        written: int = self._target.write(string)
        return written

    def flush(self) -> None:
        if CURRENT.get() is None:
            self._other.flush()

    def close(self) -> None:
        """Stay open, because other runs print."""
