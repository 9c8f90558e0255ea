"""What a handler finds around it, and what is put right after it: streams, logging, warnings, signals, folders."""

from __future__ import annotations

# The module below `signal`, which makes an object of each number, and of all numbers of a mask, at every call; here
# that would take longer than a small job.
import _signal  # type: ignore[import-not-found]
import asyncio
import logging
import operator
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from ava.domain.job import LogLevel
from ava.node.child.job_log import JobLog, LineWriter, LogCapture

__all__ = ["WAITING_SIGNALS", "ProcessState", "foreign_threads"]

#: The signals that can wait; those that tell of a fault cannot.
WAITING_SIGNALS = signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}

#: The signals whose handling a handler may change; SIGKILL and SIGSTOP cannot be, and faults are not ours.
_SIGNALS = sorted(
    signal.valid_signals()
    - {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
)
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
#: More than there are signals, each of which may raise once.
_MOST_TRIES = 200


class ProcessState:
    """The state of this process before any handler has run, to which it returns after each."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        #: What it is kept in, which is compared in no time, where the mapping itself decodes every name and value.
        self._raw_environment = dict(os.environ._data)  # type: ignore[attr-defined]
        self._folder = os.getcwd()
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._writers = (LineWriter(LogLevel.INFO, sys.stdout), LineWriter(LogLevel.WARN, sys.stderr))
        #: What handlers have left in place of these; a thread that a handler left may be printing to it.
        self._left_streams: tuple[Any, ...] = ()
        self._descriptors = [os.dup(number) for number in range(3)]
        # One whose action is not Python's cannot be put back, but by then nobody of ours has changed it either.
        self._signals = {number: action for number in _SIGNALS if (action := _signal.getsignal(number)) is not None}
        self._hooks = (sys.excepthook, sys.unraisablehook, threading.excepthook)
        self._root_handlers = list(logging.root.handlers)
        self._root_level = _let_runs_log(self._root_handlers)
        self._disabled_level = logging.root.manager.disable
        self._loggers = [it for it in logging.root.manager.loggerDict.values() if isinstance(it, logging.Logger)]
        self._job_logger = logging.getLogger("ava.job")
        if self._job_logger not in self._loggers:
            self._loggers.append(self._job_logger)
        # The lists are copied, for loggers change theirs in place.
        self._logging = [(*own, list(handlers), list(filters)) for *own, handlers, filters in _traits(self._loggers)]
        self._keep_sigterm_from_asyncio()

    def _keep_sigterm_from_asyncio(self) -> None:
        # A loop that had a handler for SIGTERM leaves the system's default behind, by which the next one is the end.
        own, remove = self._signals[signal.SIGTERM], asyncio.SelectorEventLoop.remove_signal_handler

        def remove_signal_handler(loop: asyncio.SelectorEventLoop, sig: int) -> bool:
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {sig})
            try:
                is_removed = remove(loop, sig)
                if is_removed and sig == signal.SIGTERM:
                    signal.signal(sig, own)
                return is_removed
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        setattr(asyncio.SelectorEventLoop, remove.__name__, remove_signal_handler)

    @contextmanager
    def of_run(self, log: JobLog) -> Iterator[logging.Logger]:
        """Surround one handler: what it prints, logs or warns of goes to its job's log. Yields its logger.

        It must leave with its signals calmed (`block_signals`), so that none comes in between.
        """
        # Threads that an earlier handler left behind may go on, but not in this job's log.
        foreign = foreign_threads()
        for writer in self._writers:
            writer.begin(log, foreign)
        logging.root.handlers = [LogCapture(log, foreign, self._root_handlers)]
        _set_level(logging.INFO)
        sys.stdout, sys.stderr = self._writers
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                warnings.showwarning = _show_warning(log)
                yield self._job_logger
        finally:
            for writer in self._writers:
                writer.end()
            self._restore()

    def block_signals(self) -> None:
        """Have no signal interrupt this thread any more, and replace the handlers that a job's handler set up for them.

        Blocking them is not enough: one that is for the whole process comes by a thread that the job's handler has
        left. What those signal handlers raise meanwhile is dropped; each try leaves fewer that could.
        """
        for _ in range(_MOST_TRIES):
            try:
                _signal.pthread_sigmask(signal.SIG_BLOCK, WAITING_SIGNALS)
                self._restore_signals()
            except BaseException:  # noqa: S112 - it has nowhere to go
                continue
            return

    def _restore_signals(self) -> None:
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        for number, action in self._signals.items():
            if _signal.getsignal(number) is not action:
                # Ignored for a moment: that drops one which is still due, such as the alarm of a timer.
                signal.signal(number, signal.SIG_IGN)
                signal.signal(number, action)

    def _restore(self) -> None:
        self._restore_python()
        self._restore_process()
        # Last: now there is nobody left to hear a signal but ourselves.
        signal.set_wakeup_fd(-1)
        _signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _restore_python(self) -> None:
        self._left_streams = (sys.stdin, sys.stdout, sys.stderr)
        sys.stdin, sys.stdout, sys.stderr = self._streams
        sys.excepthook, sys.unraisablehook, threading.excepthook = self._hooks
        logging.root.handlers = list(self._root_handlers)
        _set_level(self._root_level)
        if logging.root.manager.disable != self._disabled_level:
            logging.disable(self._disabled_level)
        if _traits(self._loggers) != self._logging:
            for logger, traits in zip(self._loggers, self._logging, strict=True):
                _restore_logger(logger, traits)

    def _restore_process(self) -> None:
        if os.environ._data != self._raw_environment:  # type: ignore[attr-defined]
            os.environ.clear()
            os.environ.update(self._environment)
        with suppress(OSError):
            os.chdir(self._folder)
        os.umask(self._umask)
        for number, kept in enumerate(self._descriptors):
            if not _is_same_file(number, kept):
                os.dup2(kept, number)


def foreign_threads() -> frozenset[threading.Thread]:
    """The threads of this process beside the main one."""
    return frozenset(threading.enumerate()) - {threading.main_thread()}


def _let_runs_log(ours: list[logging.Handler]) -> int:
    """Have every run log from INFO on with no change of level around it; returns the root's level.

    A change has every logger forget what it knew, which takes as long as a small handler. What is our own is sieved as
    before: at our loggers, and at `ours`, the root's handlers.
    """
    level = logging.root.level
    if level > logging.INFO:
        for handler in ours:
            handler.setLevel(max(handler.level, level))
        logging.getLogger("ava").setLevel(level)
        logging.getLogger("ava.job").setLevel(logging.INFO)
        logging.root.setLevel(logging.INFO)
    return logging.root.level


_get_traits = operator.attrgetter("level", "disabled", "propagate", "handlers", "filters")


def _traits(loggers: list[logging.Logger]) -> list[tuple[Any, ...]]:
    return list(map(_get_traits, loggers))


def _restore_logger(logger: logging.Logger, traits: tuple[Any, ...]) -> None:
    level, logger.disabled, logger.propagate, handlers, filters = traits
    if logger.level != level:
        logger.setLevel(level)
    logger.handlers, logger.filters = list(handlers), list(filters)


def _set_level(level: int) -> None:
    # Setting a level makes every logger forget what it knew, so not without need.
    if logging.root.level != level:
        logging.root.setLevel(level)


def _is_same_file(one: int, other: int) -> bool:
    try:
        return os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:
        return False


def _show_warning(log: JobLog) -> Any:
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if file is not None:
            file.write(warnings.formatwarning(message, category, filename, lineno, line))
        else:
            log.add(LogLevel.WARN, f"{category.__name__}: {message} ({os.path.basename(filename)}:{lineno})")

    return show
