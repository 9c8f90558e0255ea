"""Which run a piece of code belongs to in a slot process: the context variable, and what looks it up.

Tasks and `asyncio.to_thread` copy the context of the code that starts them. So what they print, log or warn of goes to
the log of their run. Code without a run writes where this process writes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, TextIO

from ava.domain.jobs.job import LogLevel
from ava.node.child.job_log import StandardStream

if TYPE_CHECKING:
    from ava.node.slots.slot_run import SlotRun

__all__ = ["CURRENT", "install", "run_of_task", "task_factory"]

#: The run of the code that reads it; None: none.
CURRENT: ContextVar[SlotRun | None] = ContextVar("ava_slot_run", default=None)

#: The attribute of a task that holds its run.
_RUN = "_ava_run"


def install() -> None:
    """Send what runs print, log or warn of to their logs, in this process from now on."""
    sys.stdout, sys.stderr = _ContextStream(LogLevel.INFO, sys.stdout), _ContextStream(LogLevel.WARN, sys.stderr)
    level = logging.root.level
    others = list(logging.root.handlers)
    logging.root.handlers = [_ContextCapture(others, level)]
    # Runs log from INFO on, whatever the level of this process is.
    logging.root.setLevel(min(level, logging.INFO))
    warnings.simplefilter("default")
    warnings.showwarning = _show_warning


def task_factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Returns a task that is known to its run."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    context: Context | None = options.get("context")
    run = CURRENT.get() if context is None else context.get(CURRENT)
    if run is not None:
        setattr(task, _RUN, run)
        run.tasks.add(task)
    return task


def run_of_task(task: asyncio.Task[Any] | None) -> SlotRun | None:
    """Returns the run of a task; None if it has none."""
    return getattr(task, _RUN, None)


class _ContextCapture(logging.Handler):
    """Writes a record to the log of its run, or to the handlers of this process if it has none."""

    def __init__(self, others: Sequence[logging.Handler], level: int) -> None:
        super().__init__()
        self._others = others
        self._process_level = level

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record, without this handler's lock: what it writes to has locks of its own."""
        if (run := CURRENT.get()) is not None:
            run.capture.emit(record)
        elif record.levelno >= self._process_level:
            for other in self._others:
                if record.levelno >= other.level:
                    other.handle(record)
        return True


class _ContextStream(StandardStream):
    """`sys.stdout` or `sys.stderr`: text goes to the run of the code that writes it."""

    def __init__(self, level: LogLevel, other: TextIO) -> None:
        super().__init__(level)
        self._other = other

    @property
    def _target(self) -> Any:
        run = CURRENT.get()
        return self._other if run is None else run.streams[self._level]

    @property
    def buffer(self) -> Any:
        """Returns the stream of bytes beside it."""
        return self._target.buffer

    def write(self, text: str) -> int:
        written: int = self._target.write(text)
        return written

    def flush(self) -> None:
        if CURRENT.get() is None:
            self._other.flush()

    def close(self) -> None:
        """Stay open, because other runs print."""


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    run = CURRENT.get()
    if file is None and run is not None:
        run.log.add(LogLevel.WARN, f"{category.__name__}: {message} ({os.path.basename(filename)}:{lineno})")
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))
