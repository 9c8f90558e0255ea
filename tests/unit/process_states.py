"""The state of this process as a child restores it, for tests."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from ava.domain.jobs.job import LogLevel
from ava.node.child.process_state import ProcessState
from ava.node.runs.job_log import JobLog

NewState = Callable[[], ProcessState]


@contextmanager
def process_state(needed_descriptors: Sequence[int] = ()) -> Iterator[ProcessState]:
    """The state of this process; what it changes for the life of a child is undone at the end."""
    loop_class = asyncio.SelectorEventLoop
    remove, start = loop_class.remove_signal_handler, threading.Thread.start
    callbacks = list(gc.callbacks)
    loggers = [logging.root, logging.getLogger("ava"), logging.getLogger("ava.job")]
    levels = [(it, it.level) for it in (*loggers, *logging.root.handlers)]
    state = ProcessState(needed_descriptors)
    try:
        yield state
    finally:
        setattr(loop_class, "remove_signal_handler", remove)  # noqa: B010 - mypy takes no method
        setattr(threading.Thread, "start", start)  # noqa: B010 - likewise
        delattr(logging.Logger, "__setattr__")
        gc.callbacks[:] = callbacks
        for number in state._descriptors:
            os.close(number)
        for changed, level in levels:
            changed.setLevel(level)


def run(state: ProcessState, handler: Callable[[], object]) -> list[tuple[LogLevel, str]]:
    """Call a handler as a child does. Returns the lines of its job's log."""
    log = JobLog(first_seq=0, started_at=datetime(2025, 6, 1, tzinfo=UTC))
    with state.isolated(log):
        handler()
        list(state.timer_stops())
        state.block_signals()
    return [(line.level, line.msg) for line in log.take()]
