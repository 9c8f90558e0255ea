"""The process state that a handler may change, restored after each run.

So nothing of one run reaches the next (docs/reference/handlers.md), without a process per run.
"""

from __future__ import annotations

# `signal` converts each number and mask to enum members, which takes longer than a small job.
import _signal  # type: ignore[import-not-found]
import asyncio
import gc
import itertools
import logging
import operator
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from ava.domain.jobs.job import LogLevel
from ava.node.child import run_threads
from ava.node.child.logging_state import LoggingState
from ava.node.child.process_traits import ProcessTraits
from ava.node.process_tree import BLOCKABLE_SIGNALS
from ava.node.runs.job_log import JobLog, LineWriter
from ava.node.runs.log_capture import make_showwarning

#: Signals with a restorable action.
_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
#: More than the number of signals, because each one's handler may raise once.
_MAX_BLOCK_TRIES = 200


class ProcessState:
    def __init__(self, needed_descriptors: Iterable[int] = ()) -> None:
        """`needed_descriptors`: this process cannot continue if a handler closes one."""
        self._environ, self._environ_bytes = os.environ, os.environb
        self._environment = dict(os.environ)
        #: Faster to compare than the mapping, which decodes every name and value.
        self._raw_environment = dict(os.environ._data)  # type: ignore[attr-defined]
        self._working_directory = os.getcwd()
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._writers = (LineWriter(LogLevel.INFO, sys.stdout), LineWriter(LogLevel.WARN, sys.stderr))
        self._writer_names = vars(self._writers[0]).keys() | ()
        #: The streams that the last handler set; copy alive, because a thread left behind may be printing to them.
        self._replaced_streams: tuple[Any, ...] = ()
        self._descriptors = [os.dup(number) for number in range(3)]
        #: The file that each descriptor must refer to.
        self._stream_files = [_file(number) for number in range(3)]
        self._needed_files = [(number, _file(number)) for number in needed_descriptors]
        # None: an action that was not set from Python and cannot be restored from Python.
        self._signals = {number: action for number in _SIGNALS if (action := _signal.getsignal(number)) is not None}
        self._signal_numbers, self._signal_actions = tuple(self._signals), tuple(self._signals.values())
        #: `get_event_loop_policy` would create one, and Python 3.14 warns about it.
        self._loop_policy = asyncio.events._event_loop_policy  # type: ignore[attr-defined]
        #: Handler modules may have created the policy on import; it then stores the current loop.
        self._policy_loop = getattr(self._loop_policy, "_local", None)
        self._loop = _loop_of(self._policy_loop)
        self._hooks = (sys.excepthook, sys.unraisablehook, sys.breakpointhook, threading.excepthook)
        self._other_hooks = (sys.displayhook, warnings.formatwarning)
        self._logging = LoggingState()
        self._traits = ProcessTraits()
        self._patch_asyncio_to_restore_sigterm()
        run_threads.follow()
        self._collection_callbacks = list(gc.callbacks)

    def _patch_asyncio_to_restore_sigterm(self) -> None:
        # asyncio replaces a removed SIGTERM handler by the default action, and the next SIGTERM would end the process.
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
    def isolated(self, log: JobLog) -> Iterator[logging.Logger]:
        """Send a handler's prints, log records and warnings to its job's log, and restore the process afterwards.

        Yields the handler's logger. Before the exit, the caller must stop the timers and call `block_signals`, so that
        no signal interrupts the restoration. If it raises, no other handler may run in this process.
        """
        run_threads.begin(log)
        is_foreign = partial(run_threads.is_foreign, log)
        for writer in self._writers:
            writer.begin(log, is_foreign)
        logger = self._logging.begin(log, is_foreign)
        sys.stdout, sys.stderr = self._writers
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                warnings.showwarning = make_showwarning(log, is_foreign)
                yield logger
        finally:
            for writer in self._writers:
                writer.end()
            run_threads.end()
            self._logging.end()
            self._restore()

    @staticmethod
    def timer_stops() -> Iterator[object]:
        """Return an iterator that stops one timer per step; no signal handler runs between the steps."""
        return map(_signal.setitimer, _TIMERS, itertools.repeat(0))

    def block_signals(self) -> None:
        """Block all signals in this thread, and restore the actions that the job's handler changed.

        Blocking is not enough: a thread left by the handler can still receive a signal sent to the process. Errors that
        signal handlers raise in between are dropped; each try restores at least one more action.
        """
        for _ in range(_MAX_BLOCK_TRIES):
            try:
                _signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE_SIGNALS)
                self._restore_signals()
            except BaseException:  # noqa: S112 - the run is over, so there is no log for it
                continue
            return

    def _restore_signals(self) -> None:
        if all(map(operator.is_, map(_signal.getsignal, self._signal_numbers), self._signal_actions)):
            return
        for number, action in self._signals.items():
            if _signal.getsignal(number) is not action:
                # Ignoring it drops a pending signal, such as a timer's alarm.
                signal.signal(number, signal.SIG_IGN)
                signal.signal(number, action)

    def _restore(self) -> None:
        try:
            self._restore_python()
        finally:
            try:
                self._restore_process()
            finally:
                # Last, because only this process's own signal handlers are left now.
                signal.set_wakeup_fd(-1)
                _signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _restore_python(self) -> None:
        self._replaced_streams = (sys.stdin, sys.stdout, sys.stderr)
        sys.stdin, sys.stdout, sys.stderr = self._streams
        for attributes in map(vars, self._writers):
            if len(attributes) != len(self._writer_names):
                for name in attributes.keys() - self._writer_names:
                    del attributes[name]
        sys.excepthook, sys.unraisablehook, sys.breakpointhook, threading.excepthook = self._hooks
        sys.displayhook, warnings.formatwarning = self._other_hooks
        if gc.callbacks != self._collection_callbacks:
            gc.callbacks[:] = self._collection_callbacks
        # Otherwise `asyncio.run` would refuse to run.
        asyncio._set_running_loop(None)
        # A loop set by a handler disappears with the policy that it created, or is removed from the original one.
        asyncio.events._event_loop_policy = self._loop_policy  # type: ignore[attr-defined]
        if self._policy_loop is not None:
            self._policy_loop._loop, self._policy_loop._set_called = self._loop
        self._logging.restore()

    def _restore_process(self) -> None:
        os.environ, os.environb = self._environ, self._environ_bytes
        if os.environ._data != self._raw_environment:  # type: ignore[attr-defined]
            os.environ.clear()
            os.environ.update(self._environment)
        with suppress(OSError):
            os.chdir(self._working_directory)
        os.umask(self._umask)
        self._restore_streams()
        self._traits.restore()
        for number, file in self._needed_files:
            if _file(number) != file:
                raise OSError(f"the handler closed descriptor {number}, which belongs to this process")

    def _restore_streams(self) -> None:
        for number, (copy, file) in enumerate(zip(self._descriptors, self._stream_files, strict=True)):
            if _file(number) == file:
                continue
            if _file(copy) != file:
                raise OSError(f"the handler closed descriptor {copy}, the copy of {number}")
            os.dup2(copy, number)


def _loop_of(policy_loop: Any) -> tuple[Any, bool]:
    """Return the event loop of this thread's policy, and whether it was set."""
    return getattr(policy_loop, "_loop", None), getattr(policy_loop, "_set_called", False)


def is_signal_too_late(unraisable: Any) -> bool:
    """Return True if CPython reports a signal whose handler `ProcessState` replaced before it ran."""
    return isinstance(unraisable.exc_value, OSError) and "ignored due to race condition" in str(unraisable.exc_value)


def other_threads() -> frozenset[threading.Thread]:
    return frozenset(threading.enumerate()) - {threading.main_thread()}


def _file(descriptor: int) -> tuple[int, int] | None:
    """Return the device and inode of a descriptor's file; None if it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino
